"""The evaluation: data sets, runs that survive a kill, metrics, and the report. Its command line is cli.py."""
