"""Records of a live Odoo 19 in mirrored tables: whether they are equal, and how fast that is.

*Equal*: a solution that mirrors the models of `records_odoo` is copied; then thousands of records are changed at
random; then syncs are killed with SIGKILL at random times and repeated. After each, every value of every row and every
link is compared with SQL on Odoo's own database (`records_equal`).

*Fast*: `res.partner` with 10 and with 50 plain fields, copied into an empty table by the job `fbs.sync` in this
process, against the very requests that it makes, sent again one after another with `http.client`
(`bench_connector.Raw`), each answer read and thrown away: before and after each copy, whose ratio is that to their
mean. Against dlt with the requests for pages among them, in the first rounds, for it takes long. Each begins with its
log-in (dlt has one already); the median of the ratios is reported. What a sync without a change calls, and one that
sweeps; the peak memory of a process that copies; and by how much Odoo's process grew in its first copy.

*Workers*: the first copy of eight models from a small server (`records_server`) that answers each request 200 ms late.

    python -m bench.bench_records [equal|speed|workers …] [--partners 200000] [--changes 10000] [--rounds 5] [--kills 5]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import psycopg2
from pydantic import SecretStr

from bench.bench_connector import Raw
from bench.bench_queue import QueueBench
from bench.live import connection_of, live_values
from bench.records_equal import Compared, Comparison, report
from bench.records_odoo import MODELS, Changes, Sizes, fill, is_filled, sql_dsn
from bench.records_server import FIELDS
from fbs_worker.catalogue.model import Discovery, DiscoveryType
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.client.client import Client
from fbs_worker.client.in_process import run_in_process
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.connectors.server_transport import ServerTransport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.core.vault import new_key
from fbs_worker.domains import Domain, ModuleSelector
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.programs import settings_environment
from fbs_worker.ops.local.state import database_url
from tests.support.snapshots import MadeSnapshot, thing

MOST_OF_RAW: Final = {10: 1.4, 50: 1.2}
LEAST_OF_DLT: Final = 3.0
MOST_SWEEP_CALLS: Final = 4
MOST_MEGABYTES: Final = 150
MOST_GROWTH: Final = 50
LEAST_LINEAR: Final = 0.8

ROUNDS: Final = 5
DLT_ROUNDS: Final = 2
KILLS: Final = 5
CHANGES: Final = 10_000
PROCESSES: Final = (1, 2, 4)
LATENCY: Final = 0.2
ROWS: Final = 50_000
"""Of each of the eight models of the small server."""

# fmt: off
FIFTY: Final = (
    "name", "ref", "street", "city", "zip", "country_id", "email", "phone", "color", "write_date", "active",
    "parent_id", "commercial_partner_id", "complete_name", "create_date", "create_uid", "write_uid", "function",
    "street2", "industry_id", "user_id", "buyer_id", "vat", "company_registry", "website", "email_normalized",
    "phone_sanitized", "company_name", "commercial_company_name", "type", "lang", "tz", "comment", "partner_latitude",
    "partner_longitude", "employee", "is_company", "is_published", "is_pickup_location", "date_localization",
    "calendar_last_notif_ack", "message_bounce", "supplier_rank", "customer_rank", "suggest_days", "suggest_percent",
    "global_location_number", "peppol_endpoint", "picking_warn_msg", "purchase_warn_msg",
)
# fmt: on
"""Plain fields of `res.partner`: neither company-dependent nor relations to many."""

_ROOT: Final = Path(__file__).parent.parent
_EVERYTHING: Final = Domain(name="generic", title="Everything", modules=ModuleSelector(names=("*",)))
_SYNC: Final = """
import json, sys
from fbs_worker.client.in_process import run_in_process
from fbs_worker.core.settings import load_settings
run_in_process("fbs.sync", json.loads(sys.argv[1]), settings=load_settings())
print(open("/proc/self/status").read())
"""
"""The operating system's account of a process that has ended (`ru_maxrss`) begins with the one that started it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A solution with mirrored models, and where its tables are."""

    solution: str
    database: DatabaseConfig
    models: Sequence[str]

    def table(self, model: str) -> str:
        """A model's table."""
        return f"{self.solution}_{model.replace('.', '_')}"

    def empty(self) -> None:
        """As before the first copy."""
        with closing(connect(self.database)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT string_agg(relname, ', ') FROM pg_class"
                " WHERE relkind = 'r' AND split_part(relname, '__', 1) = ANY(%s)",
                (list(map(self.table, self.models)),),
            )
            (tables,) = cursor.fetchone() or ("",)  # the link tables too
            cursor.execute(f"TRUNCATE {tables}; DELETE FROM {self.solution}_fbs_replication")

    def size(self) -> int:
        """Bytes of the tables with their indexes."""
        with closing(connect(self.database)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s) name",
                           (list(map(self.table, self.models)),))  # fmt: skip
            return int((cursor.fetchone() or (0,))[0])

    def states(self) -> dict[str, dict[str, Any]]:
        """Status, reason, number of rows and last run of each model that was copied."""
        with closing(connect(self.database)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT model, jsonb_build_object('status', status, 'reason', reason, 'rows', row_count) || last_run"
                f" FROM {self.solution}_fbs_replication"
            )
            return dict(cursor.fetchall())


