"""`fbs schedule`: schedules of refreshes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fbs_worker.cli.options import Format, Named, NameOption, current_settings, one_solution
from fbs_worker.cli.output import OutputFormat, print_blocks, print_json, print_result
from fbs_worker.cli.render.formats import local_time
from fbs_worker.cli.render.schedules import schedule_blocks, schedule_text

app = typer.Typer(help="Set, list and remove schedules of refreshes.", no_args_is_help=True)


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
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Refresh a solution at an interval or by a cron line.

    Each solution has its own offset in the interval, which spreads the load. Beat runs schedules: `fbs up` starts
    one, or `fbs beat`.
    """
    from fbs_worker.scheduling.model import Schedule
    from fbs_worker.scheduling.service import set_schedule

    solution = one_solution(name, solution_name)
    schedule = Schedule.parse(every=every, cron=cron, timezone=timezone)
    _print(set_schedule(current_settings(), solution, schedule), output_format)


@app.command("list")
def list_all(output_format: Format = OutputFormat.TEXT) -> None:
    """List the schedules with their next and last runs."""
    from fbs_worker.scheduling.service import list_schedules

    listing = list_schedules(current_settings())
    print_result(listing, lambda: schedule_blocks(listing), output_format)


@app.command()
def remove(*, name: Named = None, solution_name: NameOption = None, output_format: Format = OutputFormat.TEXT) -> None:
    """Remove a solution's schedule."""
    from fbs_worker.scheduling.service import set_schedule

    _print(set_schedule(current_settings(), one_solution(name, solution_name), None), output_format)


@app.command()
def pause(*, name: Named = None, solution_name: NameOption = None, output_format: Format = OutputFormat.TEXT) -> None:
    """Pause a solution's schedule; `fbs schedule resume` lets it run again."""
    from fbs_worker.scheduling.service import pause_schedule

    _print(pause_schedule(current_settings(), one_solution(name, solution_name), paused=True), output_format)


@app.command()
def resume(*, name: Named = None, solution_name: NameOption = None, output_format: Format = OutputFormat.TEXT) -> None:
    """Let a paused schedule run again; what was missed meanwhile is not made up for."""
    from fbs_worker.scheduling.service import pause_schedule

    _print(pause_schedule(current_settings(), one_solution(name, solution_name), paused=False), output_format)


def _print(result: Mapping[str, Any], output_format: OutputFormat) -> None:
    if output_format is OutputFormat.JSON:
        print_json(result)
        return
    name = result["solution"]
    if result["schedule"] is not None:
        line = f"Schedule of {name}: {schedule_text(result['schedule'])}"
        line += f"; next at {local_time(result['next_run'])}." if result["next_run"] else "."
    elif result["before"] is not None:
        line = f"The schedule of {name} is removed."
    else:
        line = f"{name} had no schedule of its own."
    print_blocks([line, *result["notes"]])
