"""Run a job the way that was asked for: in this process, through the queue, or only put there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fbs_worker.cli.display import open_display
from fbs_worker.cli.follow import follow
from fbs_worker.cli.output import OutputFormat, print_json, say
from fbs_worker.core.errors import UsageError

if TYPE_CHECKING:
    from fbs_worker.client.client import JobHandle
    from fbs_worker.core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The way in which a command's jobs run.

    Attributes:
        settings: what to work with.
        output_format: what stdout holds.
        inline: in this process.
        no_wait: put it into the queue, and let others follow it.

    Raises:
        UsageError: two ways that exclude each other.
    """

    settings: Settings
    output_format: OutputFormat
    inline: bool = False
    no_wait: bool = False

    def __post_init__(self) -> None:
        if self.inline and self.no_wait:
            raise UsageError("--inline and --no-wait exclude each other.", hint="Leave one of them out.")

    def run(self, action: str, request: Mapping[str, Any], *, title: str) -> dict[str, Any] | None:
        """Run a job to its end.

        Args:
            action: `discover`, `setup`, …: the client's method and, after `fbs.`, the task's name.
            request: the keyword arguments of both.
            title: what is being done, for the display.

        Returns:
            The job's result, with its id unless it ran here; None when it is not waited for, which is told then.

        Raises:
            FBSError: whatever went wrong.
        """
        if self.inline:
            from fbs_worker.client.in_process import run_in_process

            with open_display(title, self.output_format) as display:
                return run_in_process(f"fbs.{action}", request, settings=self.settings, progress=display)
        from fbs_worker.client.client import Client

        with Client(settings=self.settings) as client:
            job: JobHandle = getattr(client, action)(**request)
            if not self.no_wait:
                return {"job": job.id, **follow(job, open_display(title, self.output_format))}
        if self.output_format is OutputFormat.JSON:
            print_json({"job": job.id})
        else:
            say(f"Enqueued as job {job.id}. Follow it: fbs jobs watch {job.id}")
        return None