class _Bench:
    """A filled Odoo, and a PostgreSQL for the solutions."""

    def __init__(self, folder: Path, server: EmbeddedPostgres, odoo: OdooConnection) -> None:
        self.folder, self._server, self.odoo = folder, server, odoo
        server.create_database("home")
        self.settings = Settings(
            fbs_database_url=database_url(server.config("home")),
            fbs_home=folder / "home",
            fbs_secret_keys=SecretStr(new_key()),
            fbs_sync_sweep_every=86_400,
            odoo_url=odoo.url,
            odoo_db=odoo.db,
            odoo_user=odoo.user,
            odoo_password=odoo.password,
        )
        with closing(open_transport(odoo)) as transport:
            self._found = {
                row.name: row
                for row in OdooConnector(transport).read(_EVERYTHING)
                if row.discovery_type is DiscoveryType.MODEL and row.name in MODELS
            }

    def set_up(self, name: str, models: Sequence[str] = MODELS, fields: Sequence[str] = ()) -> Target:
        """A solution in a database of its own; nothing is copied yet.

        Args:
            name: the solution's.
            models: the models to mirror.
            fields: only these; all if empty.
        """
        self._server.create_database(name)
        found = [self._found[model] for model in models]
        return set_up(name, [_only(row, fields) for row in found], self._server.config(name), self.settings)

    def sync(self, target: Target, *, settings: Settings | None = None, **options: Any) -> float:
        """Run a sync in this process; the seconds it took."""
        asked = {"solution_name": target.solution, **options}
        began = time.perf_counter()
        run_in_process("fbs.sync", asked, settings=settings or self.settings)
        seconds = time.perf_counter() - began
        for model, state in target.states().items():
            if state["status"] != "ok":
                raise RuntimeError(f"{model}: {state['status']}: {state['reason']}")
        return seconds

    def start(self, target: Target, **options: Any) -> subprocess.Popen[bytes]:
        """Start a sync in a process of its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ODOO_", "FBS_"))}
        asked = json.dumps({"solution_name": target.solution, **options})
        return subprocess.Popen(
            [sys.executable, "-c", _SYNC, asked],
            cwd=_ROOT,
            env=inherited | settings_environment(self.settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


def set_up(name: str, found: Sequence[Discovery], database: DatabaseConfig, settings: Settings, **more: Any) -> Target:
    """A solution that mirrors discovered models; no Odoo is asked.

    Args:
        name: the solution's.
        found: the models.
        database: where its tables are to be.
        settings: the home database and the keys.
        **more: further fields of the request.
    """
    with closing(connect(database)) as connection:
        Catalogue(connection, table_prefix=f"{name}_fbs_").save(MadeSnapshot(*found, domain="generic"))
    models = [row.name for row in found]
    request = {
        "solution_name": name,
        "domain": "generic",
        "database_config": database.redacted(),
        "table_prefix": f"{name}_fbs_",
        "business_prefix": f"{name}_",
        "mirror": models,
        "refresh_discoveries": False,
        **more,
    }
    run_in_process("fbs.setup", request, settings=settings)
    return Target(solution=name, database=database, models=models)


def _only(row: Discovery, fields: Sequence[str]) -> Discovery:
    schema = dict(row.schema_definition or {})
    if fields:
        schema["fields"] = {name: schema["fields"][name] for name in fields}
    return replace(row, schema_definition=schema)


# ------------------------------------------------------------------------------------------------------------ equal


def measure_equality(bench: _Bench, odoo: Any, editor: Any, *, changes: int, kills: int) -> dict[str, dict[str, float]]:
    """Copy, change, copy, compare: rows, values, differences and seconds by what was done before."""
    target = bench.set_up("whole")
    often = bench.settings.model_copy(update={"fbs_sync_sweep_every": 1})
    figures: dict[str, dict[str, float]] = {}

    def compare(name: str, seconds: float, of: Target = target, **more: float) -> None:
        figures[name] = {**_equality(name, odoo, of), "seconds": seconds, **more}

    compare("the first copy", bench.sync(target))
    late = Changes(odoo, editor, seed=1).late()
    loud = Changes(odoo, editor, seed=2, silent=False).make(changes // 2)
    compare("changes that move write_date", bench.sync(target, settings=often), changes=loud.total())
    late()
    silent = Changes(odoo, editor, seed=3).make(changes // 2)
    compare("changes of all kinds, and a late commit", bench.sync(target, full=True), changes=silent.total())
    chance = random.Random(16)
    killed = 0
    target.empty()
    for number in range(kills):
        process = bench.start(target, full=bool(number % 2))
        try:
            process.wait(timeout=chance.uniform(2.0, 2.0 + 12.0 * number / kills))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        if number == kills // 2:
            Changes(odoo, editor, seed=4).make(changes // 10)
    compare("kills", bench.sync(target, full=True), changes=killed)
    pictured = bench.set_up("pictured", ["res.partner"], ["name", "write_date", "image_1920", "image_128"])
    images = bench.settings.model_copy(update={"fbs_sync_binary": True})
    compare("a copy with images", bench.sync(pictured, settings=images), pictured)
    return figures


def _equality(name: str, odoo: Any, target: Target) -> dict[str, float]:
    with closing(connect(target.database)) as ours:
        tables = {model: target.table(model) for model in target.models}
        compared: Sequence[Compared] = Comparison(
            odoo, ours, table_prefix=f"{target.solution}_fbs_", binary=target.solution == "pictured"
        ).compare(tables)
    if any(found.differing for found in compared):
        print(f"after {name}:\n{report(compared)}", file=sys.stderr)
    return {
        "changes": 0,
        "tables": len(compared),
        "rows": sum(found.rows for found in compared),
        "values": sum(found.values for found in compared),
        "rejected": sum(found.rejected for found in compared),
        "differing": sum(found.differing for found in compared),
    }


# ------------------------------------------------------------------------------------------------------------ speed


def measure_speed(bench: _Bench, count: int, *, rounds: int, with_dlt: Path | None) -> dict[str, float]:
    """The first copy of so many fields against the same calls made raw and against dlt; calls; memory."""
    target = bench.set_up(f"fields{count}", ["res.partner"], FIFTY[:count])
    before = _odoo_megabytes()
    with _recorded() as requests:
        bench.sync(target)
    figures: dict[str, float] = {"odoo_growth": _odoo_megabytes() - before, "calls": len(requests)}
    figures |= {"rows": target.states()["res.partner"]["rows"]}
    raw = [_seconds(partial(_raw, bench.odoo, requests))]
    syncs: list[float] = []
    dlt: list[float] = []
    for number in range(rounds):
        target.empty()
        syncs.append(bench.sync(target))
        raw.append(_seconds(partial(_raw, bench.odoo, requests)))
        if with_dlt is not None and number < DLT_ROUNDS:
            dlt.append(_dlt(bench, with_dlt, requests, target, rows=figures["rows"]))
    for name, times in (("raw", raw), ("sync", syncs), ("dlt", dlt)):
        figures |= {f"{name}_seconds": statistics.median(times)} if times else {}
    around = [(before + after) / 2 for before, after in pairwise(raw)]
    for name, others in (("raw", around), ("dlt", dlt)):
        ratios = [ours / theirs for ours, theirs in zip(syncs, others, strict=False)]
        figures |= {f"of_{name}": statistics.median(ratios)} if ratios else {}
    figures["bytes_per_row"] = target.size() / figures["rows"]
    bench.sync(target)
    bench.sync(target)
    figures["unchanged_calls"] = target.states()["res.partner"]["calls"]
    time.sleep(1)
    bench.sync(target, settings=bench.settings.model_copy(update={"fbs_sync_sweep_every": 1}))
    figures["sweep_calls"] = target.states()["res.partner"]["calls"] - figures["unchanged_calls"]
    target.empty()
    process = bench.start(target)
    account, _ = process.communicate()
    peak = re.search(rb"VmHWM:\s+(\d+) kB", account)
    if peak is None:
        raise RuntimeError(f"the sync failed with status {process.returncode}")
    return {**figures, "megabytes": int(peak[1]) / 1024}


@contextmanager
def _recorded() -> Iterator[list[dict[str, Any]]]:
    """The requests that are made meanwhile, as Odoo's web client would send them."""
    requests: list[dict[str, Any]] = []
    real = ServerTransport.call

    def call(self: ServerTransport, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        requests.append({"model": model, "method": method, "args": [] if ids is None else [ids], "kwargs": arguments})
        return real(self, model, method, ids=ids, **arguments)

    ServerTransport.call = call  # type: ignore[method-assign]
    try:
        yield requests
    finally:
        ServerTransport.call = real  # type: ignore[method-assign]


def _raw(odoo: OdooConnection, requests: Sequence[dict[str, Any]]) -> None:
    with closing(Raw(odoo)) as raw:
        raw.send(requests)


def _dlt(bench: _Bench, python: Path, requests: Sequence[dict[str, Any]], target: Target, *, rows: float) -> float:
    pages = [
        request for request in requests if request["model"] == "res.partner" and request["method"] == "search_read"
    ]
    with closing(Raw(bench.odoo)) as raw:
        given = {
            "url": bench.odoo.url,
            "cookie": raw.cookie,
            "requests": pages,
            # dlt insists on host and password; the host in the query, a socket, is the one that counts
            "dsn": database_url(target.database).replace("@:", ":none@localhost:", 1),
            "folder": str(bench.folder / "dlt-pipelines"),
        }
        done = subprocess.run(
            [str(python), str(Path(__file__).with_name("records_dlt.py"))],
            input=json.dumps(given),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=bench.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(bench.folder), "RUNTIME__DLTHUB_TELEMETRY": "false"},
        )
    found = json.loads(done.stdout.splitlines()[-1])
    if found["rows"] < rows:
        raise RuntimeError(f"dlt loaded {found['rows']} of {rows} rows")
    return float(found["seconds"])


