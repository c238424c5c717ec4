"""Small commands: domains, new-key, version."""

from __future__ import annotations

import typer

from fbs_worker._version import __version__
from fbs_worker.cli.options import Format
from fbs_worker.cli.output import OutputFormat, Table, print_json, print_result, say


def domains(output_format: Format = OutputFormat.TEXT) -> None:
    """List the business domains."""
    from fbs_worker.domains import domain_names, load_domain

    loaded = [load_domain(name) for name in domain_names()]
    print_result(
        [{"name": domain.name, "title": domain.title} for domain in loaded],
        lambda: [Table(title="Domains", columns=("name", "title"), rows=[(d.name, d.title) for d in loaded])],
        output_format,
    )


def new_key(output_format: Format = OutputFormat.TEXT) -> None:
    """Print a new key for FBS_SECRET_KEYS."""
    from fbs_worker.core.vault import new_key as make

    if output_format is OutputFormat.JSON:
        print_json({"key": make()})
    else:
        say(make())


def version(output_format: Format = OutputFormat.TEXT) -> None:
    """Print the version."""
    if output_format is OutputFormat.JSON:
        print_json({"version": __version__})
    else:
        print_version(requested=True)


def print_version(requested: bool) -> None:
    """Print the version and exit: the callback of `--version`."""
    if requested:
        say(f"fbs-worker {__version__}")
        raise typer.Exit
