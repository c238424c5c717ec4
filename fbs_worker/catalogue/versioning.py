"""Version numbers of discoveries: compare two states, and derive the next version.

Pure. Versions start at `1.0`. Additions and new labels increment the minor number; removals, other types and new
requirements increment the major one. Metadata is descriptive: its differences are reported, but never breaking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

FIRST_VERSION: Final = "1.0"

IGNORED_METADATA: Final = frozenset({"source", "incomplete"})
"""Facts about the read, not about the discovery: its source and its incomplete sections."""

_IDENTITY: Final = {"states": "value", "transitions": "button"}
"""Identifying key of the objects in a list; `name` by default."""

_COLLECTIONS: Final = frozenset({"fields"})
"""Top-level objects whose keys are names, not attributes."""

_RETYPED: Final = frozenset({"type", "relation", "kind", "model", "state_field"})
"""Attributes whose change is breaking."""

_DESCRIPTIVE: Final = frozenset({"modules"})
"""Lists of origins: removing an entry is not breaking."""

_VERSION = re.compile(r"([0-9]+)\.([0-9]+)")
_ABSENT: Final = object()

_SCALAR_LISTS: Final = frozenset({"digits"})
"""Lists that are one value; another one is not breaking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The differences between two states of a discovery.

    Attributes:
        fields: dotted paths, sorted, e.g. `fields.amount_total.type`; paths of the metadata start with `metadata.`.
        breaking: something was removed, retyped or newly required.
    """

    fields: tuple[str, ...] = ()
    breaking: bool = False

    def __bool__(self) -> bool:
        return bool(self.fields)


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
    """Compare two states of a discovery.

    Args:
        old: the previous `metadata` and `schema_definition`, as JSON values; each may be missing or None.
        new: the new ones.

    Returns:
        The differences; falsy where there are none.
    """
    paths = dict(_mapping("", old.get("schema_definition") or {}, new.get("schema_definition") or {}, top=True))
    breaking = any(paths.values())
    before, after = (
        {key: value for key, value in (state.get("metadata") or {}).items() if key not in IGNORED_METADATA}
        for state in (old, new)
    )
    paths.update(_mapping("metadata.", before, after, top=True))
    return Difference(fields=tuple(sorted(paths)), breaking=breaking)


def next_version(previous: str | None, *, breaking: bool) -> str:
    """Derive the version after a change.

    Args:
        previous: the latest version, `major.minor`; None for a new discovery.
        breaking: whether the change is breaking.

    Returns:
        The next version, `major.minor`.

    Raises:
        ValueError: the previous version is not of the form `major.minor`.
    """
    if previous is None:
        return FIRST_VERSION
    match = _VERSION.fullmatch(previous)
    if match is None:
        raise ValueError(f"{previous!r} is not of the form major.minor")
    major, minor = int(match[1]), int(match[2])
    return f"{major + 1}.0" if breaking else f"{major}.{minor + 1}"


def _mapping(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any], *, top: bool) -> Iterator[tuple[str, bool]]:
    for key in old.keys() | new.keys():
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        path = f"{prefix}{key}"
        if top and key in _COLLECTIONS and _each_is(Mapping, before, after):
            yield from _members(path, _or_empty(before, {}), _or_empty(after, {}), descriptive=False)
        elif top and _each_is(Mapping, before, after):
            yield from _mapping(f"{path}.", _or_empty(before, {}), _or_empty(after, {}), top=False)
        else:
            yield from _value(path, key, before, after)


def _value(path: str, attribute: str, old: Any, new: Any) -> Iterator[tuple[str, bool]]:
    """Compare one value; `attribute` is its name, empty for a member of a list."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _mapping(f"{path}.", old, new, top=False)
    elif attribute not in _SCALAR_LISTS and _each_is(list, old, new):
        before, after = (_by_identity(attribute, _or_empty(side, [])) for side in (old, new))
        yield from _members(path, before, after, descriptive=attribute in _DESCRIPTIVE)
        if [key for key in before if key in after] != [key for key in after if key in before]:
            yield path, False  # the same members in another order
    elif type(old) is not type(new) or old != new:
        yield path, _breaks(attribute, old, new)


def _members(
    path: str, old: Mapping[str, Any], new: Mapping[str, Any], *, descriptive: bool
) -> Iterator[tuple[str, bool]]:
    for key in old.keys() | new.keys():
        if key not in new:
            yield f"{path}.{key}", not descriptive
        elif key not in old:
            yield f"{path}.{key}", False
        else:
            yield from _value(f"{path}.{key}", "", old[key], new[key])


def _breaks(attribute: str, old: Any, new: Any) -> bool:
    if old is _ABSENT:
        return attribute == "required" and bool(new)
    if attribute == "required":
        return bool(new) and not old
    return attribute in _RETYPED or (isinstance(old, Mapping | list) and attribute not in _SCALAR_LISTS)


def _by_identity(attribute: str, elements: Sequence[Any]) -> dict[str, Any]:
    """Map the elements of a list by identity, in order; a second element of the same name gets `#2`."""
    elements_by_key: dict[str, Any] = {}
    name: Any
    value: Any
    for element in elements:
        if isinstance(element, Mapping):
            name, value = element.get(_IDENTITY.get(attribute, "name"), ""), element
        elif isinstance(element, list) and attribute == "groups":  # of which one is needed
            name, value = " or ".join(map(str, element)), element
        elif isinstance(element, list) and len(element) == 2:  # a selection's value and label
            name, value = element
        else:
            name, value = element, element
        key = base = str(name)
        count = 1
        while key in elements_by_key:
            count += 1
            key = f"{base}#{count}"
        elements_by_key[key] = value
    return elements_by_key


def _each_is(kind: type, old: Any, new: Any) -> bool:
    """Whether each side is of that kind or absent: rows leave out empty values."""
    return all(side is _ABSENT or isinstance(side, kind) for side in (old, new))


def _or_empty(side: Any, empty: Any) -> Any:
    return empty if side is _ABSENT else side
