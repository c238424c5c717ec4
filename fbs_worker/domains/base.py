"""Definition of a domain: a selector of Odoo modules, and business tables. A selector is data: users can extend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def no_tables() -> MetaData:
    """The tables of a domain without business tables."""
    from sqlalchemy import MetaData

    return MetaData()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSelector:
    """Selects the core modules of a domain.

    Attributes:
        names: globs over technical names, e.g. `sale*`.
        categories: globs over category paths in English, parts joined by ` / `, e.g. `Human Resources*`.
        applications: all modules that are applications or have a main menu of their own, and models created in the user
            interface (`state` is `manual`).
        excluded: globs over technical names of modules that no other criterion selects.
    """

    names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    applications: bool = False
    excluded: tuple[str, ...] = ()

    def matches(self, name: str, *, category: str = "", application: bool = False, menu: bool = False) -> bool:
        """Whether a module is a core module of the domain; arguments as for `why`."""
        return bool(self.why(name, category=category, application=application, menu=menu))

    def why(self, name: str, *, category: str = "", application: bool = False, menu: bool = False) -> str:
        """Why a module is a core module of the domain.

        Args:
            name: the module's technical name.
            category: the path of its category, parts joined by ` / `.
            application: whether the module is an application.
            menu: whether it is installed and has a main menu of its own.

        Returns:
            The criterion, e.g. `name sale*`; empty if it is not one.
        """
        if any(fnmatchcase(name, pattern) for pattern in self.excluded):
            return ""
        if self.applications and (application or menu):
            return "application" if application else "own main menu"
        for kind, value, patterns in (("name", name, self.names), ("category", category, self.categories)):
            for pattern in patterns:
                if fnmatchcase(value, pattern):
                    return f"{kind} {pattern}"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """The criteria, JSON-ready."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A business domain.

    Attributes:
        name: e.g. `rental`; at most 100 characters.
        title: the displayed name, e.g. `Rental`.
        modules: selects its core modules.
        tables: creates its business tables, named without prefix, with their own columns only: `schema.definition`
            adds `id`, `created_at`, `updated_at` and an index for each foreign key. A function, so that a discovery
            does not import SQLAlchemy.
    """

    name: str
    title: str
    modules: ModuleSelector = field(default_factory=ModuleSelector)
    tables: Callable[[], MetaData] = no_tables

    def selecting(self, *, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Self:
        """The domain with further core modules, or fewer.

        Args:
            include: globs over technical names to add.
            exclude: globs over technical names to leave out, whatever else selects them.
        """
        names, excluded = (*self.modules.names, *include), (*self.modules.excluded, *exclude)
        return replace(self, modules=replace(self.modules, names=names, excluded=excluded))