def _install_dlt(folder: Path) -> Path | None:
    """A virtual environment with dlt; None where it cannot be had."""
    python = folder / "dlt" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "dlt")], check=True)
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "dlt[postgres]"]
    return python if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0 else None


def _odoo_megabytes() -> float:
    """What Odoo's process has of memory at present."""
    pid = Path(os.environ["FBS_LIVE_SQL_HOST"]).with_name("server.pid").read_text().strip()
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


# ---------------------------------------------------------------------------------------------------------- workers


def measure_workers(folder: Path, *, rows: int = ROWS) -> dict[str, float]:
    """Seconds of the first copy of eight tables by each number of worker processes, and how much of linear that is."""
    models = [f"made.model{number}" for number in range(8)]
    figures: dict[str, float] = {}
    with ExitStack() as stack:
        queue = QueueBench(folder, stack)
        odoos = stack.enter_context(MadeOdoos({"models": dict.fromkeys(models, rows), "latency": LATENCY}))
        settings = queue.settings.model_copy(
            update={
                "odoo_url": f"http://127.0.0.1:{odoos.ports[0]}",
                "odoo_db": "made",
                "odoo_user": "made",
                "odoo_password": SecretStr("made"),
            }
        )
        database = queue.config("eight")
        found = [made_model(model) for model in models]
        target = set_up("eight", found, database, settings)
        for count in PROCESSES:
            target.empty()
            with queue.workers(count, settings), Client(settings=settings) as client:
                began = time.perf_counter()
                client.sync(target.solution).wait(600)
                _wait_for(target, rows)
                figures[f"seconds_{count}"] = time.perf_counter() - began
            queue.empty()  # the jobs of tables that were done before their turn came
            figures[f"linear_{count}"] = figures["seconds_1"] / figures[f"seconds_{count}"] / count
    return figures


