"""Plan a migration: look at the database once, compare three sides, find the safe way of each change. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Table

from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.migration.diff.changes import Change, Difference, What
from fbs_worker.migration.diff.differ import compare
from fbs_worker.migration.diff.renames import answers, possible
from fbs_worker.migration.inspect.inspector import Found, FoundKey, definitions, filled, read, standing_on, taken
from fbs_worker.migration.inspect.normalizer import settled
from fbs_worker.migration.model.plan import Plan
from fbs_worker.migration.model.schema import (
    ColumnShape,
    KeyShape,
    Shape,
    TableShape,
    from_json,
    renamed,
    shape_of,
    to_json,
)
from fbs_worker.migration.plan.columns import waits
from fbs_worker.migration.plan.context import Ground
from fbs_worker.migration.plan.explain import Reasons
from fbs_worker.migration.plan.operations import steps
from fbs_worker.schema.definition import Definition

_NOTHING: Final = ColumnShape(type="")
_STOOD_ON: Final = frozenset((What.RETYPE, What.DROP_COLUMN, What.DROP_TABLE))


def made_of(definition: Definition, tables: Collection[str] | None = None) -> dict[str, Any]:
    """What FBS makes, JSON-ready: for the `shape` of a solution's own row.

    Args:
        definition: the tables.
        tables: which of the business tables were made; None for all of them.
    """
    made = (table for table in definition.tables if tables is None or table.name in tables)
    return to_json(shape_of(made))


def make_plan(
    connection: Connection,
    *,
    solution: str,
    definition: Definition,
    made: Mapping[str, Any] | None,
    owned: Collection[str],
    renames: Sequence[str] = (),
    restore: bool = False,
    mirrored: Mapping[str, str] | None = None,
) -> Plan:
    """What would make a solution's tables match their definition; reads only, a few queries for all tables at once.

    Args:
        connection: in whose transaction it is read.
        solution: its name.
        definition: what the tables are to be.
        made: what FBS made, `shape` of the solution's own row; None or without a table where nothing was recorded: then
            what is there and wanted counts as made, as it is there.
        owned: the business tables that are recorded as the solution's own.
        renames: columns that were renamed, each `table.old=new`.
        restore: what was changed by hand is to be as it was made, too; without it, it is told and stays.
        mirrored: the models that were mirrored until now, each with its table: for the reasons.

    Raises:
        UsageError: one of the renames cannot be.
        DatabaseError: the record of what was made is damaged; or as its name says.
        DatabaseUnreachable: as its name says.
    """
    tables = {str(table.name): table for table in (*definition.system, *definition.tables)}
    system = frozenset(str(table.name) for table in definition.system)
    wanted = shape_of(tables.values())
    before = from_json(made or {})
    with errors_translated(connection):
        found = read(connection, {*wanted, *owned})
        found = settled(connection, found, (wanted, before))
        ours = system | set(owned)
        told = answers(renames, {name: wanted[name] for name in wanted if name in owned}, found)
        found, before = found.renamed(told), renamed(before, told)
        difference = compare(
            wanted, before, found, owned=_recognised(ours, system, wanted, found), system=system, restore=restore
        )
        ground = Ground(
            wanted=wanted,
            found=found,
            changes=difference.changes,
            renames=told,
            reasons=Reasons(definition=definition, mirrored=mirrored or {}),
            table_prefix=definition.table_prefix,
            server_version=connection.info.server_version,
        )
        ground = _explored(connection, ground, difference, ours)
    return _plan(solution, ground, difference, tables, owned=frozenset(owned), system=system)


def _recognised(ours: Collection[str], system: Collection[str], wanted: Shape, found: Found) -> frozenset[str]:
    """The tables that are ours: a system table has, for the greater part, the columns of this version or another."""
    foreign = set()
    for name in system:
        there = found.tables.get(name)
        if there is not None:
            columns = wanted[name].columns
            same = sum(there.columns.get(key, _NOTHING).type == columns[key].type for key in columns)
            foreign |= {name} if 2 * same < len(columns) else set()
    return frozenset(ours) - foreign


def _explored(connection: Connection, ground: Ground, difference: Difference, ours: Collection[str]) -> Ground:
    """The facts that the ways of changes stand on; asked only about what changes."""
    touched = {change.table for change in difference.changes} | {table for table, _ in ground.renames}
    touched |= {change.key.target[0] for change in difference.changes if change.key and change.key.target}
    rows = filled(connection, touched & ground.found.tables.keys())
    moving = {(change.table, change.column) for change in difference.changes if change.what in _STOOD_ON}
    standing = standing_on(connection, {table for table, _ in moving}, ours=ours)
    return replace(
        ground,
        in_the_way=[one for one in standing if one[:2] in moving or (one[0], "") in moving],
        filled=rows,
        taken=taken(connection) if difference.changes else frozenset(),
        definitions=definitions(connection, _going(difference, ground.found)),
        possible_renames=possible(difference, rows),
    )


def _plan(
    solution: str,
    ground: Ground,
    difference: Difference,
    tables: Mapping[str, Table],
    *,
    owned: frozenset[str],
    system: frozenset[str],
) -> Plan:
    reasons = ground.reasons
    waiting = [change for change in difference.changes if waits(change, ground)]
    business = [name for name in ground.wanted if name not in system and name not in difference.blocked]
    shape = {name: _shape_after(name, ground.wanted[name], waiting, difference) for name in business}
    return Plan(
        solution=solution,
        steps=steps(ground, tables),
        drift=tuple(_drift(difference, system)),
        questions=tuple(
            reasons.of_possible_rename(table, old, new) for (table, old), new in sorted(ground.possible_renames.items())
        ),
        notes=(
            *(reasons.of_waiting(change.table, change.column) for change in waiting),
            *(reasons.of_one_in_the_way(*one) for one in ground.in_the_way),
            *_kept_before(ground),
        ),
        changes=tuple(_told(difference, ground)),
        tables=tuple(sorted({*business, *(owned & difference.blocked.keys())})),
        shape=to_json(shape),
    )


def _kept_before(ground: Ground) -> Iterator[str]:
    """Of what comes back: where the values are that it had."""
    for change in ground.changes:
        if change.what in {What.CREATE_TABLE, What.ADD_COLUMN}:
            name = ground.keeping(change.table, change.column)
            if name in ground.taken:
                yield ground.reasons.of_kept_before(change.table, change.column, name)


def _shape_after(name: str, wanted: TableShape, waiting: Sequence[Change], difference: Difference) -> TableShape:
    """What FBS will have made of a table: not all that is wanted can be made yet."""
    loose = {change.column for change in waiting if change.table == name}
    return TableShape(
        columns={
            column: replace(found, not_null=False) if column in loose else found
            for column, found in wanted.columns.items()
        },
        keys=tuple(key for key in wanted.keys if not _refers_to(key, difference.blocked)),
    )


def _refers_to(key: KeyShape, tables: Collection[str]) -> bool:
    return key.target is not None and key.target[0] in tables


def _drift(difference: Difference, system: Collection[str]) -> Iterator[str]:
    for table, what in sorted(difference.blocked.items()):
        yield f"{table}: {what} that FBS did not make is in the way; nothing is done about it"
    for change in difference.drift:
        why = "other solutions may use it" if change.table in system else "it was changed by hand"
        yield f"{change.told()}; {why}, and it stays so"
    for change in difference.changes:
        if change.drifted:
            yield f"{change.told()}; it was changed by hand, and the plan overwrites that"


def _told(difference: Difference, ground: Ground) -> Iterator[str]:
    """The changes, one line each; what only serves another one is left out."""
    new = {change.table for change in difference.changes if change.what is What.CREATE_TABLE}
    for change in difference.changes:
        wanted = ground.wanted.get(change.table)
        again = change.found is not None and wanted is not None and change.found.shape.identity in wanted.identities
        aside = change.table in new and change.what is What.ADD_KEY
        if not aside and not (again and change.what is What.DROP_KEY):
            yield change.told()


def _going(difference: Difference, found: Found) -> Iterator[FoundKey]:
    """Keys that are dropped, those of tables that go included."""
    for change in difference.changes:
        if change.found is not None and change.what is What.DROP_KEY:
            yield change.found
        elif change.what is What.DROP_TABLE:
            yield from found.tables[change.table].keys
