"""The domains that come with fbs-worker: the modules at their core, and their business tables."""

from __future__ import annotations

from docs.generators import markdown, tables
from fbs_worker.domains import domain_names, load_domain


def page() -> str:
    """Each domain with its selector and its tables."""
    parts: list[str] = []
    for name in domain_names():
        domain = load_domain(name)
        selector = domain.modules
        parts.append(f"({name}-domain)=\n## `{name}`: {markdown.text(domain.title)}\n")
        if selector.names:
            parts.append(f"Modules by name: {', '.join(map(markdown.code, selector.names))}.\n")
        if selector.categories:
            parts.append(f"Modules by category: {', '.join(map(markdown.code, selector.categories))}.\n")
        if selector.applications:
            parts.append("Every module that is an application, or is installed and has a main menu of its own (except")
            parts.append("`base`, whose menus are Odoo's own); and every model that was created by hand.\n")
        parts.append(tables.business(name))
    return "\n".join(parts)
