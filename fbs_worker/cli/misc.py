"""Small commands: domains, new-key, version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fbs_worker._version import __version__
from fbs_worker.cli.options import Format, current_settings
from fbs_worker.cli.output import Block, OutputFormat, Table, print_json, print_result, say
from fbs_worker.core.errors import DatabaseError, SettingsError, UnreachableError

if TYPE_CHECKING:
    from fbs_worker.core.settings import Settings

domains_app = typer.Typer(help="List the business domains; show the modules of one.", invoke_without_command=True)


@domains_app.callback()
def domains(context: typer.Context, output_format: Format = OutputFormat.TEXT) -> None:
    """List the business domains; show the modules of one."""
    if context.invoked_subcommand is not None:
        return
    from fbs_worker.domains import domain_names, load_domain

    loaded = [load_domain(name) for name in domain_names()]
    print_result(
        [{"name": domain.name, "title": domain.title} for domain in loaded],
        lambda: [Table(title="Domains", columns=("name", "title"), rows=[(d.name, d.title) for d in loaded])],
        output_format,
    )


@domains_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The domain.")],
    include_module: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", envvar="FBS_INCLUDE_MODULE", help="As for `fbs setup`. Repeatable."),
    ] = None,
    exclude_module: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", envvar="FBS_EXCLUDE_MODULE", help="As for `fbs setup`. Repeatable."),
    ] = None,
    odoo: Annotated[
        str, typer.Option(envvar="FBS_ODOO_CONNECTION", help="The Odoo connection: `default` is ODOO_URL.")
    ] = "default",
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Show how a domain selects modules and, where an Odoo is configured, which of its modules and why."""
    from fbs_worker.client.in_process import run_in_process
    from fbs_worker.core.settings import DEFAULT_CONNECTION
    from fbs_worker.domains import load_domain

    settings = current_settings()
    include, exclude = include_module or [], exclude_module or []
    domain = load_domain(name).selecting(include=include, exclude=exclude)
    selector = domain.modules.to_dict()
    modules: list[dict[str, str]] | None = None
    if odoo != DEFAULT_CONNECTION or _has_default(settings):
        request = {"domain": name, "discovery_types": ["module"], "odoo": odoo}
        request |= {"include_modules": include, "exclude_modules": exclude}
        modules = run_in_process("fbs.discover", request, settings=settings)["found"]["module"]

    def blocks() -> list[Block]:
        criteria = [
            (key, ", ".join(value) if isinstance(value, list) else "yes") for key, value in selector.items() if value
        ]
        shown: list[Block] = [Table(title=domain.title, columns=("criterion", "values"), rows=criteria)]
        if modules is None:
            return [
                *shown,
                "Set ODOO_URL or add an Odoo (`fbs odoo add default`) to list its modules, each with the reason.",
            ]
        columns = ("name", "state", "why")
        rows = [[module[column] for column in columns] for module in modules]
        return [*shown, Table(title="Modules", columns=columns, rows=rows, whole=columns)]

    print_result({"name": name, "title": domain.title, "selector": selector, "modules": modules}, blocks, output_format)


def _has_default(settings: Settings) -> bool:
    from fbs_worker.solutions.odoo_connections import find_odoo

    try:
        find_odoo(settings)
    except (SettingsError, DatabaseError, UnreachableError):
        return False
    return True


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
