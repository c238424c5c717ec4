"""`fbs schedule`: schedules of refreshes and syncs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from fbs_worker.cli.options import Format, Named, NameOption, current_settings, one_solution
from fbs_worker.cli.output import OutputFormat, print_blocks, print_json, print_result
from fbs_worker.cli.render.schedules import changed_line, schedule_blocks

app = typer.Typer(help="Set, list and remove schedules of refreshes and syncs.", no_args_is_help=True)

Only = Annotated[
    str | None, typer.Option("--only", envvar="FBS_ONLY", metavar="KIND", help="Only that of refresh, or of sync.")
]


@app.command("set")
def set_one(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    every: Annotated[
        str | None,
        typer.Option("--every", envvar="FBS_EVERY", help="The interval, e.g. 30m, 6h, 1d; the shortest is 1 minute."),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(
            "--cron",
            envvar="FBS_CRON",
            help='Or a cron line, e.g. "0 3 * * *": minute, hour, day of month, month, day of week; in UTC.',
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", envvar="FBS_TIMEZONE", help="The time zone of the cron line, e.g. Europe/Berlin."),
    ] = None,
    sync_every: Annotated[
        str | None,
        typer.Option("--sync-every", envvar="FBS_SYNC_EVERY", help="How often records are copied, e.g. 5m, 1h."),
    ] = None,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Refresh a solution at an interval or by a cron line; copy its records at an interval.

    What is not given stays as it is. Each solution has its own offset in the interval, which spreads the load. Beat
    runs schedules: `fbs up` starts one, or `fbs beat`.
    """
    from fbs_worker.scheduling.model import schedules_of
    from fbs_worker.scheduling.service import set_schedules

    solution = one_solution(name, solution_name)
    changes = schedules_of(every=every, cron=cron, timezone=timezone, sync_every=sync_every)
    _print(set_schedules(current_settings(), solution, changes), output_format, kinds=changes)


@app.command("list")
def list_all(output_format: Format = OutputFormat.TEXT) -> None:
    """List the schedules with their next and last runs."""
    from fbs_worker.scheduling.service import list_schedules

    listing = list_schedules(current_settings())
    print_result(listing, lambda: schedule_blocks(listing), output_format)


@app.command()
def remove(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    only: Only = None,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Remove a solution's schedules."""
    from fbs_worker.scheduling.model import kinds_of
    from fbs_worker.scheduling.service import set_schedules

    kinds = kinds_of(only)
    changes = dict.fromkeys(kinds)
    _print(set_schedules(current_settings(), one_solution(name, solution_name), changes), output_format, kinds=kinds)


@app.command()
def pause(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    only: Only = None,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Pause a solution's schedules; `fbs schedule resume` lets them run again."""
    _pause(one_solution(name, solution_name), only, output_format, paused=True)


@app.command()
def resume(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    only: Only = None,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Let paused schedules run again; what was missed meanwhile is not made up for."""
    _pause(one_solution(name, solution_name), only, output_format, paused=False)


def _pause(solution: str, only: str | None, output_format: OutputFormat, *, paused: bool) -> None:
    from fbs_worker.scheduling.model import kinds_of
    from fbs_worker.scheduling.service import pause_schedule

    kinds = kinds_of(only)
    _print(pause_schedule(current_settings(), solution, paused=paused, kinds=kinds), output_format, kinds=kinds)


def _print(result: Mapping[str, Any], output_format: OutputFormat, *, kinds: Iterable[str]) -> None:
    if output_format is OutputFormat.JSON:
        print_json(result)
        return
    lines = [changed_line(result, kind) for kind in kinds]
    print_blocks([*filter(None, lines), *result["notes"]])
