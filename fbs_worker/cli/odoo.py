"""`fbs odoo`: connections to Odoo."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from fbs_worker.cli.options import Format, add_odoo_command, current_settings
from fbs_worker.cli.output import OutputFormat, print_result
from fbs_worker.cli.render.odoo import connection_blocks, connections_blocks, test_blocks
from fbs_worker.cli.run import Runner
from fbs_worker.core.errors import FBSError

app = typer.Typer(help="Add, list, test, edit and remove connections to Odoo.", no_args_is_help=True)

Tested = Annotated[
    bool,
    typer.Option("--test/--no-test", envvar="FBS_ODOO_TEST", help="Test the connection after it is stored, from here."),
]


def add(runner: Runner, given: dict[str, Any], *, test: Tested = True) -> None:
    """Add a connection to Odoo, and test it.

    It is kept in the home database, encrypted; workers use it from their next job on. A failed test does
    not undo that.
    """
    from fbs_worker.solutions.odoo_connections import add_odoo
    from fbs_worker.solutions.odoo_requests import OdooAddRequest

    _stored("added", add_odoo(runner.settings, OdooAddRequest(**given)), runner, test=test)


def edit(runner: Runner, given: dict[str, Any], *, test: Tested = True) -> None:
    """Change a connection to Odoo, and test it: only what is given changes.

    Jobs that start afterwards use it. An empty value removes headers or the user.
    """
    from fbs_worker.solutions.odoo_connections import edit_odoo
    from fbs_worker.solutions.odoo_requests import OdooEditRequest

    _stored("changed", edit_odoo(runner.settings, OdooEditRequest(**given)), runner, test=test)


def check(
    runner: Runner,
    given: dict[str, Any],
    *,
    worker: Annotated[
        bool, typer.Option("--worker", envvar="FBS_ODOO_TEST_WORKER", help="Test from a worker, not from here.")
    ] = False,
) -> None:
    """Log in to an Odoo; show its version, the protocol, the rights of its user and how long a call takes."""
    result = _tested(replace(runner, inline=not worker), given["name"])
    print_result(result, lambda: test_blocks(result), runner.output_format)


def remove(runner: Runner, given: dict[str, Any]) -> None:
    """Remove a connection to Odoo, unless solutions use it."""
    from fbs_worker.solutions.odoo_connections import remove_odoo
    from fbs_worker.solutions.odoo_requests import OdooRemoveRequest

    result = remove_odoo(runner.settings, OdooRemoveRequest(**given).name)
    print_result(result, lambda: [f"The Odoo connection {result['name']} is removed."], runner.output_format)


add_odoo_command(app, "add", add)


@app.command("list")
def list_all(output_format: Format = OutputFormat.TEXT) -> None:
    """List the connections to Odoo: those of the environment, and those of the home database."""
    from fbs_worker.solutions.odoo_connections import list_odoo

    result = list_odoo(current_settings())
    print_result(result, lambda: connections_blocks(result), output_format)


add_odoo_command(app, "test", check)
add_odoo_command(app, "edit", edit)
add_odoo_command(app, "remove", remove)


def _stored(done: str, connection: dict[str, Any], runner: Runner, *, test: bool) -> None:
    """Print a connection that was stored, and the outcome of its test, which does not change the exit code."""
    outcome: dict[str, Any] | None = None
    if test and not connection["overridden_by"]:
        try:
            outcome = _tested(runner, connection["name"])
        except FBSError as exc:
            outcome = {"error": exc.to_dict()}
    result = {**connection, "test": outcome}
    print_result(result, lambda: connection_blocks(done, connection, outcome), runner.output_format)


def _tested(runner: Runner, name: str) -> dict[str, Any]:
    from fbs_worker.solutions.odoo_requests import OdooTestRequest

    return runner.run_now(OdooTestRequest(name=name), title=f"Testing {name}")
