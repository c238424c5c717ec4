"""`fbs api`: the HTTP API and its pages."""

from __future__ import annotations

from typing import Annotated

import typer

from fbs_worker.cli.output import note, say
from fbs_worker.core.errors import SettingsError


def api(
    address: Annotated[
        str | None, typer.Option("--address", envvar="FBS_API_ADDRESS", help="Where it listens; default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", envvar="FBS_API_PORT", min=0, max=65535, help="Its port; default: 8000; 0: any."),
    ] = None,
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
) -> None:
    """Serve the HTTP API and its pages until Ctrl-C.

    Callers give a token of FBS_API_TOKENS; without any, only this machine is answered.
    """
    from fbs_worker.cli.options import current_settings
    from fbs_worker.ops.local.stack import is_installed

    if not is_installed("api"):
        raise SettingsError("What the API needs is not installed.", hint='Install it: pip install "fbs-worker[api]"')
    from fbs_worker.core.sockets import LOOPBACK, is_loopback
    from fbs_worker.ops.local.programs import notify_ready
    from fbs_worker.web.server import run_api

    given = {"fbs_api_address": address, "fbs_api_port": port}
    settings = current_settings().model_copy(update={name: value for name, value in given.items() if value is not None})

    def tell(url: str) -> None:
        who = "those who have a token" if settings.fbs_api_tokens.get_secret_value() else "whoever is on this machine"
        say(f"The API and its pages are at {url} for {who}.")
        if not is_loopback(settings.fbs_api_address or LOOPBACK):
            note("Others can reach it, and what they send travels unencrypted: put a proxy with TLS before it.")
        notify_ready(ready_fd)

    run_api(settings, on_ready=tell)
