"""The Space's entry point: settings, locator, page."""

from __future__ import annotations

import sys

from img2loc.errors import ConfigError, Img2LocError
from img2loc.host import Host
from img2loc.settings import Settings
from img2loc.ui import build, launch


def main() -> int:
    """Start the page; on the starter gallery where the configured one can't be had.

    Returns:
        The exit status: 1 for a failure, 2 for a setting that is wrong.
    """
    try:
        settings = Settings.from_env()
        launch(build(Host(settings), settings))
    except (Img2LocError, OSError) as error:  # OSError: the port is taken
        print(f"app.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
