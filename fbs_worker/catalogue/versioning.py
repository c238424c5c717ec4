"""The rule that numbers versions: what differs between two states of a thing, and whether it breaks who uses it.

Pure. Things are numbered from `1.0`: something added or relabelled moves the minor number; something taken away,
retyped or newly required moves the major one. Metadata describes a thing without defining it: a difference there is
told, but never breaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

FIRST_VERSION: Final = "1.0"

IGNORED_METADATA: Final = frozenset({"source", "incomplete"})
"""Where a thing was read from, and what the reader could not see: nothing about the thing itself."""

_IDENTITY: Final = {"states": "value", "transitions": "button"}
"""By which key the objects in a list are told apart; `name` where nothing else is said."""

_COLLECTIONS: Final = frozenset({"fields"})
"""Top-level objects whose keys are names of things, not attributes."""

_RETYPED: Final = frozenset({"type", "relation", "kind", "model", "state_field"})
"""Attributes that say what a thing is: another value makes it another thing."""

_DESCRIPTIVE: Final = frozenset({"modules"})
"""Lists that say where a thing comes from: nothing is lost when one entry goes."""

_VERSION = re.compile(r"([0-9]+)\.([0-9]+)")
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two states of a thing.

    Attributes:
        fields: dotted paths, sorted, e.g. `fields.amount_total.type`; those of the metadata begin with `metadata.`.
        breaking: something was taken away, retyped or newly required.
    """

    fields: tuple[str, ...] = ()
    breaking: bool = False

    def __bool__(self) -> bool:
        return bool(self.fields)


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
    """What differs between two states of one thing.

    Args:
        old: its `metadata` and `schema_definition` before, as JSON values; each may be missing or None.
        new: the same, now.
    """
    told = dict(_mapping("", old.get("schema_definition") or {}, new.get("schema_definition") or {}, top=True))
    breaking = any(told.values())
    before, after = (
        {key: value for key, value in (state.get("metadata") or {}).items() if key not in IGNORED_METADATA}
        for state in (old, new)
    )
    told.update(_mapping("metadata.", before, after, top=True))
    return Difference(fields=tuple(sorted(told)), breaking=breaking)


def next_version(previous: str | None, *, breaking: bool) -> str:
    """The version after a change.

    Args:
        previous: the latest version, `major.minor`; None where there is none yet.
        breaking: something was taken away, retyped or newly required.

    Raises:
        ValueError: the previous version is not of that form.
    """
    if previous is None:
        return FIRST_VERSION
    found = _VERSION.fullmatch(previous)
    if found is None:
        raise ValueError(f"{previous!r} is not of the form major.minor")
    major, minor = int(found[1]), int(found[2])
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
    """The differences of one value; `attribute` is its name, empty for a member of a list."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _mapping(f"{path}.", old, new, top=False)
    elif _each_is(list, old, new):
        before, after = (_by_identity(attribute, _or_empty(side, [])) for side in (old, new))
        yield from _members(path, before, after, descriptive=attribute in _DESCRIPTIVE)
        if [key for key in before if key in after] != [key for key in after if key in before]:
            yield path, False  # the same things in another order
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
    return attribute in _RETYPED or isinstance(old, Mapping | list)


def _by_identity(attribute: str, elements: Sequence[Any]) -> dict[str, Any]:
    """A list's elements by what tells them apart, in the list's order; a second of the same name gets `#2`."""
    found: dict[str, Any] = {}
    for element in elements:
        if isinstance(element, Mapping):
            name, value = element.get(_IDENTITY.get(attribute, "name"), ""), element
        elif isinstance(element, list) and len(element) == 2:  # a selection's value and label
            name, value = element
        else:
            name, value = element, element
        key = base = str(name)
        count = 1
        while key in found:
            count += 1
            key = f"{base}#{count}"
        found[key] = value
    return found


def _each_is(kind: type, old: Any, new: Any) -> bool:
    """Both are of that kind, or one is and the other is absent: an empty value is left out of a row."""
    return all(side is _ABSENT or isinstance(side, kind) for side in (old, new))


def _or_empty(side: Any, empty: Any) -> Any:
    return empty if side is _ABSENT else side
