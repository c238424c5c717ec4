"""The business areas that discoveries are made for: four of ours, and those that other packages add.

A package adds one through the entry point group `fbs_worker.domains`: a name and a `Domain` object.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.domains.base import Domain, ModuleSelector

ENTRY_POINT_GROUP = "fbs_worker.domains"

__all__ = ["ENTRY_POINT_GROUP", "Domain", "ModuleSelector", "domain_names", "load_domain"]


def domain_names() -> list[str]:
    """The names of all domains that are installed, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


@cache
def load_domain(name: str) -> Domain:
    """The domain of that name; it is looked up once, what is installed does not change in a process.

    Raises:
        UsageError: no such domain; the hint lists the known ones.
        SettingsError: the package that offers it is broken.
    """
    found = next(iter(entry_points(group=ENTRY_POINT_GROUP, name=name)), None)
    if found is None:
        raise UsageError(f"There is no domain {name!r}.", hint=f"Use one of: {', '.join(domain_names())}.")
    try:
        domain = found.load()
    except (ImportError, AttributeError) as exc:
        raise SettingsError(
            f"The domain {name!r} of {found.value} cannot be loaded: {exc}.",
            hint="Reinstall the package that offers it.",
        ) from exc
    if not isinstance(domain, Domain) or domain.name != name:
        raise SettingsError(
            f"{found.value} is not a Domain called {name!r}.",
            hint="Correct the entry point of the package that offers it.",
        )
    return domain
