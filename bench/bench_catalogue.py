"""Saving 20,000 discoveries, against a plain COPY of the same rows plus one INSERT … ON CONFLICT.

Both start from the same Python values, both write to a table with the same columns, constraint and indexes, both end
with a commit, both on the same PostgreSQL. They take turns, each time into an empty table; medians are compared.
The plain way skips everything that a save is for: no comparison, no version numbers, no report, no memory of it.

    python -m bench.bench_catalogue [postgresql://user:password@host:port/name]

Without a URL it starts a PostgreSQL of its own and removes it. In a database that is given, it makes two pairs of
tables with the prefixes `fbs_bench_a_` and `fbs_bench_b_`, and drops them.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import orjson
from psycopg2 import sql

from fbs_worker.catalogue.model import Discovery, DiscoveryType, Section, SectionStatus
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.schema.system_tables import ensure_tables

ROWS: Final = 20_000
ROUNDS: Final = 7
TARGET: Final = 2.0

_OURS, _PLAIN = "fbs_bench_a_", "fbs_bench_b_"
_TYPES = ("char", "many2one", "selection", "monetary", "boolean", "one2many", "date", "text", "integer", "many2many")


class MadeSnapshot:
    """A snapshot of so many rows, made as it is iterated; always the same ones.

    Args:
        rows: how many.
        changed: every how many-th row has one more field; 0 for none.
    """

    domain = "rental"
    types = frozenset(DiscoveryType)
    source: Mapping[str, str] = {"url": "https://erp.example.com", "database": "live", "series": "19.0"}
    sections = (Section(name="modules", status=SectionStatus.COMPLETE, rows=653),)
    fingerprint: Mapping[str, Any] = {"modules": [653, "2025-01-01 00:00:00"]}

    def __init__(self, rows: int = ROWS, *, changed: int = 0) -> None:
        self._rows = rows
        self._changed = changed

    def __iter__(self) -> Iterator[Discovery]:
        for number in range(self._rows):
            yield self._discovery(number, extra=bool(self._changed) and number % self._changed == 0)

    def _discovery(self, number: int, *, extra: bool) -> Discovery:
        metadata: dict[str, Any] = {"source": dict(self.source), "title": f"Thing number {number}"}
        kind, name, version = DiscoveryType.MODEL, f"made.model.{number}", None
        schema: dict[str, Any] | None = None
        match number % 10:
            case 0:
                kind, name, version = DiscoveryType.MODULE, f"made_module_{number}", f"19.0.1.{number % 7}"
                metadata |= {"author": "Odoo S.A.", "depends": ["base", "sale", "web"], "license": "LGPL-3"}
                metadata |= {"application": extra, "category": "Sales/Rental", "role": "core", "state": "installed"}
            case 1 | 2 | 3 | 4:
                metadata |= {"defined_by": ["sale"], "extended_by": ["sale_management", "sale_stock"]}
                schema = {"fields": _fields(number, 12 + number % 14 + extra)}
            case 5:
                kind, name = DiscoveryType.WORKFLOW, f"made.flow.{number}"
                schema = _workflow(number, 4 + extra)
            case _:
                kind, name = DiscoveryType.BI_FEATURE, f"made.view.{number}"
                names = ["amount", "quantity", "margin", "delay"] + ["late"] * extra
                schema = {
                    "dimensions": [{"interval": "month", "name": "date"}, {"name": "partner_id"}],
                    "kind": "pivot",
                    "measures": [{"name": measure} for measure in names],
                    "model": f"made.model.{number}",
                }
        return Discovery(
            discovery_type=kind,
            domain=self.domain,
            name=name,
            version=version,
            metadata=metadata,
            schema_definition=schema,
        )


def _fields(number: int, count: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for index in range(count):
        kind = _TYPES[(number + index) % len(_TYPES)]
        fields[f"{kind}_field_{index}"] = found = {
            "label": f"Label {index} of {number}",
            "modules": ["sale"],
            "stored": True,
            "type": kind,
        }
        if "2" in kind:
            found |= {"on_delete": "set null", "relation": f"made.model.{(number * 7 + index) % 2000}"}
        if kind == "selection":
            found["selection"] = [["draft", "Draft"], ["sent", "Sent"], ["done", "Done"]]
    return fields


def _workflow(number: int, count: int) -> dict[str, Any]:
    states = [f"state_{index}" for index in range(count)]
    return {
        "state_field": "state",
        "states": [{"label": f"State {state} {number}", "shown": True, "value": state} for state in states],
        "transitions": [
            {"button": f"action_{state}", "from": states, "kind": "object", "label": f"To {state}"} for state in states
        ],
    }


def _plain(connection: Connection) -> None:
    """COPY into a temporary table, INSERT … ON CONFLICT: what anyone would write first."""
    columns = "discovery_type, domain, name, version, metadata, schema_definition"
    table = sql.Identifier(f"{_PLAIN}discoveries")
    with connection, connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMPORARY TABLE plain ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                sql.SQL(columns), table
            )
        )
        cursor.copy_expert("COPY plain FROM STDIN", _PlainFile(_plain_lines()))
        cursor.execute(
            sql.SQL(
                "INSERT INTO {} ({columns}) SELECT {columns} FROM plain "
                "ON CONFLICT (discovery_type, domain, name, version) DO UPDATE SET metadata = EXCLUDED.metadata, "
                "schema_definition = EXCLUDED.schema_definition, updated_at = NOW()"
            ).format(table, columns=sql.SQL(columns))
        )


class _PlainFile(io.RawIOBase):
    """Lines as a file that COPY reads, in chunks of about 256 KiB."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        super().__init__()
        self._lines = lines

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 -- the driver takes chunks of any size
        parts, length = [], 0
        for line in self._lines:
            parts.append(line)
            length += len(line)
            if length >= 256 * 1024:
                break
        return b"".join(parts)


