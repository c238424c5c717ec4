"""The command line, `fbs`."""

from __future__ import annotations

import sys

from fbs_worker.core.collector import collect_no_more, collect_rarely


def main() -> None:
    """Run the command line with this process's arguments and exit with its code."""
    collect_rarely()
    from fbs_worker.cli.app import run

    code = run(sys.argv[1:])
    collect_no_more()
    sys.exit(code)
