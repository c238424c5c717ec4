"""An Odoo of some series that holds records in memory: a `Transport`, or what an `OdooServer` answers from.

It keeps the rules that copying records depends on: what `search`, `search_read`, `read_group` are called with in each
series, how times compare (`tests.support.odoo_versions`), errors of a whole page for one record or field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final

from fbs_worker.connectors.base import ServerInfo, Transport, parse_series
from fbs_worker.connectors.recording.domain_filter import predicate
from fbs_worker.core.errors import FBSError, OdooCallFailed, OdooModelMissing
from tests.support.odoo_versions import as_called

UID: Final = 2
USERS: Final = "res.users"

Record = dict[str, Any]


@dataclass(slots=True)
class Model:
    """A model.

    Attributes:
        fields: what `fields_get` says.
        records: by id, with whole seconds in `write_date`.
        broken: ids that fail any call that reads their values.
    """

    fields: dict[str, dict[str, Any]]
    records: dict[int, Record] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)


class RecordsOdoo:
    """The Odoo.

    Args:
        series: whose rules it keeps.
        behind: answers for all other models.

    Attributes:
        models: the models by name; `res.users` is there.
        log: the model calls: model, method, arguments.
        before: called with them before each answer; may raise an error of Odoo's.
    """

    uid = 0
    waits = ""

    def __init__(self, series: str = "19.0", *, behind: Transport | None = None) -> None:
        name, major = parse_series(series)
        self.server = ServerInfo(series=name, major=major, url="http://odoo", database="live")
        self.calls = self.held = 0
        self.log: list[tuple[str, str, dict[str, Any]]] = []
        self.before: Callable[[str, str, dict[str, Any]], None] = lambda *_: None
        self._behind = behind
        self._groups = "group_ids" if major >= (19, 0) else "groups_id"
        self.models = {USERS: model(company_id="many2one", company_ids="many2many", **{self._groups: "many2many"})}
        self.put(USERS, 1, company_id=1, company_ids=[1])
        self.put(USERS, UID, company_id=3, company_ids=[1, 3], **{self._groups: [7, 4]})

    @property
    def clock(self) -> str:
        """The server's time."""
        return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"

    def put(self, name: str, number: int, /, **values: Any) -> Record:
        """Create or change a record; its date moves unless `write_date` is given."""
        known = self.models[name]
        record = known.records.setdefault(number, {"id": number, "create_date": "2026-01-02 03:04:05"})
        record |= {"write_date": self.clock, **values}
        for each, facts in known.fields.items():
            record.setdefault(each, [] if facts["type"] == "many2many" else False)
        return record

    def close(self) -> None:
        """Do nothing."""

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Answer as Odoo does; see `Transport.call`."""
        self.calls += 1
        named = arguments if ids is None else {"ids": ids, **arguments}
        self.log.append((model, method, named))
        self.before(model, method, named)
        answer = getattr(self, f"_{method}", None)
        if (model, method) == (USERS, "context_get"):
            return {"uid": UID, "lang": "en_US", "tz": "UTC"}
        if self._behind is not None and (model not in self.models or answer is None):
            return self._behind.call(model, method, ids=ids, **arguments)
        if model not in self.models or answer is None:
            raise OdooModelMissing(f"Odoo has no {model}.{method}.")
        try:
            given = as_called(method, named, self.server.major)
            given.pop("context", None)
            return answer(self.models[model], **given)
        except FBSError:
            raise
        except (TypeError, ValueError, KeyError) as exc:
            raise OdooCallFailed(f"Odoo reports {type(exc).__name__}: {exc}") from None

    def _fields_get(self, known: Model, attributes: Sequence[str] = ()) -> dict[str, Any]:
        return {name: {each: facts.get(each) for each in attributes} for name, facts in known.fields.items()}

    def _search(
        self, known: Model, domain: Sequence[Any] = (), limit: int | None = None, order: str = "id"
    ) -> list[int]:
        assert order == "id"
        holds: Callable[[Any], bool] = predicate(domain)
        found = (number for number, each in sorted(known.records.items()) if holds(SimpleNamespace(value=each.get)))
        return [*found][: limit or None]

    def _read(self, known: Model, ids: Sequence[int], fields: Sequence[str], load: str) -> list[Record]:
        assert load == ""
        if (broken := known.broken.intersection(ids)) and {*fields} - {"id"}:
            raise ValueError(f"year 10000 is out of range: {min(broken)}") if len(ids) == 1 else ValueError("a year")
        if unknown := set(fields) - {"id", "create_date", "write_date", *known.fields}:
            raise ValueError(f"Invalid field {min(unknown)!r}")
        found = [known.records[number] for number in ids if number in known.records]
        return [{name: each[name] for name in {"id": 0, **dict.fromkeys(fields)}} for each in found]

    def _search_read(
        self, known: Model, domain: Sequence[Any], fields: Sequence[str], load: str = "", **search: Any
    ) -> list[Record]:
        return self._read(known, self._search(known, domain, **search), fields, load)

    def _formatted_read_group(
        self, known: Model, domain: Sequence[Any], groupby: Sequence[str], aggregates: Sequence[str]
    ) -> list[Record]:
        assert not groupby
        assert self.server.major >= (19, 0)
        found = self._found(known, domain)
        return [{each: len(found) if each == "__count" else _aggregate(found, *each.split(":")) for each in aggregates}]

    def _read_group(
        self, known: Model, domain: Sequence[Any], fields: Sequence[str], groupby: Sequence[str], lazy: bool
    ) -> list[Record]:
        assert not groupby
        assert not lazy
        assert self.server.major < (19, 0)
        found = self._found(known, domain)
        group: Record = {"__count": len(found)}
        for each in fields:
            alias, how, of = each.rstrip(")").replace("(", ":").split(":")
            group[alias] = _aggregate(found, of, how)
        return [group]

    def _found(self, known: Model, domain: Sequence[Any]) -> list[Record]:
        return [known.records[number] for number in self._search(known, domain)]


def model(**types: str) -> Model:
    """A model with fields of types."""
    return Model({name: {"type": kind} for name, kind in {"id": "integer", "write_date": "datetime", **types}.items()})


def described(fields: Mapping[str, Mapping[str, Any]]) -> Model:
    """A model with the fields of a `fields_get`."""
    return Model({name: dict(facts) for name, facts in fields.items()})


def _aggregate(found: Sequence[Record], of: str, how: str) -> Any:
    values = [each[of] for each in found]
    if how == "max":
        return max(values, default=None)
    assert how == "array_agg"
    return [value or None for value in values] or None
