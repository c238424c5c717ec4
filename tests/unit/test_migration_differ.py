"""Three-way differ: applied, desired and inspected schema."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.migration.plan.planner import detach_keys
from fbs_worker.migration.plan.rehearsal import Rehearsal
from fbs_worker.migration.plan.renames import likely_renames, requested_renames
from fbs_worker.schema.differ import Change, ChangeKind, Difference, compare, not_null_check
from fbs_worker.schema.inspector import InspectedKey, InspectedSchema, InspectedTable
from fbs_worker.schema.model import ColumnSchema, KeySchema, TableSchema

TEXT = ColumnSchema(type="text")
LONG = ColumnSchema(type="character varying(50)")
SHORT = ColumnSchema(type="character varying(5)")
NEEDED = ColumnSchema(type="text", not_null=True)
GIVEN = ColumnSchema(type="text", default="'x'")


def sides(
    desired: dict[str, ColumnSchema] | None,
    applied: dict[str, ColumnSchema] | None,
    actual: dict[str, ColumnSchema] | None,
    *,
    restore: bool = False,
    owned: tuple[str, ...] = ("t",),
    **more: Any,
) -> Difference:
    """The difference of one table's columns; None for no table."""
    return compare(
        {} if desired is None else {"t": TableSchema(columns=desired)},
        {} if applied is None else {"t": TableSchema(columns=applied)},
        InspectedSchema(tables={} if actual is None else {"t": InspectedTable(columns=actual, **more)}),
        owned=owned,
        restore=restore,
    )


def kinds_of(changes: tuple[Change, ...]) -> list[str]:
    return [f"{change.kind}{' by hand' if change.drifted else ''}" for change in changes]


