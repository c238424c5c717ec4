"""`manage.py test_discovery`: the operations of IntegrationService as a Django management command.

Exit codes, as of `fbs`: 0 success, 1 error, 2 usage error, 3 a server is unreachable, 4 rejected, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from fbs_worker.cli.app import EXIT_INTERRUPTED, exit_code
from fbs_worker.cli.display import LineDisplay, open_display
from fbs_worker.cli.follow import follow
from fbs_worker.cli.options import one_solution, request_values
from fbs_worker.cli.output import Block, OutputFormat, clean, json_text, plain_lines, print_blocks
from fbs_worker.cli.render.odoo import connection_blocks, connections_blocks, test_blocks
from fbs_worker.cli.render.results import exit_code_of, result_blocks
from fbs_worker.cli.render.solutions import list_blocks, status_blocks
from fbs_worker.client.client import JobHandle
from fbs_worker.client.service import IntegrationService
from fbs_worker.core.errors import EXIT_UNREACHABLE, FBSError
from fbs_worker.core.fields import ValidatedConfig, parameters
from fbs_worker.solutions.odoo_connections import add_odoo, edit_odoo, list_odoo, remove_odoo
from fbs_worker.solutions.odoo_requests import (
    ODOO_REQUESTS,
    OdooAddRequest,
    OdooEditRequest,
    OdooRemoveRequest,
    OdooTestRequest,
)
from fbs_worker.solutions.requests import (
    DiscoverRequest,
    MigrateRequest,
    RefreshRequest,
    Request,
    SetupRequest,
    SyncRequest,
)

_UNREACHABLE: Final = "unreachable"
_REQUESTS: Final[Mapping[str, type[Request]]] = {
    "discover": DiscoverRequest,
    "setup": SetupRequest,
    "refresh": RefreshRequest,
    "migrate": MigrateRequest,
    "sync": SyncRequest,
}
_FULL: Final = ("discover", "refresh")
"""Actions for which --refresh-discoveries means --full."""

_ODOO: Final = "odoo-"
"""Beginning of the actions of `ODOO_REQUESTS`, and of `odoo-list`."""

_ACTIONS: Final[Mapping[str, type[ValidatedConfig]]] = {
    **_REQUESTS,
    **{f"{_ODOO}{command}": request for command, request in ODOO_REQUESTS.items()},
}
_FIELDS: Final = {each.name: each for request in _ACTIONS.values() for each in parameters(request)}
_OPTIONS: Final[Mapping[str, Set[str]]] = {
    **{name: {each.name for each in parameters(request)} for name, request in _ACTIONS.items()},
    f"{_ODOO}list": set(),
    "status": {"solution_name"},
    "list": set(),
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

    help = "Discover an Odoo server; set up, show, refresh, migrate and copy solutions; keep connections to Odoo."
    requires_system_checks = ()  # handle() reports errors of FBS_CONFIG, with their exit code

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--action", choices=sorted(_OPTIONS), required=True, help="The action.")
        for each in _FIELDS.values():
            kind: dict[str, Any] = {"type": int if each.kind is int else str, "metavar": each.option.metavar or None}
            if each.kind is bool:
                kind = {"action": BooleanOptionalAction if each.default else "store_true"}
            elif each.is_list:
                kind["action"] = "append"
            parser.add_argument(each.flag, default=None, help=_help(each.name).replace("%", "%%"), **kind)
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
        name = options["domain"] if action == "discover" else options["solution_name"] or options["name"]
        with _DisplayedService(
            title=f"{action} {name}", output_format=output_format, quiet=options["verbosity"] < 1 or "stderr" in options
        ) as service:
            data = self._result(service, action, options)
        if output_format is OutputFormat.JSON:
            self._print_json(data)
        else:
            self._print_blocks(_blocks(action, data), plain=options["no_color"])
        if data.get("overall_status") == _UNREACHABLE:
            raise _command_error(data["reason"], data["hint"], EXIT_UNREACHABLE)
        if code := exit_code_of(action, data):
            raise _command_error("Not every table is equal to Odoo.", "The lines above say what to do.", code)

    def _result(self, service: IntegrationService, action: str, options: Mapping[str, Any]) -> dict[str, Any]:
        if action == "list":
            return service.list_solutions()
        if action == "status":
            return service.get_solution_status(one_solution(None, options["solution_name"]))
        if action.startswith(_ODOO):
            return _odoo(service, action.removeprefix(_ODOO), options)
        kind = _REQUESTS[action]
        given = request_values(kind, options)
        if action in _FULL and options["refresh_discoveries"]:
            given["full"] = True
        result = service.run(kind.parse(given, settings=service.settings).with_own_secrets(service.settings))
        return {"domain": given["domain"], **result} if action == "discover" else result

    def _warn_unused(self, options: Mapping[str, Any]) -> None:
        action = options["action"]
        unused = sorted(name for name in _FIELDS.keys() - _OPTIONS[action] if options[name] is not None)
        if action in _FULL and "refresh_discoveries" in unused:
            unused.remove("refresh_discoveries")
        if unused and options["verbosity"] >= 1:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            self.stderr.write(f"{names}: ignored by --action {action}.", lambda text: text)

    def _print_json(self, value: Any) -> None:
        self.stdout.write(json_text(value))

    def _print_blocks(self, blocks: Sequence[Block], *, plain: bool) -> None:
        if self.stdout.isatty() and not plain:
            print_blocks(blocks)
            return
        for block in blocks:
            for line in (block,) if isinstance(block, str) else plain_lines(block):
                self.stdout.write(clean(line))


def _help(name: str) -> str:
    """The help of an option; where it differs between actions, each with its actions."""
    actions: dict[str, list[str]] = {}
    for action, request in _ACTIONS.items():
        for each in parameters(request):
            if each.name == name:
                actions.setdefault(each.help, []).append(action)
    if len(actions) == 1:
        return next(iter(actions))
    return " ".join(f"{', '.join(names)}: {text}" for text, names in actions.items())


def _odoo(service: IntegrationService, command: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if command == "list":
        return list_odoo(service.settings)
    given = request_values(ODOO_REQUESTS[command], options)
    match command:
        case "add":
            return add_odoo(service.settings, OdooAddRequest(**given))
        case "edit":
            return edit_odoo(service.settings, OdooEditRequest(**given))
        case "remove":
            return remove_odoo(service.settings, OdooRemoveRequest(**given).name)
        case _:
            return service.run(OdooTestRequest(**given))


def _blocks(action: str, data: Mapping[str, Any]) -> list[Block]:
    match action:
        case "odoo-list":
            return connections_blocks(data)
        case "odoo-add" | "odoo-edit":
            return connection_blocks({"odoo-add": "added", "odoo-edit": "changed"}[action], data, None)
        case "odoo-test":
            return test_blocks(data)
        case "odoo-remove":
            return [f"The Odoo connection {data['name']} is removed."]
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
