"""What a domain is: which of Odoo's modules it stands on, and which business tables it brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def no_tables() -> MetaData:
    """The tables of a domain that brings none."""
    from sqlalchemy import MetaData

    return MetaData()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSelector:
    """Chooses the modules at the core of a domain.

    Attributes:
        names: globs over technical names, e.g. `sale*`.
        categories: globs over category paths, parts joined by ` / `, e.g. `Human Resources*`.
        applications: every module that is an application, whatever its name, and the models that were made by hand.
    """

    names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    applications: bool = False

    def matches(self, name: str, *, category: str = "", application: bool = False) -> bool:
        """Whether a module belongs to the core of the domain.

        Args:
            name: the module's technical name.
            category: the path of its category, parts joined by ` / `.
            application: whether Odoo lists it as an application.
        """
        if self.applications and application:
            return True
        if any(fnmatchcase(name, pattern) for pattern in self.names):
            return True
        return any(fnmatchcase(category, pattern) for pattern in self.categories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A business area.

    Attributes:
        name: e.g. `rental`; at most 100 characters.
        title: for people, e.g. `Rental`.
        modules: which modules are at its core.
        tables: makes its business tables, named without prefix, with their own columns only: `schema.definition` gives
            each one `id`, `created_at` and `updated_at`, and an index for each foreign key. A function, so that what
            only discovers need not import SQLAlchemy.
    """

    name: str
    title: str
    modules: ModuleSelector = field(default_factory=ModuleSelector)
    tables: Callable[[], MetaData] = no_tables
