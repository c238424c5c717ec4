"""`manage.py test_discovery`: the operations of IntegrationService as a Django management command.

Exit codes, as of `fbs`: 0 success, 1 error, 2 usage error, 3 a server is unreachable, 4 rejected, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from fbs_worker.cli.app import EXIT_INTERRUPTED, exit_code
from fbs_worker.cli.display import LineDisplay, open_display
from fbs_worker.cli.follow import follow
from fbs_worker.cli.options import database_config
from fbs_worker.cli.output import Block, OutputFormat, clean, plain_lines, print_blocks
from fbs_worker.cli.render.results import result_blocks
from fbs_worker.cli.render.solutions import list_blocks, status_blocks
from fbs_worker.cli.solutions import one_solution
from fbs_worker.client.client import JobHandle
from fbs_worker.client.service import IntegrationService
from fbs_worker.core.errors import EXIT_UNREACHABLE, FBSError, UsageError
from fbs_worker.domains import domain_names

_UNREACHABLE: Final = "unreachable"
_DATABASE: Final = ("database_name", "database_user", "database_password", "database_host", "database_port")

_OPTIONS: Final[Mapping[str, Sequence[str]]] = {
    "discover": ("domain", *_DATABASE, "table_prefix", "odoo", "refresh_discoveries"),
    "setup": (
        *("solution_name", "domain", *_DATABASE, "table_prefix", "business_prefix"),
        *("refresh_discoveries", "mirror", "odoo"),
    ),
    "status": ("solution_name",),
    "list": (),
    "refresh": ("solution_name", "refresh_discoveries"),
    "migrate": ("solution_name", "plan", "allow"),
}
"""The options of each action."""


class _DisplayedService(IntegrationService):
    """The service with a progress display on stderr.

    Args:
        title: the title of the display.
        output_format: the format of stdout, which decides on the display.
        quiet: show no progress.
    """

    def __init__(self, *, title: str, output_format: OutputFormat, quiet: bool) -> None:
        super().__init__()
        self._display = LineDisplay(None) if quiet else open_display(title, output_format)

    def wait_for(self, job: JobHandle, timeout: float | None) -> dict[str, Any]:  # noqa: ARG002 -- the user has Ctrl-C
        """Wait for a job without a timeout, and display its progress."""
        return follow(job, self._display)


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """The management command; its options are those of `fbs`."""

    help = "Discover an Odoo server; set up, show, refresh and migrate solutions."
    requires_system_checks = ()  # handle() reports errors of FBS_CONFIG, with their exit code

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--action", choices=tuple(_OPTIONS), required=True, help="The action.")
        parser.add_argument("--solution-name", help="The solution's name.")
        parser.add_argument("--domain", help="The domain, e.g. rental.")
        parser.add_argument("--database-name", help="The database's name.")
        parser.add_argument("--database-user", help="The database role.")
        parser.add_argument(
            "--database-password",
            help="The role's password. Other users of this machine can see it on the command line; use `-` (prompt, or "
            "read from a pipe), `env:NAME` or `file:PATH` (resolved by the worker) instead.",
        )
        parser.add_argument("--database-host", help="PostgreSQL's host: a name, an address, or a socket's folder.")
        parser.add_argument("--database-port", type=int, help="PostgreSQL's port.")
        parser.add_argument("--table-prefix", help="Prefix of the system tables.")
        parser.add_argument("--business-prefix", help="Prefix of the business tables; may be empty.")
        parser.add_argument(
            "--refresh-discoveries",
            action=BooleanOptionalAction,
            help="With setup: discover Odoo as well (default: yes). With discover and refresh: read everything, even "
            "if the fingerprint is unchanged.",
        )
        parser.add_argument(
            "--mirror",
            action="append",
            metavar="MODEL",
            help="An Odoo model to mirror as a business table, e.g. sale.order; repeatable.",
        )
        parser.add_argument("--odoo", help="The Odoo server's name in FBS_CONFIG['odoo']; default: odoo_url.")
        parser.add_argument("--plan", action="store_true", default=None, help="Only plan the migration.")
        parser.add_argument(
            "--allow",
            action="append",
            metavar="HAZARD",
            help="A hazard to allow in a migration, e.g. DELETES_DATA; repeatable.",
        )
        parser.add_argument(
            "--output-format",
            choices=[str(one) for one in OutputFormat],
            default=str(OutputFormat.TEXT),
            help="Format of stdout.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the action, and print its result.

        Raises:
            CommandError: the action failed; it has the message, the hint and the exit code.
        """
        output_format = OutputFormat(options["output_format"])
        try:
            self._warn_unused(options)
            self._do(options, output_format)
            self.stdout.flush()
        except FBSError as exc:
            if output_format is OutputFormat.JSON:
                self._print_json({"error": exc.to_dict()})
            raise _command_error(exc.message, exc.hint, exit_code(exc)) from exc
        except BrokenPipeError:
            # The reader of stdout has closed the pipe: exit silently, also when Python flushes stdout at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=EXIT_INTERRUPTED) from None

    def _do(self, options: Mapping[str, Any], output_format: OutputFormat) -> None:
        action = options["action"]
        handler: Callable[[IntegrationService, Mapping[str, Any]], dict[str, Any]] = _HANDLERS[action]
        name = options["domain"] if action == "discover" else options["solution_name"]
        with _DisplayedService(
            title=f"{action} {name}", output_format=output_format, quiet=options["verbosity"] < 1 or "stderr" in options
        ) as service:
            data = handler(service, options)
        if output_format is OutputFormat.JSON:
            self._print_json(data)
        else:
            self._print_blocks(_blocks(action, data), plain=options["no_color"])
        if data.get("overall_status") == _UNREACHABLE:
            raise _command_error(data["reason"], data["hint"], EXIT_UNREACHABLE)

    def _warn_unused(self, options: Mapping[str, Any]) -> None:
        action = options["action"]
        known = {name for names in _OPTIONS.values() for name in names}
        unused = sorted(name for name in known - set(_OPTIONS[action]) if options[name] is not None)
        if unused and options["verbosity"] >= 1:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            self.stderr.write(f"{names}: ignored by --action {action}.", lambda text: text)

    def _print_json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, indent=2, ensure_ascii=False))

    def _print_blocks(self, blocks: Sequence[Block], *, plain: bool) -> None:
        if self.stdout.isatty() and not plain:
            print_blocks(blocks)
            return
        for block in blocks:
            for line in (block,) if isinstance(block, str) else plain_lines(block):
                self.stdout.write(clean(line))


