"""A table on disk for what may not fit in memory."""

from __future__ import annotations

import sqlite3


def open_temporary_database(columns: str) -> sqlite3.Connection:
    """An SQLite database with one table, `rows`.

    Its file has no name, so that nothing of it is left when the process is killed.
    """
    database = sqlite3.connect("", check_same_thread=False)  # another thread may close a generator that uses it
    for setting in ("journal_mode", "synchronous"):
        database.execute(f"PRAGMA {setting} = OFF")
    database.execute(f"CREATE TABLE rows ({columns}) WITHOUT ROWID")
    return database
