"""`fbs jobs`: list, show, watch, cancel and retry jobs, and read their logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from fbs_worker.cli.display import open_display
from fbs_worker.cli.follow import follow
from fbs_worker.cli.options import Format, NoWait, current_settings
from fbs_worker.cli.output import Block, OutputFormat, print_json, print_result, say
from fbs_worker.cli.render.formats import local_time
from fbs_worker.cli.render.jobs import job_blocks, job_lines
from fbs_worker.cli.render.results import exit_code_of, result_blocks
from fbs_worker.cli.run import print_enqueued
from fbs_worker.jobs.model import JobState

if TYPE_CHECKING:
    from fbs_worker.client.client import Client, JobHandle

app = typer.Typer(help="List, watch, cancel and retry jobs; read their logs.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, or its first 8 characters.")]
Solution = Annotated[
    str, typer.Option("--solution", "--solution-name", envvar="FBS_SOLUTION_NAME", help="Only jobs of this solution.")
]
Action = Annotated[str, typer.Option("--action", envvar="FBS_ACTION", help="Only this action, e.g. refresh.")]


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option("--limit", envvar="FBS_LIMIT", min=1, help="Maximum number of jobs.")] = 20,
    state: Annotated[
        JobState | None, typer.Option("--state", envvar="FBS_STATE", help="Only jobs in this state.")
    ] = None,
    solution: Solution = "",
    action: Action = "",
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """List jobs, newest first."""
    with _client() as client:
        found = client.jobs(limit, state=state, solution=solution, action=action)
    records = [record.to_dict() for record in found]
    print_result(records, lambda: job_blocks(records), output_format)


@app.command()
def show(job_id: JobId, output_format: Format = OutputFormat.TEXT) -> None:
    """Show one job: its state, its progress, its result or error."""
    with _job(job_id) as job:
        record = job.status().to_dict()

    def blocks() -> list[Block]:
        lines = [*job_lines(record)]
        if record["result"] is not None:
            lines += result_blocks(record["action"], record["result"], name=record["solution"] or record["domain"])
        return lines

    print_result(record, blocks, output_format)


@app.command()
def watch(job_id: JobId, output_format: Format = OutputFormat.TEXT) -> None:
    """Follow a job until it ends and exit with its code."""
    from fbs_worker.client.client import outcome

    with _job(job_id) as job:
        record = job.status()
        if record.state.finished:
            result = outcome(record)
        else:
            title = f"{record.action} {record.solution or record.domain}".strip()
            result = follow(job, open_display(title, output_format))
    print_result(
        {"job": record.id, "domain": record.domain, **result},
        lambda: result_blocks(record.action, result, name=record.solution or record.domain),
        output_format,
    )
    if code := exit_code_of(record.action, result):
        raise typer.Exit(code)


@app.command()
def cancel(job_id: JobId, output_format: Format = OutputFormat.TEXT) -> None:
    """Cancel a job.

    A queued job is cancelled at once, a running one at its next step.
    """
    with _job(job_id) as job:
        state, job_id = job.cancel(), job.id
    if output_format is OutputFormat.JSON:
        print_json({"job": job_id, "state": str(state)})
    elif state is JobState.CANCELLED:
        say(f"Job {job_id} is cancelled.")
    elif state.finished:
        say(f"Job {job_id} has already ended: {state}.")
    else:
        say(f"Job {job_id} stops at its next step.")


@app.command()
def retry(job_id: JobId, no_wait: NoWait = False, output_format: Format = OutputFormat.TEXT) -> None:
    """Enqueue a job that has ended again, with the arguments it had, and follow it."""
    with _client() as client:
        job = client.retry(client.full_id(job_id))
    if no_wait:
        print_enqueued(job.id, output_format)
    else:
        watch(job.id, output_format)


@app.command()
def logs(job_id: JobId, output_format: Format = OutputFormat.TEXT) -> None:
    """Print what happened in a job: its states and steps, and what its worker logged."""
    with _job(job_id) as job:
        lines = [line.to_dict() for line in job.log()]
    print_result(
        lines, lambda: [f"{local_time(line['at'])}  {line['level']:<8} {line['text']}" for line in lines], output_format
    )


@contextmanager
def _job(job_id: str) -> Iterator[JobHandle]:
    with _client() as client:
        yield client.job(client.full_id(job_id))


@contextmanager
def _client() -> Iterator[Client]:
    from fbs_worker.client.client import Client

    with Client(settings=current_settings()) as client:
        yield client
