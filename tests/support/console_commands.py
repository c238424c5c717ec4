"""The command line as it is declared: which commands there are, and whether one takes these words. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from typer.main import get_command

from fbs_worker.cli.app import app
from fbs_worker.core.settings import OdooConnection, Settings


def all_commands(command: Any | None = None, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command with its words, the groups, too."""
    command = command or get_command(app)
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from all_commands(child, *words, name)


def check_command(words: Sequence[str]) -> None:
    """See that a command of ours takes these words."""
    command: Any = get_command(app)
    rest = list(words)
    assert rest.pop(0) == "fbs"
    while hasattr(command, "commands") and (rest or not command.invoke_without_command):
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    context = command.make_context(command.name, rest)
    context.close()


def environment_names() -> frozenset[str]:
    """The names that the environment is read for: settings, and the twins of options."""
    names = {name.upper() for name in Settings.model_fields}
    names |= {f"FBS_ODOO__STAGING__{field.upper()}" for field in OdooConnection.model_fields}
    for _words, command in all_commands():
        for parameter in command.params:
            twins = parameter.envvar or []
            names |= {twins} if isinstance(twins, str) else set(twins)
    return frozenset(names)
