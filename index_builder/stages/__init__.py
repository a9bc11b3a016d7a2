"""The stages of a build, each of which can be killed and run again."""
