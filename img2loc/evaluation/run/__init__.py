"""Runs: what is asked, within which budget, and the journal that survives a kill."""
