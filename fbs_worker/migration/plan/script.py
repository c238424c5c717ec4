"""A plan as a script for psql, in the transactions in which it would be applied. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from fbs_worker.core.identifiers import quoted
from fbs_worker.migration.model.plan import BATCH
from fbs_worker.schema.ddl import quoted_list

_LOCK_TIMEOUT: Final = "SET lock_timeout = '2s';"


def script(result: Mapping[str, Any]) -> str:
    """Render the result of a planned migration as SQL.

    It does by hand what `fbs migrate --apply` does, but for the retries and the journal; the next plan is
    empty then, and applying it records what the tables are.

    Args:
        result: the result of a job with `plan_only`.
    """
    name, steps = result["solution"], result["steps"]
    lines = [
        f"-- Plan {result['fingerprint']} for {name}; run it with: psql -v ON_ERROR_STOP=1 -f FILE",
        f"-- Afterwards: fbs migrate --solution-name {name} (records the tables as they are then)",
        "\\set ON_ERROR_STOP on",
        _LOCK_TIMEOUT,
    ]
    lines += [f"-- In the way: {_line(blocker)}" for blocker in result.get("blockers", ())]
    for number, group in groupby(steps, key=lambda step: step["transaction"]):
        lines += ["", f"-- Transaction {number}", *_transaction(list(group))]
    return "\n".join(lines) + "\n"


def _transaction(group: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    together = group[0]["mode"] == "transaction"
    if together:
        yield "BEGIN;"
    for step in group:
        needs = [hazard for hazard in step["hazards"] if hazard in step["must_allow"]]
        yield f"-- {_line(step['reason'])}" + (f" ({', '.join(needs)})" if needs else "")
        yield from _archiving(step)
        if step["mode"] == "batches":
            yield _batches(step)
        elif not (step["keeps"] and step["kind"] == "drop_table"):
            yield f"{step['sql']};"
    if together:
        yield "COMMIT;"


def _archiving(step: Mapping[str, Any]) -> Iterator[str]:
    """Values that the statement removes are kept, as far as SQL alone can; a dropped table is renamed."""
    if not step["keeps"]:
        return
    archive, table, column = quoted(step["keeps"]), quoted(step["table"]), step["column"]
    if step["kind"] == "drop_table":
        yield f"ALTER TABLE {table} RENAME TO {archive};"
    elif column:
        columns = quoted_list([*step["key"], column])[1:-1]
        yield f"CREATE TABLE {archive} AS SELECT {columns} FROM {table} WHERE {quoted(column)} IS NOT NULL;"  # noqa: S608 -- quoted


def _batches(step: Mapping[str, Any]) -> str:
    """A loop that commits after each batch; with a primary key, a batch begins where the last one ended."""
    if not step["key"]:
        return f"DO $fbs$ BEGIN LOOP\n  {step['sql']};\n  EXIT WHEN NOT FOUND;\n  COMMIT;\nEND LOOP; END $fbs$;"
    key, table = quoted_list(step["key"])[1:-1], quoted(step["table"])
    first, last = (", ".join(f"{record}.{quoted(name)}" for name in step["key"]) for record in ("first", "last"))
    next_key = f"SELECT {key} INTO last FROM {table} WHERE ({key}) > ({first})"  # noqa: S608
    lines = (
        "DO $fbs$ DECLARE first RECORD; last RECORD; BEGIN",
        f"  SELECT {key} INTO first FROM {table} ORDER BY {key} LIMIT 1;",  # noqa: S608
        "  WHILE first IS NOT NULL LOOP",
        f"    {next_key} ORDER BY {key} OFFSET {BATCH - 1} LIMIT 1;",
        f"    {step['sql']} AND ({key}) >= ({first}) AND (last IS NULL OR ({key}) <= ({last}));",
        "    COMMIT;",
        "    first := last;",
        "  END LOOP;",
        "END $fbs$;",
    )
    return "\n".join(lines)


def _line(text: str) -> str:
    return " ".join(text.split())
