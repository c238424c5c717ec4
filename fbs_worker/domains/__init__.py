"""Business domains: four built in, further ones from other packages.

A package registers a domain with the entry point group `fbs_worker.domains`: a name and a `Domain` object.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.domains.base import Domain, ModuleSelector

ENTRY_POINT_GROUP = "fbs_worker.domains"

__all__ = ["ENTRY_POINT_GROUP", "Domain", "ModuleSelector", "domain_names", "load_domain"]


def domain_names() -> list[str]:
    """The names of all installed domains, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


@cache
def load_domain(name: str) -> Domain:
    """Load a domain by name, once per process.

    Args:
        name: the name of its entry point.

    Returns:
        The domain.

    Raises:
        UsageError: no installed package has that domain; the hint lists the installed ones.
        SettingsError: the entry point cannot be loaded, or is not a domain of that name.
    """
    entry_point = next(iter(entry_points(group=ENTRY_POINT_GROUP, name=name)), None)
    if entry_point is None:
        raise UsageError(f"There is no domain {name!r}.", hint=f"Use one of: {', '.join(domain_names())}.")
    try:
        domain = entry_point.load()
    except (ImportError, AttributeError) as exc:
        raise SettingsError(
            f"The domain {name!r} of {entry_point.value} cannot be loaded: {exc}.",
            hint="Reinstall the package that provides it.",
        ) from exc
    if not isinstance(domain, Domain) or domain.name != name:
        raise SettingsError(
            f"{entry_point.value} is not a Domain called {name!r}.",
            hint="Correct the entry point of the package that provides it.",
        )
    return domain
