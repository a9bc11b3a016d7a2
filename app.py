"""The page's entry point: reads the settings and serves the page."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from img2loc.system.signals import exit_on_interrupt

        exit_on_interrupt()  # the imports below take a second
    except KeyboardInterrupt:
        sys.exit(130)

from img2loc.hardening.gradio_settings import read_address
from img2loc.policy.settings import Settings
from img2loc.system.environment import prepare_environment
from img2loc.system.signals import run_server
from img2loc.web.serve import serve


def main() -> None:
    """Serve the page until a signal ends it; with the starter gallery if the configured one can't be opened."""
    prepare_environment()
    serve(Settings.from_env(), read_address())


if __name__ == "__main__":
    run_server(main)