def _plain_lines() -> Iterator[bytes]:
    for found in MadeSnapshot():
        schema = b"\\N" if found.schema_definition is None else _plain_json(found.schema_definition)
        start = f"{found.discovery_type}\t{found.domain}\t{found.name}\t{found.version or '1.0'}\t".encode()
        yield start + _plain_json(found.metadata) + b"\t" + schema + b"\n"


def _plain_json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).replace(b"\\", b"\\\\")


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _empty(connection: Connection, prefix: str) -> None:
    """Fresh tables each time: neither side inherits the other's dead rows or grown indexes."""
    _drop(connection, prefix)
    with connection:
        ensure_tables(connection, prefix)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    connection.autocommit = False


def _drop(connection: Connection, prefix: str) -> None:
    with connection, connection.cursor() as cursor:
        for name in ("discoveries", "snapshots"):
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(prefix + name)))


def measure(config: DatabaseConfig, *, rounds: int = ROUNDS) -> dict[str, float]:
    """Medians in seconds, and their ratios.

    Args:
        config: a database whose user may create tables.
        rounds: how often each is done.
    """
    times: dict[str, list[float]] = {"make": [], "plain": [], "first": [], "unchanged": [], "changed": []}
    with closing(connect(config)) as connection:
        catalogue = Catalogue(connection, table_prefix=_OURS)
        try:
            for _ in range(rounds):
                times["make"].append(_seconds(lambda: sum(1 for _ in MadeSnapshot())))
                _empty(connection, _PLAIN)
                times["plain"].append(_seconds(lambda: _plain(connection)))
                _empty(connection, _OURS)
                times["first"].append(_seconds(lambda: catalogue.save(MadeSnapshot())))
                times["unchanged"].append(_seconds(lambda: catalogue.save(MadeSnapshot())))
                times["changed"].append(_seconds(lambda: catalogue.save(MadeSnapshot(changed=20))))
        finally:
            _drop(connection, _OURS)
            _drop(connection, _PLAIN)
    result = {f"{name}_seconds": statistics.median(values) for name, values in times.items()}
    made = result["make_seconds"]  # making the values is no part of either
    result["ratio"] = (result["first_seconds"] - made) / (result["plain_seconds"] - made)
    result["unchanged_ratio"] = (result["unchanged_seconds"] - made) / (result["first_seconds"] - made)
    return result


def run(url: str = "") -> dict[str, float]:
    """Measure, on the database of a URL or on a PostgreSQL started for it.

    Args:
        url: `postgresql://…`; empty to start one.

    Returns:
        `ratio` is the figure with the target; the rest is for understanding.
    """
    if url:
        return measure(DatabaseConfig.from_url(url))
    from fbs_worker.ops.local.embedded import EmbeddedPostgres

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fbs-bench-"))
        server = stack.enter_context(EmbeddedPostgres.start(Path(folder) / "postgres"))
        server.create_database("bench")
        return measure(server.config("bench"))


if __name__ == "__main__":
    figures = run(*sys.argv[1:2])
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))
    print(f"saving {ROWS:,} discoveries: {figures['ratio']:.2f} times the plain way (at most {TARGET})")
    sys.exit(figures["ratio"] > TARGET)
