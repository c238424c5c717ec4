"""`fbs mcp`: the MCP server on stdin and stdout."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from fbs_worker.cli.output import note
from fbs_worker.core.errors import SettingsError


def mcp() -> None:
    """Serve an MCP client on stdin and stdout, read-only.

    The client starts this command and asks it for the catalogue and the jobs. `fbs api` serves the same over HTTP, at
    /mcp.
    """
    if find_spec("mcp") is None:
        raise SettingsError("The library of MCP is not installed.", hint='Install it: pip install "fbs-worker[mcp]"')
    from fbs_worker.cli.options import current_settings
    from fbs_worker.web.mcp.server import run_stdio

    settings = current_settings()
    if sys.stdin.isatty():
        note("MCP clients start this command and write to its stdin. Ctrl-C ends it.")
    run_stdio(settings)
