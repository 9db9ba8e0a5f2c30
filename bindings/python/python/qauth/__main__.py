"""The command line: ``python -m qauth token PROFILE``."""

from __future__ import annotations

import signal
import sys

from ._qauth import cli


def main() -> int:
    """Runs the command of this process's arguments; returns the exit status."""
    # Python's handler would only make a note for the time when the command is done.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return cli(["qauth", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
