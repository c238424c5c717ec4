"""The errors: their classes, codes, exit codes and HTTP statuses, and each message with its hint."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

import fbs_worker
from docs.generators import markdown
from fbs_worker.core import errors as core
from fbs_worker.core.errors import FBSError
from fbs_worker.ops import health  # noqa: F401 -- makes its error known
from fbs_worker.web.api import errors as http  # noqa: F401 -- makes its errors known
from fbs_worker.web.api.problems import status_of

EXIT_CODES: Final[Mapping[int, str]] = {
    core.EXIT_DONE: "done",
    core.EXIT_FAILED: "failed: the job, or an answer of Odoo or PostgreSQL",
    core.EXIT_USAGE: "usage error: an option, a setting or a name is not valid",
    core.EXIT_UNREACHABLE: "a server cannot be reached: Odoo, PostgreSQL, Redis, or no worker",
    core.EXIT_REFUSED: "refused: possible, but not safe",
    130: "interrupted (Ctrl+C)",
}

_SOURCES: Final = Path(fbs_worker.__file__).parent


def exit_codes() -> str:
    """What each exit code of `fbs` means."""
    return markdown.table(["exit code", "meaning"], [[markdown.code(code), text] for code, text in EXIT_CODES.items()])


def classes() -> str:
    """The tree of the errors, then a table of them in its order."""
    tree = [f"{'    ' * depth}{kind.__name__}" for kind, depth in _tree(FBSError)]
    rows = [
        [
            markdown.code(kind.code),
            markdown.sentence((kind.__doc__ or "").strip().split("\n")[0]),
            str(kind.exit_code),
            str(status_of(kind(""))),
            "yes" if kind.retryable else "",
        ]
        for kind, _depth in _tree(FBSError)
    ]
    table = markdown.table(["code", "meaning", "exit", "HTTP", "retry"], rows)
    return f"{table}\nThe classes in Python:\n\n{markdown.block('text', chr(10).join(tree))}"


def messages(parse: Callable[[str], ast.Module] = ast.parse) -> str:
    """Each message that the code raises, with its hint, below the class of its error.

    Args:
        parse: parses the text of a module.
    """
    found = _raised(parse)
    parts: list[str] = []
    for kind, _depth in _tree(FBSError):
        if kind.__name__ not in found:
            continue
        status = HTTPStatus(status_of(kind("")))
        parts += [
            f"### {markdown.code(kind.code)}\n",
            f"{markdown.code(kind.__name__)}: exit code {kind.exit_code}, HTTP {status.value} {status.phrase}.\n",
            markdown.table(["message", "hint"], [list(map(markdown.text, pair)) for pair in found[kind.__name__]]),
        ]
    return "\n".join(parts)


def _tree(kind: type[FBSError], depth: int = 0) -> Iterator[tuple[type[FBSError], int]]:
    yield kind, depth
    for child in kind.__subclasses__():
        if child.__module__.startswith("fbs_worker."):
            yield from _tree(child, depth + 1)


def _raised(parse: Callable[[str], ast.Module]) -> Mapping[str, list[tuple[str, str]]]:
    """Class → its messages and hints, sorted; `…` stands for what is filled in."""
    names = {kind.__name__ for kind, _depth in _tree(FBSError)}
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for text in (path.read_text() for path in _python_files(_SOURCES)):
        if not any(name in text for name in names):
            continue
        nodes = list(ast.walk(parse(text)))
        texts = _named_texts(nodes)
        for node in nodes:
            if not isinstance(node, ast.Call) or _name(node.func) not in names or not node.args:
                continue
            message = _template(node.args[0], texts)
            hint = next((_template(word.value, texts) for word in node.keywords if word.arg == "hint"), "")
            if message and len(re.findall(r"[^\W\d_]{2,}", message)) > 2:  # more than what is filled in
                found[_name(node.func)].add((message, hint or ""))
    return {name: sorted(pairs) for name, pairs in found.items()}


def _python_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():  # `connectors` and `tasks` are links
            yield from _python_files(path)
        elif path.suffix == ".py":
            yield path


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _named_texts(nodes: Sequence[ast.AST]) -> Mapping[str, ast.expr]:
    """The texts that a module gives a name, e.g. to use a hint twice; a name with several texts is left out."""
    texts: dict[str, list[ast.expr]] = defaultdict(list)
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _template(value, {}):
                texts[name].append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if _template(value, {}):
                texts[name].append(value)
    return {name: values[0] for name, values in texts.items() if len(values) == 1}


def _template(value: ast.expr, texts: Mapping[str, ast.expr]) -> str | None:
    """A literal text with `…` for what is filled in; None where it is not literal at all."""
    match value:
        case ast.Constant(value=str(words)):
            return words
        case ast.JoinedStr(values=parts):
            text = "".join(_template(part, texts) or "…" for part in parts)
            return text if text.strip("… ") else None
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (_template(left, texts) or "…") + (_template(right, texts) or "…")
        case ast.IfExp(body=body, orelse=other):
            return " / ".join(filter(None, (_template(body, texts), _template(other, texts)))) or None
        case ast.Name(id=name) if name in texts:
            return _template(texts[name], {})
        case ast.FormattedValue(value=ast.Name(id=name)) if name in texts:
            return _template(texts[name], {})
    return None