# desired, applied, actual: changes, drift left alone
COLUMNS: dict[str, tuple[Any, Any, Any, list[str], list[str]]] = {
    "as it is to be": (TEXT, TEXT, TEXT, [], []),
    "new": (TEXT, None, None, ["add_column"], []),
    "gone": (None, TEXT, TEXT, ["drop_column"], []),
    "gone already": (None, TEXT, None, [], []),
    "of a user": (None, None, TEXT, [], []),
    "changed": (LONG, SHORT, SHORT, ["retype"], []),
    "changed, and done by hand already": (LONG, SHORT, LONG, [], []),
    "changed by hand": (SHORT, SHORT, TEXT, [], ["retype"]),
    "changed, and by hand otherwise": (LONG, SHORT, TEXT, ["retype by hand"], []),
    "dropped by hand": (TEXT, TEXT, None, [], ["add_column"]),
    "dropped by hand, and changed": (LONG, TEXT, None, [], ["add_column"]),
    "gone, and changed by hand": (None, TEXT, LONG, ["drop_column by hand"], []),
    "a user has it": (TEXT, None, TEXT, [], []),
    "a user has it as something else": (TEXT, None, LONG, ["retype by hand"], []),
    "a user has it, not required": (NEEDED, None, TEXT, ["set_not_null"], []),
    "required": (NEEDED, TEXT, TEXT, ["set_not_null"], []),
    "not required any more": (TEXT, NEEDED, NEEDED, ["drop_not_null"], []),
    "not required by hand": (NEEDED, NEEDED, TEXT, [], ["set_not_null"]),
    "default": (GIVEN, TEXT, TEXT, ["default"], []),
    "no default": (TEXT, GIVEN, GIVEN, ["default"], []),
    "default by hand": (TEXT, TEXT, GIVEN, [], ["default"]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(name: str) -> None:
    *three, changes, drift = COLUMNS[name]
    columns = [{"id": TEXT, **({"c": one} if one else {})} for one in three]
    actual = sides(*columns)
    assert (kinds_of(actual.changes), kinds_of(actual.drift)) == (changes, drift)
    taken_back = sides(*columns, restore=True)
    assert kinds_of(taken_back.changes) == [*changes, *(f"{kind} by hand" for kind in drift)]
    assert taken_back.drift == ()


def test_without_a_record_what_differs_is_a_change() -> None:
    actual = sides({"a": LONG, "b": NEEDED, "c": TEXT}, None, {"a": SHORT, "b": TEXT, "mine": TEXT})
    assert kinds_of(actual.changes) == ["retype", "set_not_null", "add_column"]
    assert actual.drift == ()


def test_tables() -> None:
    assert kinds_of(sides({"a": TEXT}, None, None).changes) == ["create_table"]
    assert kinds_of(sides(None, {"a": TEXT}, {"a": TEXT}).changes) == ["drop_table"]
    assert kinds_of(sides(None, {"a": TEXT}, {"a": TEXT, "mine": TEXT}).changes) == ["drop_table by hand"]
    assert kinds_of(sides(None, {"a": TEXT}, None).changes) == []
    assert kinds_of(sides(None, None, {"a": TEXT}, owned=()).changes) == []
    assert sides({"a": TEXT}, None, {"a": TEXT}, owned=()).blocked == {"t": "a table"}
    view = InspectedSchema(others={"t": "a view"})
    blocked = compare({"t": TableSchema(columns={})}, {}, view, owned=("t",))
    assert (blocked.blocked, blocked.changes) == ({"t": "a view"}, ())


def key(kind: str, *columns: str, **more: Any) -> KeySchema:
    return KeySchema(kind=kind, columns=columns, **more)


def there(schema: KeySchema, **more: Any) -> InspectedKey:
    plain = schema.kind == "i" and not schema.detail
    return InspectedKey(schema=schema, oid=hash(schema) % 10_000, **{"plain": plain, **more})


def with_keys(desired: list[KeySchema], applied: list[KeySchema], actual: list[InspectedKey]) -> Difference:
    columns = {"a": TEXT, "b": TEXT}
    return compare(
        {"t": TableSchema(columns=columns, keys=tuple(desired))},
        {"t": TableSchema(columns=columns, keys=tuple(applied))},
        InspectedSchema(tables={"t": InspectedTable(columns=columns, keys=tuple(actual))}),
        owned=("t",),
    )


A, AB, UNIQUE = key("i", "a"), key("i", "a", "b"), key("u", "a")
TO, CASCADE = key("f", "a", target=("o", ("id",))), key("f", "a", target=("o", ("id",)), detail="ON DELETE CASCADE")
BACKING = there(key("i", "a", detail="UNIQUE USING btree (a)", name="k"), plain=True, backing=True)
NAMED = key("u", "a", name="k")
HELPER = key("c", detail="a IS NOT NULL", name=not_null_check("t", "a"))
KEYS: dict[str, tuple[list[KeySchema], list[KeySchema], list[InspectedKey], list[str], list[str]]] = {
    "new": ([A], [], [], ["add_key"], []),
    "gone": ([], [A], [there(A)], ["drop_key"], []),
    "of a user": ([], [], [there(A), there(UNIQUE), there(TO)], [], []),
    "dropped by hand": ([A], [A], [], [], ["add_key"]),
    "a longer index serves": ([A], [A], [there(AB)], [], []),
    "a longer index that goes does not": ([A], [AB], [there(AB)], ["drop_key", "add_key"], []),
    "a unique key's index serves": ([A, UNIQUE], [A, UNIQUE], [there(NAMED), BACKING], [], []),
    "a unique key's index that goes does not": ([A], [UNIQUE], [there(NAMED), BACKING], ["drop_key", "add_key"], []),
    "an index that was cut off does not": ([A], [], [there(A, valid=False)], ["add_key"], []),
    "other actions": ([CASCADE], [TO], [there(TO)], ["drop_key", "add_key"], []),
    "other actions by hand": ([TO], [TO], [there(CASCADE)], [], ["drop_key", "add_key"]),
    "not validated yet": ([TO], [], [there(TO, valid=False)], ["validate_key"], []),
    "a helper left over": ([], [], [there(HELPER)], ["drop_key"], []),
}


@pytest.mark.parametrize("name", KEYS)
def test_keys(name: str) -> None:
    desired, applied, present, changes, drift = KEYS[name]
    actual = with_keys(desired, applied, present)
    assert (kinds_of(actual.changes), kinds_of(actual.drift)) == (changes, drift)


def test_among_equal_keys_the_one_with_a_generated_name_is_dropped() -> None:
    mine, ours = there(key("i", "a", name="mine")), there(key("i", "a", name="t_a_idx"), plain=True)
    (change,) = with_keys([], [A], [mine, ours]).changes
    assert change.actual is ours


def test_an_interrupted_backfill_is_resumed() -> None:
    actual = sides({"a": GIVEN}, {}, {"a": GIVEN}, backfilling=frozenset("a"))
    assert kinds_of(actual.changes) == ["fill_column"]
    other = sides({"a": LONG}, {}, {"a": TEXT}, backfilling=frozenset("a"))
    assert kinds_of(other.changes) == ["fill_column", "retype"]  # it is FBS's, whatever the record says


def test_foreign_keys_are_detached_during_a_type_change() -> None:
    refers = KeySchema(kind="f", columns=("a",), target=("o", ("k",)))
    desired = {
        "o": TableSchema(columns={"k": TEXT}),
        "t": TableSchema(columns={"a": TEXT}, keys=(refers,)),
    }
    applied = {
        "o": TableSchema(columns={"k": ColumnSchema(type="integer")}),
        "t": TableSchema(columns={"a": ColumnSchema(type="integer")}, keys=(refers,)),
    }
    actual = InspectedSchema(
        tables={
            "o": InspectedTable(columns=applied["o"].columns),
            "t": InspectedTable(columns=applied["t"].columns, keys=(there(refers),)),
        }
    )
    rewritten = Rehearsal(rewrites=frozenset({("o", "k"), ("t", "a")}))
    difference = compare(desired, applied, actual, owned=("o", "t"))
    changes = tuple(detach_keys(difference.changes, desired, actual, rewritten))
    assert kinds_of(changes) == ["retype", "retype", "drop_key", "add_key"]


# renames


def _going(**columns: ColumnSchema) -> list[Change]:
    return [Change(kind=ChangeKind.DROP_COLUMN, table="t", column=name, before=kind) for name, kind in columns.items()]


def _coming(**columns: ColumnSchema) -> list[Change]:
    return [Change(kind=ChangeKind.ADD_COLUMN, table="t", column=name, after=kind) for name, kind in columns.items()]


NUMBER = ColumnSchema(type="integer")


@pytest.mark.parametrize(
    ("going", "coming", "expected"),
    [
        ({"note": TEXT}, {"remark": TEXT}, {"note": "remark"}),
        ({"note": LONG}, {"remark": SHORT}, {"note": "remark"}),
        ({"amount": NUMBER}, {"amount_total": TEXT}, {"amount": "amount_total"}),
        ({"note": TEXT}, {"size": NUMBER}, {}),
        ({"name": TEXT, "note": TEXT}, {"notes": TEXT, "title": TEXT}, {"name": "title", "note": "notes"}),
        ({"a": TEXT, "b": TEXT}, {"c": TEXT}, {"a": "c"}),
        ({}, {"c": TEXT}, {}),
    ],
)
def test_likely_renames(
    going: dict[str, ColumnSchema], coming: dict[str, ColumnSchema], expected: dict[str, str]
) -> None:
    difference = Difference(changes=(*_going(**going), *_coming(**coming)))
    assert likely_renames(difference, {"t"}) == {("t", old): new for old, new in expected.items()}
    assert likely_renames(difference, ()) == {}


def test_a_table_with_points_in_its_name_can_be_named() -> None:
    desired = {name: TableSchema(columns={"new": TEXT}) for name in ("a", "a.b")}
    actual = InspectedSchema(tables={"a.b": InspectedTable(columns={"old": TEXT})})
    assert requested_renames(["a.b.old=new"], desired, actual) == {("a.b", "old"): "new"}
