"""Run a job in this process or through the queue, or only enqueue it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fbs_worker.cli.display import open_display
from fbs_worker.cli.follow import follow
from fbs_worker.cli.output import OutputFormat, note, print_json, say
from fbs_worker.core.errors import UsageError
from fbs_worker.jobs.model import SHORT_ID

if TYPE_CHECKING:
    from fbs_worker.core.settings import Settings
    from fbs_worker.solutions.requests import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Run the jobs of a command.

    Attributes:
        settings: the settings.
        output_format: the format of stdout.
        inline: run jobs in this process.
        no_wait: enqueue jobs without waiting for them.

    Raises:
        UsageError: both `inline` and `no_wait` are set.
    """

    settings: Settings
    output_format: OutputFormat
    inline: bool = False
    no_wait: bool = False

    def __post_init__(self) -> None:
        if self.inline and self.no_wait:
            raise UsageError("--inline and --no-wait exclude each other.", hint="Leave one of them out.")

    def run(self, request: Request, *, title: str) -> dict[str, Any] | None:
        """Run a job and wait for its result, unless `no_wait` is set.

        Args:
            request: what it is to do.
            title: the title of the progress display.

        Returns:
            The job's result, with its id if it ran in a worker; None with `no_wait`, after printing its id.

        Raises:
            FBSError: the job failed or could not be enqueued.
        """
        if self.inline:
            from fbs_worker.client.in_process import run_in_process

            with open_display(title, self.output_format) as display:
                return run_in_process(request.task, dict(request), settings=self.settings, progress=display)
        from fbs_worker.client.client import Client

        with Client(settings=self.settings) as client:
            client.check_known(request)
            job = client.enqueue(request.with_own_secrets(self.settings))
            if not self.no_wait:
                return {"job": job.id, **follow(job, open_display(title, self.output_format))}
        print_enqueued(job.id, self.output_format)
        return None

    def follow(self, job_id: str, *, title: str) -> dict[str, Any]:
        """Wait for the result of a job that another one has enqueued.

        Args:
            job_id: its id.
            title: the title of the progress display.

        Raises:
            FBSError: the job failed.
        """
        from fbs_worker.client.client import Client

        with Client(settings=self.settings) as client:
            return {"job": job_id, **follow(client.job(job_id), open_display(title, self.output_format))}

    def run_now(self, request: Request, *, title: str) -> dict[str, Any]:
        """Run a job and wait for its result, also with `no_wait`; the arguments are those of `run`."""
        result = replace(self, no_wait=False).run(request, title=title)
        assert result is not None  # noqa: S101 -- it waits
        return result


def print_enqueued(job_id: str, output_format: OutputFormat) -> None:
    """Print the id of a job that is not waited for: alone on stdout, so that a script may keep it.

    Args:
        job_id: the id.
        output_format: the format of stdout.
    """
    if output_format is OutputFormat.JSON:
        print_json({"job": job_id})
        return
    note(f"Enqueued. Follow it: fbs jobs watch {job_id[:SHORT_ID]}")
    say(job_id)
