"""`fbs api`: the HTTP API and the web UI."""

from __future__ import annotations

from typing import Annotated

import typer

from fbs_worker.cli.output import note, say
from fbs_worker.core.errors import SettingsError


def api(
    address: Annotated[
        str | None,
        typer.Option("--address", envvar="FBS_API_ADDRESS", help="The address to listen on; default: 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", envvar="FBS_API_PORT", min=0, max=65535, help="The port; default: 8000; 0: any free one."
        ),
    ] = None,
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
    listen_fd: Annotated[int | None, typer.Option("--listen-fd", hidden=True)] = None,
) -> None:
    """Serve the HTTP API and the web UI until Ctrl-C.

    Clients authenticate with a token of FBS_API_TOKENS; if none is set, only this machine has access.
    """
    from fbs_worker.cli.options import current_settings
    from fbs_worker.ops.local.stack import is_installed

    if not is_installed("api"):
        raise SettingsError(
            "The libraries of the API are not installed.", hint='Install it: pip install "fbs-worker[api]"'
        )
    from fbs_worker.core.sockets import LOOPBACK, is_loopback
    from fbs_worker.ops.local.programs import notify_ready
    from fbs_worker.web.server import run_api

    options = {"fbs_api_address": address, "fbs_api_port": port}
    settings = current_settings().model_copy(
        update={name: value for name, value in options.items() if value is not None}
    )

    def announce(url: str) -> None:
        access = "with a token" if settings.fbs_api_tokens.get_secret_value() else "for this machine"
        say(f"The API and the web UI are at {url} ({access}).")
        if not is_loopback(settings.fbs_api_address or LOOPBACK):
            note("It listens for other machines without encryption: put a TLS proxy in front of it.")
        notify_ready(ready_fd)

    run_api(settings, on_ready=announce, listen_fd=listen_fd)