def made_model(name: str) -> Discovery:
    """The discovery of a model of the small server."""
    fields = {field: {**facts, "stored": True} for field, facts in FIELDS.items()}
    return replace(thing(name=name, fields=fields), domain="generic")


class MadeOdoos:
    """Small servers (`records_server`) in a process of their own, which ends with the `with` block.

    Attributes:
        ports: theirs.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        command = [sys.executable, "-m", "bench.records_server", json.dumps(given)]
        self._server = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports: list[int] = self._ask("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.communicate()

    def calls(self) -> Counter[str]:
        """How often each method was called, of all servers."""
        total: Counter[str] = Counter()
        for calls in self._ask("{}\n"):
            total.update(calls)
        return total

    def slow(self, seconds: float, *, number: int | None = None) -> None:
        """From now on this server answers so late; None for all."""
        self._ask(json.dumps({"seconds": seconds, "number": number}) + "\n")

    def _ask(self, line: str) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(line)
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


def _wait_for(target: Target, rows: int) -> None:
    for _ in range(6_000):
        states = target.states()
        if len(states) == len(target.models) and all(state["status"] == "ok" for state in states.values()):
            if any(state["rows"] != rows for state in states.values()):
                raise RuntimeError(f"not all rows were copied: {states}")
            return
        time.sleep(0.1)
    raise RuntimeError(f"the sync does not end: {target.states()}")


# -------------------------------------------------------------------------------------------------------------- all


def run(
    parts: Sequence[str] = ("equal", "speed", "workers"),
    *,
    sizes: Sizes | None = None,
    changes: int = CHANGES,
    rounds: int = ROUNDS,
    kills: int = KILLS,
) -> dict[str, Any]:
    """Measure; without what needs a live Odoo where none can be had.

    Args:
        parts: what to measure.
        sizes: how many records.
        changes: how many of them change.
        rounds: of the speed.
        kills: of syncs.
    """
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fbs-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        if "workers" in parts:
            figures["workers"] = measure_workers(folder / "workers")
        if not {"equal", "speed"}.intersection(parts):
            return figures
        values = stack.enter_context(live_values())
        if values is None:
            return figures
        os.environ.update(values)
        server = stack.enter_context(EmbeddedPostgres.start(folder / "postgres"))
        odoo = stack.enter_context(closing(psycopg2.connect(sql_dsn())))
        editor = stack.enter_context(closing(open_transport(connection_of(values, by_key=True))))
        if not is_filled(odoo):
            figures["filled"] = fill(odoo, editor, sizes or Sizes())
        bench = _Bench(folder, server, connection_of(values))
        if "speed" in parts:
            with_dlt = _install_dlt(folder)
            for count in MOST_OF_RAW:
                figures[f"speed_{count}"] = measure_speed(bench, count, rounds=rounds, with_dlt=with_dlt)
        if "equal" in parts:
            figures["equal"] = measure_equality(bench, odoo, editor, changes=changes, kills=kills)
    return figures


def misses(figures: Mapping[str, Any]) -> list[str]:
    """Return the missed targets, one line each."""
    missed = []
    for name, found in figures.get("equal", {}).items():
        if found["differing"]:
            missed.append(f"records after {name}: {found['differing']} differ")
    for count, most in MOST_OF_RAW.items():
        found = figures.get(f"speed_{count}", {})
        if found.get("of_raw", 0) > most:
            missed.append(f"records, {count} fields: {found['of_raw']:.2f} times the same calls (at most {most})")
        if found.get("of_dlt", 0) > 1 / LEAST_OF_DLT:
            missed.append(f"records, {count} fields: {1 / found['of_dlt']:.2f} times dlt (at least {LEAST_OF_DLT})")
        if found.get("unchanged_calls", 0) > 1:
            missed.append(f"records: {found['unchanged_calls']} calls without a change (at most 1)")
        if found.get("sweep_calls", 0) > MOST_SWEEP_CALLS:
            missed.append(f"records: {found['sweep_calls']} calls of a sweep (at most {MOST_SWEEP_CALLS})")
        if found.get("megabytes", 0) > MOST_MEGABYTES:
            missed.append(f"records, {count} fields: {found['megabytes']:.0f} MB (at most {MOST_MEGABYTES})")
        if found.get("odoo_growth", 0) > MOST_GROWTH:
            missed.append(
                f"records, {count} fields: Odoo grew by {found['odoo_growth']:.0f} MB (at most {MOST_GROWTH})"
            )
    for count in PROCESSES[1:]:
        linear = figures.get("workers", {}).get(f"linear_{count}", 1.0)
        if linear < LEAST_LINEAR:
            missed.append(f"records, {count} workers: {linear:.2f} of linear (at least {LEAST_LINEAR})")
    return missed


def main() -> int:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(prog="bench_records")
    parser.add_argument("parts", nargs="*", default=["equal", "speed", "workers"])
    parser.add_argument("--partners", type=int, default=Sizes().partners)
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--kills", type=int, default=KILLS)
    given = parser.parse_args()
    sizes = Sizes.of(given.partners)
    figures = run(given.parts, sizes=sizes, changes=given.changes, rounds=given.rounds, kills=given.kills)
    print(json.dumps(figures, indent=2, default=str))
    missed = misses(figures)
    print("\n".join(missed) or "every target is met")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
