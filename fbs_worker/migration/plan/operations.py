"""From changes to the steps of a plan, in the order in which they run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Table
from sqlalchemy.schema import CreateTable

from fbs_worker.migration.diff.changes import Change, What
from fbs_worker.migration.inspect.inspector import FoundKey
from fbs_worker.migration.model.plan import Hazard, Retired, Step
from fbs_worker.migration.model.schema import FOREIGN, INDEX
from fbs_worker.migration.plan.columns import column_steps, declared
from fbs_worker.migration.plan.constraints import key_steps
from fbs_worker.migration.plan.context import Ground, Phase, Phased, quoted
from fbs_worker.schema.columns import DIALECT

_KEYS: Final = frozenset((What.ADD_KEY, What.VALIDATE_KEY, What.DROP_KEY))


def steps(ground: Ground, tables: Mapping[str, Table]) -> tuple[Step, ...]:
    """The steps of all changes.

    Args:
        ground: the changes, and what their ways stand on.
        tables: those that are wanted, for the DDL of those that are to be made.
    """
    found = [*_renames(ground)]
    for change in ground.changes:
        if change.what is What.CREATE_TABLE:
            found += _created(change, ground, tables[change.table])
        elif change.what is What.DROP_TABLE:
            found += _dropped(change, ground)
        elif change.what in _KEYS:
            found += key_steps(change, ground)
        else:
            found += column_steps(change, ground)
    # foreign keys go before the keys that they refer to; what else is of one phase keeps its order
    found.sort(key=lambda one: (one[0], one[1].kind != "drop_foreign_key"))
    return tuple(step for _, step in found)


def _renames(ground: Ground) -> Phased:
    for (table, old), new in sorted(ground.renames.items()):
        yield (
            Phase.RENAME,
            Step(
                sql=f"ALTER TABLE {quoted(table)} RENAME COLUMN {quoted(old)} TO {quoted(new)}",
                kind="rename_column",
                table=table,
                reason=ground.reasons.of_rename(table, old, new),
                has_rows=table in ground.filled,
                undo=f"ALTER TABLE {quoted(table)} RENAME COLUMN {quoted(new)} TO {quoted(old)}",
            ),
        )


def _created(change: Change, ground: Ground, table: Table) -> Phased:
    """A new table and its indexes; its foreign keys are changes of their own, once all tables are there."""
    statement = str(CreateTable(table, include_foreign_key_constraints=[]).compile(dialect=DIALECT)).strip()
    undo = f"DROP TABLE {quoted(change.table)}"
    yield ground.step(Phase.CREATE, change, "create_table", statement, undo=undo)
    for key in ground.wanted[change.table].keys:
        if key.kind == INDEX:
            yield from key_steps(Change(what=What.ADD_KEY, table=change.table, key=key), ground)


def _dropped(change: Change, ground: Ground) -> Phased:
    has_rows = change.table in ground.filled
    keep_in = ground.keeping(change.table)
    yield ground.step(
        Phase.DROP_TABLES,
        change,
        "drop_table",
        f"DROP TABLE {quoted(change.table)}",
        hazards={Hazard.DELETES_DATA} if has_rows else (),
        keeps=Retired(table=change.table, column=None, keep_in=keep_in) if has_rows else None,
        undo=None if has_rows else _made_again(change.table, ground),
    )


def _made_again(name: str, ground: Ground) -> str:
    """What would make an empty table as it is."""
    table = ground.found.tables[name]
    columns = [f"{quoted(column)} {declared(found)}" for column, found in table.columns.items()]
    own = [key for key in table.keys if not key.backing and not _is_dropped_before(key, ground)]
    constraints = [
        f"CONSTRAINT {quoted(key.shape.name)} {ground.definitions[key.oid]}"
        for key in sorted(own, key=lambda key: key.shape.kind == FOREIGN)
        if key.shape.kind != INDEX and key.oid in ground.definitions
    ]
    indexes = [ground.definitions[key.oid] for key in own if key.shape.kind == INDEX and key.oid in ground.definitions]
    inside = ",\n\t".join([*columns, *constraints])
    return ";\n".join([f"CREATE TABLE {quoted(name)} (\n\t{inside}\n)", *indexes])


def _is_dropped_before(key: FoundKey, ground: Ground) -> bool:
    return any(change.found == key for change in ground.changes if change.what is What.DROP_KEY)
