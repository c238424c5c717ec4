"""`fbs flower`: the dashboard."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from fbs_worker.cli.output import note, say
from fbs_worker.core.errors import SettingsError


def flower(
    address: Annotated[
        str | None,
        typer.Option("--address", envvar="FBS_FLOWER_ADDRESS", help="The address to listen on; default: 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", envvar="FBS_FLOWER_PORT", min=0, max=65535, help="The port; default: 5555; 0: any free one."
        ),
    ] = None,
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
    listen_fd: Annotated[int | None, typer.Option("--listen-fd", hidden=True)] = None,
) -> None:
    """Run the dashboard (Flower) in this terminal until Ctrl-C.

    Clients authenticate with FBS_FLOWER_USER and FBS_FLOWER_PASSWORD.
    """
    from fbs_worker.cli.options import current_settings

    if find_spec("flower") is None:
        raise SettingsError("Flower is not installed.", hint='Install it: pip install "fbs-worker[flower]"')
    from fbs_worker.core.sockets import LOOPBACK, is_loopback
    from fbs_worker.ops.dashboard.run import run_dashboard
    from fbs_worker.ops.local.programs import notify_ready

    options = {"fbs_flower_address": address, "fbs_flower_port": port}
    settings = current_settings().model_copy(
        update={name: value for name, value in options.items() if value is not None}
    )

    def announce(url: str) -> None:
        say(f"The dashboard is at {url} (user {settings.fbs_flower_user}, password FBS_FLOWER_PASSWORD).")
        if not is_loopback(settings.fbs_flower_address or LOOPBACK):
            note("It listens for other machines without encryption: put a TLS proxy in front of it.")
        notify_ready(ready_fd)

    run_dashboard(settings, on_ready=announce, listen_fd=listen_fd)
