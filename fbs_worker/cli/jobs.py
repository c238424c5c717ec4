"""`fbs jobs`: list, show, watch and cancel jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fbs_worker.cli.display import open_display
from fbs_worker.cli.follow import follow
from fbs_worker.cli.options import Format, current_settings
from fbs_worker.cli.output import OutputFormat, errors_as, print_blocks, print_json, say
from fbs_worker.cli.render import discovery_blocks, job_blocks, job_lines
from fbs_worker.job_events import JobState

if TYPE_CHECKING:
    from fbs_worker.client import Client

app = typer.Typer(help="Look at jobs, follow one, cancel one.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option("--limit", envvar="FBS_LIMIT", min=1, help="At most so many.")] = 20,
    state: Annotated[JobState | None, typer.Option("--state", envvar="FBS_STATE", help="Only those.")] = None,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """List jobs, the newest first."""
    with errors_as(output_format), _client() as client:
        records = [record.to_dict() for record in client.jobs(limit, state=state)]
    if output_format is OutputFormat.JSON:
        print_json(records)
    else:
        print_blocks(job_blocks(records))


@app.command()
def show(job_id: JobId, output_format: Format = OutputFormat.TEXT) -> None:
    """Show one job: its state, its progress, its result or error."""
    with errors_as(output_format), _client() as client:
        record = client.job(job_id).status().to_dict()
    if output_format is OutputFormat.JSON:
        print_json(record)
    else:
        print_blocks(job_lines(record))
        print_result(record["action"], record["domain"], record["result"])


@app.command()
def watch(job_id: JobId, output_format: Format = OutputFormat.TEXT) -> None:
    """Follow a job to its end; the exit code is the job's."""
    with errors_as(output_format), _client() as client:
        job = client.job(job_id)
        record = job.status()
        result = follow(job, open_display(f"{record.action} {record.solution or record.domain}".strip(), output_format))
    if output_format is OutputFormat.JSON:
        print_json({"job": job_id, "domain": record.domain, **result})
    else:
        print_result(record.action, record.domain, result)


@app.command()
def cancel(job_id: JobId, output_format: Format = OutputFormat.TEXT) -> None:
    """Ask a job to stop: at once if it waits, at its next step if it runs."""
    with errors_as(output_format), _client() as client:
        state = client.job(job_id).cancel()
    if output_format is OutputFormat.JSON:
        print_json({"job": job_id, "state": str(state)})
    elif state is JobState.CANCELLED:
        say(f"Job {job_id} is cancelled.")
    elif state.finished:
        say(f"Job {job_id} has ended already: {state}.")
    else:
        say(f"Job {job_id} stops at its next step.")


def print_result(action: str, domain: str, result: dict[str, Any] | None) -> None:
    """What a job yielded, for a person; nothing when there is nothing yet."""
    if result is None:
        return
    if action == "discover":
        print_blocks(discovery_blocks(result, domain=domain))
    else:
        print_json(result)


@contextmanager
def _client() -> Iterator[Client]:
    from fbs_worker.client import Client

    with Client(settings=current_settings()) as client:
        yield client
