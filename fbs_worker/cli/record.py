"""`fbs record`: write a recording of an Odoo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fbs_worker.cli.display import open_display
from fbs_worker.cli.options import Format, current_settings
from fbs_worker.cli.output import OutputFormat, print_json, say


def record(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The output file, e.g. odoo.json.xz.")],
    odoo: Annotated[
        str,
        typer.Option(
            "--odoo",
            envvar="FBS_ODOO_CONNECTION",
            help="The Odoo connection: `default` is ODOO_URL, others FBS_ODOO__<NAME>__URL.",
        ),
    ] = "default",
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Record an Odoo's metadata in a file.

    ODOO_URL=recording:FILE replays it, for bug reports and tests. It contains names, types, relations, states and the
    conditions of buttons, but no business data, help texts or view sources.
    """
    from fbs_worker.client.in_process import run_in_process

    with open_display("Recording", output_format) as display:
        kwargs = {"path": str(file.expanduser().absolute()), "odoo": odoo}
        result = run_in_process("fbs.record", kwargs, settings=current_settings(), progress=display)
    if output_format is OutputFormat.JSON:
        print_json(result)
    else:
        say(f"Recorded in {file} ({file.expanduser().stat().st_size:,} bytes).")
        say(f"Replay it: ODOO_URL=recording:{file} fbs discover --domain rental --inline")
