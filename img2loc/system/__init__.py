"""Files, processes, terminals and the environment of this machine."""
