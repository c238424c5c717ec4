"""The command line, `fbs`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line with this process's arguments and exit with its code."""
    from fbs_worker.cli.app import run

    sys.exit(run(sys.argv[1:]))
