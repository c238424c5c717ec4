"""Module graph: the modules of a domain, and the module that defines a model, from Odoo's module table. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fbs_worker.connectors.reader import Row, related_id
from fbs_worker.core.errors import OdooBadAnswer
from fbs_worker.domains import Domain

INSTALLED: Final = frozenset({"installed", "to upgrade"})
"""States of an installed module; `to upgrade` waits for the next restart."""
CORE: Final = "core"
DEPENDENCY: Final = "dependency"
MAX_MODULES: Final = 20_000
"""Maximum number of modules of a server, installed or not."""
MAX_CONTRIBUTORS: Final = 500
"""Maximum number of modules of a model that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A row of `ir.module.module`.

    Attributes:
        name: technical name.
        title: displayed name.
        state: Odoo's state, e.g. `installed`, `uninstalled`.
        version: the installed version, else the one on the server's disk, else None. (Odoo's column names are swapped:
            `latest_version` is the installed one, `installed_version` the one on disk; see the comment in
            `ir_module.py`.)
        category: path of its category, parts joined by ` / `.
        depends: its direct dependencies, sorted.
        application: whether Odoo lists it as an application.
        menu: whether it is installed and has a main menu of its own; that of `base` is Odoo's.
        author: its author.
        license: its licence.
        website: its web page.
    """

    name: str
    title: str
    state: str
    version: str | None
    category: str
    depends: tuple[str, ...]
    application: bool = False
    menu: bool = False
    author: str = ""
    license: str = ""
    website: str = ""

    @property
    def installed(self) -> bool:
        """Whether the module is installed."""
        return self.state in INSTALLED


def modules_of_rows(
    rows: Iterable[Row],
    *,
    depends: Mapping[int, Collection[str]] | None = None,
    categories: Mapping[int, str] | None = None,
) -> list[Module]:
    """Convert rows of `ir.module.module`.

    Args:
        rows: rows with nested category and dependencies, or with the category's id only.
        depends: dependencies by row id, for rows without nested ones.
        categories: category paths by id, for rows without nested ones.

    Returns:
        The modules, sorted by name.
    """
    modules = []
    for row in rows:
        nested = row.get("dependencies_id") or ()
        names = {item["name"] for item in nested if isinstance(item, Mapping)} | set((depends or {}).get(row["id"], ()))
        modules.append(
            Module(
                name=row["name"],
                title=row.get("shortdesc") or "",
                state=row.get("state") or "",
                version=row.get("latest_version") or row.get("installed_version") or None,
                category=_category(row.get("category_id"), categories or {}),
                depends=tuple(sorted(names)),
                application=bool(row.get("application")),
                menu=row["name"] != "base" and _has_main_menu(row.get("menus_by_module") or ""),
                author=row.get("author") or "",
                license=row.get("license") or "",
                website=row.get("website") or "",
            )
        )
    return sorted(modules, key=lambda module: module.name)


def _has_main_menu(menus: str) -> bool:
    """Whether one of the paths of menus, a line each, has one part only."""
    return any(path and "/" not in path for path in menus.splitlines())


def category_paths(rows: Iterable[Row]) -> dict[int, str]:
    """Category paths by id, from rows of `ir.module.category`."""
    by_id = {row["id"]: row for row in rows}
    paths: dict[int, str] = {}
    for number in by_id:
        parts: list[str] = []
        at: int | None = number
        while at is not None and at in by_id and len(parts) <= len(by_id):
            parts.append(by_id[at]["name"])
            at = related_id(by_id[at].get("parent_id"))
        paths[number] = " / ".join(reversed(parts))
    return paths


def _category(value: Any, categories: Mapping[int, str]) -> str:
    if isinstance(value, Mapping):
        parts = []
        at: Any = value
        while isinstance(at, Mapping):
            parts.append(at.get("name") or "")
            at = at.get("parent_id")
        return " / ".join(reversed([part for part in parts if part]))
    number = related_id(value)
    return categories.get(number, "") if number is not None else ""


@dataclass(frozen=True, slots=True)
class ModuleGraph:
    """All modules of a server, with their roles in a domain.

    Attributes:
        modules: all modules by name.
        roles: `core` or `dependency` of each module of the domain.
        reasons: why each core module is one.
        core: the installed core modules; models that they define or extend belong to the domain.
    """

    modules: Mapping[str, Module]
    roles: Mapping[str, str]
    reasons: Mapping[str, str]
    core: frozenset[str]
    _bits: Mapping[str, int]
    _closures: dict[str, int]

    @classmethod
    def for_domain(cls, modules: Sequence[Module], domain: Domain) -> ModuleGraph:
        """Build the graph and assign the roles.

        Raises:
            OdooBadAnswer: there are more modules than an Odoo has.
        """
        if len(modules) > MAX_MODULES:
            raise OdooBadAnswer(
                f"This Odoo reports {len(modules)} modules; at most {MAX_MODULES} are supported.",
                hint="Check that ODOO_URL is your Odoo.",
            )
        by_name = {module.name: module for module in modules}
        reasons = {
            module.name: domain.modules.why(
                module.name, category=module.category, application=module.application, menu=module.menu
            )
            for module in modules
        }
        matched = {name: reason for name, reason in reasons.items() if reason}
        core = frozenset(name for name in matched if by_name[name].installed)
        names = {name for module in modules for name in (module.name, *module.depends)}
        graph = cls(by_name, {}, matched, core, {name: 1 << number for number, name in enumerate(sorted(names))}, {})
        required = {name for name in graph.dependencies(*core) - matched.keys() if name in by_name}
        roles = dict.fromkeys(matched, CORE) | dict.fromkeys(required, DEPENDENCY)
        return cls(by_name, dict(sorted(roles.items())), matched, core, graph._bits, graph._closures)

    def dependencies(self, *names: str) -> frozenset[str]:
        """The direct and indirect dependencies of modules."""
        closure = 0
        for name in names:
            closure |= self._closure(name)
        return frozenset(name for name, bit in self._bits.items() if closure & bit)

    def definer(self, names: Collection[str]) -> str:
        """The module, among those that contribute to a model, that defines it: the one most others depend on.

        Empty where there are several and no dependency of any module is known.
        """
        known = sorted(names)[:MAX_CONTRIBUTORS]
        if len(known) > 1 and not any(module.depends for module in self.modules.values()):
            return ""
        closures = {other: self._closure(other) for other in known}
        support = {
            name: sum(bool(closures[other] & self._bits.get(name, 0)) for other in known if other != name)
            for name in known
        }
        return max(known, key=lambda name: support[name])

    def _closure(self, name: str) -> int:
        """The bits of the direct and indirect dependencies: sets of names would take 400 MB for 3,000 in a cycle."""
        known = self._closures.get(name)
        if known is not None:
            return known
        reached = 0
        waiting = list(self.modules[name].depends) if name in self.modules else []
        while waiting:
            at = waiting.pop()
            if reached & self._bits[at]:
                continue
            reached |= self._bits[at] | self._closures.get(at, 0)
            if at not in self._closures and at in self.modules:
                waiting.extend(self.modules[at].depends)
        self._closures[name] = reached
        return reached


@lru_cache(maxsize=4096)
def _split(text: str) -> tuple[str, ...]:
    return tuple(sorted(part.strip() for part in text.split(",") if part.strip()))


def split_names(text: Any) -> list[str]:
    """Split a comma-separated string of Odoo (`ir.model.modules`) into sorted names."""
    return list(_split(text)) if text else []
