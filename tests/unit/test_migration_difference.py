"""Three sides: what was made, what is wanted, what is there."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.migration.diff.changes import Change, Difference, What, helper_check
from fbs_worker.migration.diff.differ import compare
from fbs_worker.migration.diff.renames import answers, possible
from fbs_worker.migration.inspect.inspector import Found, FoundKey, FoundTable
from fbs_worker.migration.model.schema import ColumnShape, KeyShape, TableShape
from fbs_worker.schema.inspector import Relation

TEXT = ColumnShape(type="text")
LONG = ColumnShape(type="character varying(50)")
SHORT = ColumnShape(type="character varying(5)")
NEEDED = ColumnShape(type="text", not_null=True)
GIVEN = ColumnShape(type="text", default="'x'")


def sides(
    wanted: dict[str, ColumnShape] | None,
    made: dict[str, ColumnShape] | None,
    found: dict[str, ColumnShape] | None,
    *,
    restore: bool = False,
    owned: tuple[str, ...] = ("t",),
    **more: Any,
) -> Difference:
    """The difference of one table's columns; None for no table."""
    return compare(
        {} if wanted is None else {"t": TableShape(columns=wanted)},
        {} if made is None else {"t": TableShape(columns=made)},
        Found(tables={} if found is None else {"t": FoundTable(columns=found, **more)}),
        owned=owned,
        restore=restore,
    )


def told(changes: tuple[Change, ...]) -> list[str]:
    return [f"{change.what}{' by hand' if change.drifted else ''}" for change in changes]


# wanted, made, found: what changes, what is drift and stays
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
    found = sides(*columns)
    assert (told(found.changes), told(found.drift)) == (changes, drift)
    taken_back = sides(*columns, restore=True)
    assert told(taken_back.changes) == [*changes, *(f"{what} by hand" for what in drift)]
    assert taken_back.drift == ()


def test_without_a_record_what_differs_is_a_change() -> None:
    found = sides({"a": LONG, "b": NEEDED, "c": TEXT}, None, {"a": SHORT, "b": TEXT, "mine": TEXT})
    assert told(found.changes) == ["retype", "set_not_null", "add_column"]
    assert found.drift == ()


def test_tables() -> None:
    assert told(sides({"a": TEXT}, None, None).changes) == ["create_table"]
    assert told(sides(None, {"a": TEXT}, {"a": TEXT}).changes) == ["drop_table"]
    assert told(sides(None, {"a": TEXT}, {"a": TEXT, "mine": TEXT}).changes) == ["drop_table by hand"]
    assert told(sides(None, {"a": TEXT}, None).changes) == []
    assert told(sides(None, None, {"a": TEXT}, owned=()).changes) == []
    assert sides({"a": TEXT}, None, {"a": TEXT}, owned=()).blocked == {"t": "a table"}
    view = Found(others={"t": Relation(kind="v", columns={})})
    blocked = compare({"t": TableShape(columns={})}, {}, view, owned=("t",))
    assert (blocked.blocked, blocked.changes) == ({"t": "a view"}, ())


def key(kind: str, *columns: str, **more: Any) -> KeyShape:
    return KeyShape(kind=kind, columns=columns, **more)


def there(shape: KeyShape, **more: Any) -> FoundKey:
    plain = shape.kind == "i" and not shape.detail
    return FoundKey(shape=shape, oid=hash(shape) % 10_000, **{"plain": plain, **more})


def with_keys(wanted: list[KeyShape], made: list[KeyShape], found: list[FoundKey]) -> Difference:
    columns = {"a": TEXT, "b": TEXT}
    return compare(
        {"t": TableShape(columns=columns, keys=tuple(wanted))},
        {"t": TableShape(columns=columns, keys=tuple(made))},
        Found(tables={"t": FoundTable(columns=columns, keys=tuple(found))}),
        owned=("t",),
    )


A, AB, UNIQUE = key("i", "a"), key("i", "a", "b"), key("u", "a")
TO, CASCADE = key("f", "a", target=("o", ("id",))), key("f", "a", target=("o", ("id",)), detail="ON DELETE CASCADE")
BACKING = there(key("i", "a", detail="UNIQUE USING btree (a)", name="k"), plain=True, backing=True)
NAMED = key("u", "a", name="k")
HELPER = key("c", detail="a IS NOT NULL", name=helper_check("t", "a"))
KEYS: dict[str, tuple[list[KeyShape], list[KeyShape], list[FoundKey], list[str], list[str]]] = {
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
    wanted, made, present, changes, drift = KEYS[name]
    found = with_keys(wanted, made, present)
    assert (told(found.changes), told(found.drift)) == (changes, drift)


def test_of_two_alike_the_one_with_a_usual_name_goes() -> None:
    mine, ours = there(key("i", "a", name="mine")), there(key("i", "a", name="t_a_idx"), plain=True)
    (change,) = with_keys([], [A], [mine, ours]).changes
    assert change.found is ours


def test_a_column_that_was_being_filled_goes_on() -> None:
    found = sides({"a": GIVEN}, {}, {"a": GIVEN}, filling=frozenset("a"))
    assert told(found.changes) == ["fill_column"]
    other = sides({"a": LONG}, {}, {"a": TEXT}, filling=frozenset("a"))
    assert told(other.changes) == ["fill_column", "retype"]  # it is FBS's, whatever the record says


def test_a_foreign_key_is_taken_off_while_an_end_gets_another_type() -> None:
    refers = KeyShape(kind="f", columns=("a",), target=("o", ("k",)))
    wanted = {
        "o": TableShape(columns={"k": TEXT}),
        "t": TableShape(columns={"a": TEXT}, keys=(refers,)),
    }
    made = {
        "o": TableShape(columns={"k": ColumnShape(type="integer")}),
        "t": TableShape(columns={"a": ColumnShape(type="integer")}, keys=(refers,)),
    }
    found = Found(
        tables={
            "o": FoundTable(columns=made["o"].columns),
            "t": FoundTable(columns=made["t"].columns, keys=(there(refers),)),
        }
    )
    changes = compare(wanted, made, found, owned=("o", "t")).changes
    assert told(changes) == ["retype", "retype", "drop_key", "add_key"]


# renames


def _going(**columns: ColumnShape) -> list[Change]:
    return [Change(what=What.DROP_COLUMN, table="t", column=name, before=kind) for name, kind in columns.items()]


def _coming(**columns: ColumnShape) -> list[Change]:
    return [Change(what=What.ADD_COLUMN, table="t", column=name, after=kind) for name, kind in columns.items()]


NUMBER = ColumnShape(type="integer")


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
def test_columns_that_may_have_been_renamed(
    going: dict[str, ColumnShape], coming: dict[str, ColumnShape], expected: dict[str, str]
) -> None:
    difference = Difference(changes=(*_going(**going), *_coming(**coming)))
    assert possible(difference, {"t"}) == {("t", old): new for old, new in expected.items()}
    assert possible(difference, ()) == {}


def test_a_table_with_points_in_its_name_can_be_named() -> None:
    wanted = {name: TableShape(columns={"new": TEXT}) for name in ("a", "a.b")}
    found = Found(tables={"a.b": FoundTable(columns={"old": TEXT})})
    assert answers(["a.b.old=new"], wanted, found) == {("a.b", "old"): "new"}
