"""Definition of a domain: a selector of Odoo modules, and business tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

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
        categories: globs over category paths, parts joined by ` / `, e.g. `Human Resources*`.
        applications: all modules that are applications, and models created in the user interface (`state` is `manual`).
    """

    names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    applications: bool = False

    def matches(self, name: str, *, category: str = "", application: bool = False) -> bool:
        """Whether a module is a core module of the domain.

        Args:
            name: the module's technical name.
            category: the path of its category, parts joined by ` / `.
            application: whether the module is an application.

        Returns:
            True if any of the criteria matches.
        """
        if self.applications and application:
            return True
        if any(fnmatchcase(name, pattern) for pattern in self.names):
            return True
        return any(fnmatchcase(category, pattern) for pattern in self.categories)


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
