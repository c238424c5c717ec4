"""`fbs demo`: one discovery with servers of its own, which are stopped afterwards."""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fbs_worker.cli.display import open_display
from fbs_worker.cli.follow import follow
from fbs_worker.cli.options import Format
from fbs_worker.cli.output import OutputFormat, note, print_result
from fbs_worker.cli.render.discoveries import discovery_blocks
from fbs_worker.cli.stack import starting, stop_stack

if TYPE_CHECKING:
    from fbs_worker.client.client import JobHandle
    from fbs_worker.core.settings import Settings
    from fbs_worker.ops.local.programs import Program

_WORKER_SECONDS: Final = 5.0
"""How long a worker with an interrupted job may finish."""


def demo(
    domain: Annotated[
        str, typer.Option("--domain", envvar="FBS_DOMAIN", help="The business domain; see `fbs domains`.")
    ] = "rental",
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Discover a domain with servers of its own, then stop them.

    It reads the Odoo of ODOO_URL, or the recording of an Odoo 19 in this package. Discoveries are saved below FBS_HOME:
    a second run shows the changes since the first.
    """
    home, result = _demo(domain, output_format)
    saved = f"Saved in {home}. Run it again to see the changes since."
    print_result({"domain": domain, **result}, lambda: [*discovery_blocks(result, domain=domain), saved], output_format)


def _demo(domain: str, output_format: OutputFormat) -> tuple[Path, dict[str, Any]]:
    from fbs_worker.core.errors import RefusedError
    from fbs_worker.core.settings import get_settings
    from fbs_worker.domains import load_domain
    from fbs_worker.ops.local.processes import exit_on_termination, file_lock
    from fbs_worker.ops.local.stack import make_home

    load_domain(domain)
    settings = demo_settings(get_settings())
    home = make_home(settings)
    try:
        with file_lock(home / "demo.lock", wait=False):
            stop_stack(home, seconds=_WORKER_SECONDS)  # left running by a killed demo
            with exit_on_termination():
                return home, _run(domain, settings, output_format)
    except BlockingIOError:
        raise RefusedError("Another demo runs in this folder.", hint="Wait until it ends, or set FBS_HOME.") from None


def _run(domain: str, settings: Settings, output_format: OutputFormat) -> dict[str, Any]:
    from fbs_worker.client.client import Client
    from fbs_worker.ops.local import stack

    home = settings.home()
    try:
        info, started = stack.up(settings, programs=("worker",), on_start=starting)
        with Client(settings=info.fill(settings)) as client:
            database = {"name": info.database.name}
            job = client.discover(domain=domain, database_config=database, table_prefix=table_prefix(settings))
            with _cancelled_on_exit_of(started, job):
                return follow(job, open_display(f"Discovering {domain}", output_format))
    finally:
        stop_stack(home, seconds=_WORKER_SECONDS)


def demo_settings(settings: Settings) -> Settings:
    """The settings of the demo: its own servers and folder, and the recording unless ODOO_URL is set.

    Args:
        settings: the settings of this process.
    """
    from fbs_worker.core.settings import Settings as Defaults

    update: dict[str, Any] = {"fbs_home": settings.home() / "demo", "fbs_redis_url": "", "fbs_database_url": ""}
    update |= {"fbs_redis_port": 0, "fbs_postgres_port": 0}
    if not settings.odoo_url:
        note("ODOO_URL is not set: reading the recording of an Odoo 19 in fbs-worker.")
        for name, setting in Defaults.model_fields.items():
            if name.startswith("odoo_"):
                update[name] = setting.get_default(call_default_factory=True, validated_data={})
        update["odoo_url"] = f"recording:{packaged_recording()}"
    return settings.model_copy(update=update)


def table_prefix(settings: Settings) -> str:
    """A prefix per Odoo: a catalogue holds one Odoo, and the demo may read several in turn."""
    if settings.odoo_url.startswith("recording:"):
        return settings.fbs_table_prefix
    source = f"{settings.odoo_url} {settings.odoo_db}"
    return f"fbs_{hashlib.sha256(source.encode()).hexdigest()[:8]}_"


def packaged_recording() -> Path:
    """The path of the recording in this package, found without importing the connectors."""
    spec = importlib.util.find_spec("fbs_worker.connectors")
    assert spec is not None  # noqa: S101 -- it is part of this distribution
    assert spec.origin is not None  # noqa: S101
    return Path(spec.origin).parent / "recordings" / "odoo19.json.xz"


@contextmanager
def _cancelled_on_exit_of(programs: Sequence[Program], job: JobHandle) -> Iterator[None]:
    """Cancel the job when a program ends, so that following it ends, too."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            if not all(program.process.alive for program in programs):
                job.cancel()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
