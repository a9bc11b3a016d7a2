"""Prints the tests' folders for what has changed since the last commit: python -m tests.changed [COMMIT]."""

from __future__ import annotations

import subprocess
import sys
from pathlib import PurePosixPath

from tests.paths import ROOT

ALWAYS = "tests/repo/test_house.py"


def folders(paths: list[str]) -> list[str]:
    """Where the tests of some files are.

    Args:
        paths: The files, relative to the repository.
    """
    found = {ALWAYS}
    for path in paths:
        first, *rest = PurePosixPath(path).parts
        if first == "index_builder":
            rest = [first, *rest]
        room = rest[0] if first in ("img2loc", "index_builder", "tests") and len(rest) > 1 else ""
        command_line = path == "img2loc/__main__.py"
        for name in ("command_line" if command_line else room, *(["test_locator.py"] if not room else [])):
            if name and (ROOT / "tests" / name).exists():
                found.add(f"tests/{name}")
    return sorted(found)


def changed(since: str) -> list[str]:
    """The files that differ from a commit, and those that git doesn't know yet."""
    known = ["git", "diff", "--name-only", since]
    new = ["git", "ls-files", "--others", "--exclude-standard"]
    return [
        line
        for command in (known, new)
        for line in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    ]


if __name__ == "__main__":
    print(*folders(changed(sys.argv[1] if len(sys.argv) > 1 else "HEAD")))
