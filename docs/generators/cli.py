"""The command line, from the typer application that `fbs` runs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Final

from typer.main import get_command

from docs.generators import markdown
from fbs_worker.cli.app import app

_KINDS: Final = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "path": "PATH"}


def page() -> str:
    """Each command with its arguments, options and their environment twins."""
    root: Any = get_command(app)
    parts = ["(fbs)=\n## `fbs`\n", markdown.text(root.help or ""), "", *_parameters(root, "fbs")]
    for name in sorted(root.commands):
        parts += _command(root.commands[name], f"fbs {name}")
    return "\n".join(parts)


def command_names() -> list[str]:
    """Each command with its words, e.g. `fbs jobs list`; groups are left out."""
    return sorted(name for name, command in _walk(get_command(app), "fbs") if not hasattr(command, "commands"))


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child, sub in getattr(command, "commands", {}).items():
        yield from _walk(sub, f"{name} {child}")


def _command(command: Any, name: str) -> Iterator[str]:
    level = "#" * (name.count(" ") + 1)
    yield f"({name.replace(' ', '-')})=\n{level} `{name}`\n"
    for paragraph in textwrap.dedent(command.help or "").strip().split("\n\n"):
        yield markdown.text(paragraph) + "\n"
    children = getattr(command, "commands", None)
    if not children or command.invoke_without_command:
        yield markdown.block("text", _usage(command, name))
        yield from _parameters(command, name)
    if children:
        for child in sorted(children):
            yield from _command(children[child], f"{name} {child}")


def _usage(command: Any, name: str) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    with context:
        return " ".join([name, *command.collect_usage_pieces(context)])


def _parameters(command: Any, name: str) -> Iterator[str]:
    yield f"```{{program}} {name}\n```\n"
    context = command.make_context(name, [], resilient_parsing=True)
    with context:
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record is None or parameter.name == "help":  # hidden, or the same everywhere
                continue
            if parameter.param_type_name == "argument":
                yield markdown.directive("option", record[0].split()[0], markdown.sentence(parameter.help or ""))
            else:
                yield markdown.directive("option", _spelling(record[0]), _description(parameter))


def _spelling(record: str) -> str:
    """An option's words and its value's kind as the help shows them, e.g. `--every TEXT`."""
    words, _, kind = record.partition(" <")
    value = _KINDS.get(kind.rstrip(">").removesuffix(" range"), f"<{kind}") if kind else ""
    return f"{words} {value}".strip().replace(" / ", ", ")


def _description(option: Any) -> str:
    facts = [markdown.sentence(option.help or "")]
    default = getattr(option.default, "value", option.default)
    if option.required:
        facts.append("Required.")
    elif option.show_default and isinstance(default, str | int | float) and default != "" and not option.is_flag:
        facts.append(f"Default: {markdown.code(default)}.")
    lines = [" ".join(facts)]
    if option.envvar:
        names = [option.envvar] if isinstance(option.envvar, str) else option.envvar
        lines.append("Environment: " + ", ".join(map(markdown.code, names)))
    return "\n\n".join(lines)