def _discover(service: IntegrationService, options: Mapping[str, Any]) -> dict[str, Any]:
    domain = options["domain"]
    if not domain:
        raise UsageError("--domain is missing.", hint=f"Use one of: {', '.join(domain_names())}.")
    result = service.discover(
        domain=domain,
        database_config=_database(options),
        table_prefix=options["table_prefix"],
        full=bool(options["refresh_discoveries"]),
        odoo=options["odoo"] or "default",
    )
    return {"domain": domain, **result}


def _set_up(service: IntegrationService, options: Mapping[str, Any]) -> dict[str, Any]:
    names = ("solution_name", "domain", "table_prefix", "business_prefix", "refresh_discoveries", "mirror", "odoo")
    return service.setup_solution(
        {**{name: options[name] for name in names}, "database_config": _database(options) or {}}
    )


def _status(service: IntegrationService, options: Mapping[str, Any]) -> dict[str, Any]:
    return service.get_solution_status(_solution(options))


def _list(service: IntegrationService, _options: Mapping[str, Any]) -> dict[str, Any]:
    return service.list_solutions()


def _refresh(service: IntegrationService, options: Mapping[str, Any]) -> dict[str, Any]:
    return service.refresh_solution_discoveries(_solution(options), full=bool(options["refresh_discoveries"]))


def _migrate(service: IntegrationService, options: Mapping[str, Any]) -> dict[str, Any]:
    return service.migrate_solution_schema(
        _solution(options), plan_only=bool(options["plan"]), allow=options["allow"] or ()
    )


_HANDLERS: Final[Mapping[str, Callable[[IntegrationService, Mapping[str, Any]], dict[str, Any]]]] = {
    "discover": _discover,
    "setup": _set_up,
    "status": _status,
    "list": _list,
    "refresh": _refresh,
    "migrate": _migrate,
}


def _solution(options: Mapping[str, Any]) -> str:
    return one_solution(None, options["solution_name"])


def _database(options: Mapping[str, Any]) -> dict[str, Any] | None:
    return database_config(**{name.removeprefix("database_"): options[name] for name in _DATABASE})


def _blocks(action: str, data: Mapping[str, Any]) -> list[Block]:
    match action:
        case "status":
            return status_blocks(data)
        case "list":
            return list_blocks(data)
        case "discover":
            return result_blocks(action, data, name=data["domain"])
        case _:
            return result_blocks(action, data, name=data["solution"])


def _command_error(message: str, hint: str, code: int) -> CommandError:
    text = "\n".join(filter(None, (clean(message), f"hint: {clean(hint)}" if hint else "")))
    return CommandError(text, returncode=code)
