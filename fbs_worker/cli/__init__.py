"""The command line: `fbs`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line with this process's arguments and end the process with its exit code."""
    from fbs_worker.cli.app import run

    sys.exit(run(sys.argv[1:]))
