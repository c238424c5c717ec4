"""`manage.py test_discovery`: what the service does, from the command line of a Django project.

Exit codes: 0 done, 1 failed, 2 usage, 3 a server is unreachable, 4 refused, 130 interrupted; as those of `fbs`.
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

_USED: Final[Mapping[str, Sequence[str]]] = {
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
"""The actions, and the options that mean something to each."""


class _Shown(IntegrationService):
    """The service, which shows on stderr how its jobs go on.

    Args:
        title: what is being done.
        output_format: what stdout holds.
        quiet: show nothing but what matters.
    """

    def __init__(self, *, title: str, output_format: OutputFormat, quiet: bool) -> None:
        super().__init__()
        self._display = LineDisplay(None) if quiet else open_display(title, output_format)

    def wait_for(self, job: JobHandle, timeout: float | None) -> dict[str, Any]:  # noqa: ARG002 -- a person has Ctrl-C
        """Wait for as long as it takes, and show how it goes on."""
        return follow(job, self._display)


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """The command; its options mean what those of `fbs` mean."""

    help = "Discovers what an Odoo can do, and sets up, shows, refreshes and migrates solutions."
    requires_system_checks = ()  # what is wrong with FBS_CONFIG is told as all else that is wrong

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Its options."""
        parser.add_argument("--action", choices=tuple(_USED), required=True, help="What is to be done.")
        parser.add_argument("--solution-name", help="The solution.")
        parser.add_argument("--domain", help="The business domain, e.g. rental.")
        parser.add_argument("--database-name", help="The database's name.")
        parser.add_argument("--database-user", help="The role in the database.")
        parser.add_argument(
            "--database-password",
            help="That role's password. Others on this machine can see it on the command line: better `-` (asks for "
            "it, or reads it from a pipe), `env:NAME` or `file:PATH` (read where the job runs).",
        )
        parser.add_argument("--database-host", help="Where PostgreSQL is: a name, an address, or a socket's folder.")
        parser.add_argument("--database-port", type=int, help="The port of PostgreSQL.")
        parser.add_argument("--table-prefix", help="Prefix of the system tables.")
        parser.add_argument("--business-prefix", help="Prefix of the business tables; may be empty.")
        parser.add_argument(
            "--refresh-discoveries",
            action=BooleanOptionalAction,
            help="Whether a set-up reads Odoo, too (it does unless told otherwise); with discover and refresh: read "
            "everything, even though nothing seems changed.",
        )
        parser.add_argument(
            "--mirror",
            action="append",
            metavar="MODEL",
            help="An Odoo model that gets a business table, e.g. sale.order; may be given more than once.",
        )
        parser.add_argument("--odoo", help="Which Odoo, by its name in FBS_CONFIG['odoo']; else odoo_url is read.")
        parser.add_argument("--plan", action="store_true", default=None, help="Only show what a migration would do.")
        parser.add_argument(
            "--allow",
            action="append",
            metavar="HAZARD",
            help="A hazard that a migration may take, e.g. DELETES_DATA; may be given more than once.",
        )
        parser.add_argument(
            "--output-format",
            choices=[str(one) for one in OutputFormat],
            default=str(OutputFormat.TEXT),
            help="What stdout holds; json is JSON alone.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do it.

        Raises:
            CommandError: what went wrong, what to do about it, and the exit code.
        """
        output_format = OutputFormat(options["output_format"])
        try:
            self._note_unused(options)
            self._do(options, output_format)
            self.stdout.flush()
        except FBSError as exc:
            if output_format is OutputFormat.JSON:
                self._print_json({"error": exc.to_dict()})
            raise _command_error(exc.message, exc.hint, exit_code(exc)) from exc
        except BrokenPipeError:
            # Whoever read us has seen enough: end without a word, now and at Python's exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=EXIT_INTERRUPTED) from None

    def _do(self, options: Mapping[str, Any], output_format: OutputFormat) -> None:
        action = options["action"]
        ask: Callable[[IntegrationService, Mapping[str, Any]], dict[str, Any]] = _ASKED[action]
        name = options["domain"] if action == "discover" else options["solution_name"]
        with _Shown(
            title=f"{action} {name}", output_format=output_format, quiet=options["verbosity"] < 1 or "stderr" in options
        ) as service:
            told = ask(service, options)
        if output_format is OutputFormat.JSON:
            self._print_json(told)
        else:
            self._print_blocks(_blocks(action, told), plain=options["no_color"])
        if told.get("overall_status") == _UNREACHABLE:
            raise _command_error(told["reason"], told["hint"], EXIT_UNREACHABLE)

    def _note_unused(self, options: Mapping[str, Any]) -> None:
        action = options["action"]
        known = {name for names in _USED.values() for name in names}
        unused = sorted(name for name in known - set(_USED[action]) if options[name] is not None)
        if unused and options["verbosity"] >= 1:
            words = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            self.stderr.write(f"{words}: of no use to --action {action}.", lambda text: text)

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
        raise UsageError("No domain is named.", hint=f"Name one (--domain): {', '.join(domain_names())}.")
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


_ASKED: Final[Mapping[str, Callable[[IntegrationService, Mapping[str, Any]], dict[str, Any]]]] = {
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
    given = {name.removeprefix("database_"): options[name] for name in _DATABASE}
    return database_config(**given)


def _blocks(action: str, told: Mapping[str, Any]) -> list[Block]:
    match action:
        case "status":
            return status_blocks(told)
        case "list":
            return list_blocks(told)
        case "discover":
            return result_blocks(action, told, name=told["domain"])
        case _:
            return result_blocks(action, told, name=told["solution"])


def _command_error(message: str, hint: str, code: int) -> CommandError:
    """Two lines, as `fbs` says them."""
    words = "\n".join(filter(None, (clean(message), f"hint: {clean(hint)}" if hint else "")))
    return CommandError(words, returncode=code)
