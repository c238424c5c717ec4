"""`fbs schedule`: when solutions are refreshed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fbs_worker.cli.options import Format, current_settings
from fbs_worker.cli.output import OutputFormat, print_blocks, print_json
from fbs_worker.cli.render import local_time
from fbs_worker.cli.render_schedules import schedule_blocks, schedule_words
from fbs_worker.cli.solutions import Named, NameOption, one_solution

app = typer.Typer(help="Say when solutions are refreshed by themselves.", no_args_is_help=True)


@app.command("set")
def set_one(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    every: Annotated[
        str | None,
        typer.Option("--every", envvar="FBS_EVERY", help="How often, e.g. 30m, 6h, 1d; a minute is the shortest."),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(
            "--cron",
            envvar="FBS_CRON",
            help='Or when, as a cron line, e.g. "0 3 * * *": minute, hour, day of month, month, day of week; in UTC.',
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", envvar="FBS_TIMEZONE", help="Whose clock the cron line means, e.g. Europe/Berlin."),
    ] = None,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Refresh a solution by itself: every so often, or by a cron line.

    Where in the interval is the solution's own, so that many of them are spread. Beat does it: `fbs up` starts one, or
    `fbs beat`.
    """
    from fbs_worker.scheduling.model import Schedule
    from fbs_worker.scheduling.service import set_schedule

    solution = one_solution(name, solution_name)
    schedule = Schedule.parse(every=every, cron=cron, timezone=timezone)
    _tell(set_schedule(current_settings(), solution, schedule), output_format)


@app.command("list")
def list_all(output_format: Format = OutputFormat.TEXT) -> None:
    """List when each solution is refreshed next, and when it last was."""
    from fbs_worker.scheduling.service import list_schedules

    told = list_schedules(current_settings())
    if output_format is OutputFormat.JSON:
        print_json(told)
    else:
        print_blocks(schedule_blocks(told))


@app.command()
def remove(*, name: Named = None, solution_name: NameOption = None, output_format: Format = OutputFormat.TEXT) -> None:
    """End a solution's schedule."""
    from fbs_worker.scheduling.service import set_schedule

    _tell(set_schedule(current_settings(), one_solution(name, solution_name), None), output_format)


def _tell(told: Mapping[str, Any], output_format: OutputFormat) -> None:
    if output_format is OutputFormat.JSON:
        print_json(told)
        return
    name = told["solution"]
    if told["schedule"] is not None:
        line = f"{name} is refreshed: {schedule_words(told['schedule'])}; next at {local_time(told['next_run'])}."
    elif told["before"] is not None:
        line = f"The schedule of {name} has ended."
    else:
        line = f"{name} had no schedule of its own."
    print_blocks([line, *told["notes"]])
