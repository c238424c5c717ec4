"""`fbs metrics`: metrics for Prometheus."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fbs_worker.cli.output import note, print_error


def metrics(
    serve: Annotated[
        bool, typer.Option("--serve", envvar="FBS_METRICS_SERVE", help="Serve them by HTTP until Ctrl-C.")
    ] = False,
    address: Annotated[
        str,
        typer.Option(
            "--address",
            envvar="FBS_METRICS_ADDRESS",
            help="The address to listen on; unauthenticated, so keep it in a private network.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", envvar="FBS_METRICS_PORT", min=0, max=65535, help="The port; 0 for any.")
    ] = 9464,
) -> None:
    """Print metrics for Prometheus, or serve them.

    They count jobs, durations, waits, calls to Odoo and rows of all workers of this Redis.
    """
    from fbs_worker.cli.options import current_settings
    from fbs_worker.ops.metrics import metrics_text

    settings = current_settings()
    if not serve:
        sys.stdout.write(metrics_text(settings).decode())
        return
    from fbs_worker.core.collector import collect_as_usual
    from fbs_worker.ops.local.processes import TERMINATION_SIGNALS, handled
    from fbs_worker.ops.metrics_server import MetricsServer

    def stop(*_: object) -> None:
        raise SystemExit(0)

    with (
        handled(TERMINATION_SIGNALS, stop),
        MetricsServer(settings, address=address, port=port, on_error=print_error) as server,
    ):
        collect_as_usual()
        note(f"Metrics are at {server.url}")
        server.serve_forever()
