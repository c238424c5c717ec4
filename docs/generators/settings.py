"""The settings, from the fields of `Settings`: names, defaults, limits, descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.generators import markdown
from fbs_worker.core.settings import Settings

GROUPS: Final = (
    ("Odoo", ("odoo_", "fbs_odoo")),
    (
        "Redis, PostgreSQL, secrets",
        ("fbs_redis_url", "fbs_database_url", "fbs_broker_url", "fbs_secret", "fbs_allowed_hosts", "fbs_home"),
    ),
    ("Solutions", ("fbs_table_prefix", "fbs_business_prefix", "fbs_auto_create", "fbs_enable", "fbs_default_database")),
    ("Discoveries and jobs", ("fbs_page_size", "fbs_full_after", "fbs_job", "fbs_visibility", "fbs_max_retries")),
    ("Schedules", ("fbs_refresh_every",)),
    ("Monitoring", ("fbs_flower", "fbs_log")),
    ("HTTP API", ("fbs_api", "fbs_root_path", "fbs_pages")),
    ("Further settings", ("",)),
)
"""Headings, and how the names of their settings begin; a setting is below the first that fits."""

_LIMITS: Final = {"Ge": "at least", "Gt": "more than", "Le": "at most", "Lt": "less than"}


def page() -> str:
    """Every setting below the heading of its group, in the order of their declaration."""
    rest = dict(Settings.model_fields)
    parts: list[str] = []
    for heading, beginnings in GROUPS:
        names = [name for name in rest if name.startswith(beginnings)]
        if names:
            parts += [f"## {heading}\n", *(_setting(name, rest.pop(name)) for name in names)]
    return "\n".join(parts)


def _setting(name: str, field: FieldInfo) -> str:
    description = field.description or ""
    if get_origin(field.annotation) is Literal:
        for choice in get_args(field.annotation):
            description = re.sub(rf"(?<![\w`]){choice}(?![\w`])", f"`{choice}`", description)
    return markdown.directive("envvar", name.upper(), " ".join([markdown.sentence(description), *_facts(field)]))


def _facts(field: FieldInfo) -> Iterator[str]:
    yield from _default(field)
    yield from _limits(field)


def _default(field: FieldInfo) -> Iterator[str]:
    value: Any = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value not in (PydanticUndefined, "", None):
        yield f"Default: {markdown.code(value if not isinstance(value, Path) else value.as_posix())}."


def _limits(field: FieldInfo) -> Iterator[str]:
    limits = [
        f"{_LIMITS[kind]} {getattr(limit, kind.lower())}"
        for limit in field.metadata
        if (kind := type(limit).__name__) in _LIMITS
    ]
    if limits:
        yield f"{' and '.join(limits).capitalize()}."
