"""Reading a live Odoo 19 for each domain, against the same calls made raw; and an unchanged refresh against a full one.

Raw: the very requests that the connector made, sent again one after another on one kept-alive connection of Python's
`http.client`, each answer read to its last byte and thrown away: nothing parsed, nothing made of it. Raw, parsed: the
same with `json.loads` on each answer. All three take turns; ratios are taken round by round, and their median reported.
Version and log-in are left out.

Refresh and full: what a discovery job does on connections that are open already (a log-in takes Odoo 200 ms and more,
for it hashes the password; both kinds of job pay it). The whole jobs, log-in included, are reported as well.

    python -m bench.bench_connector
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench.live import live_odoo
from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.client.in_process import run_in_process
from fbs_worker.connectors.base import ServerInfo, Transport
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.domains import load_domain
from fbs_worker.ops.local.embedded import EmbeddedPostgres

DOMAINS: Final = ("rental", "hr", "ecommerce", "generic")
ROUNDS: Final = 9
MOST_CALLS: Final = 12
MOST_RATIO: Final = 1.3
MOST_REFRESH_CALLS: Final = 4
MOST_REFRESH_RATIO: Final = 0.1


class RecordingDecorator:
    """A transport decorator that records requests."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.requests: list[dict[str, Any]] = []

    @property
    def server(self) -> ServerInfo:
        """The inner transport's."""
        return self._inner.server

    @property
    def uid(self) -> int:
        """The inner transport's."""
        return self._inner.uid

    @property
    def waits(self) -> str:
        """The inner transport's."""
        return self._inner.waits

    @property
    def held(self) -> int:
        """The inner transport's."""
        return self._inner.held

    @held.setter
    def held(self, size: int) -> None:
        self._inner.held = size

    @property
    def clock(self) -> str:
        """The inner transport's."""
        return self._inner.clock

    @property
    def calls(self) -> int:
        """The inner transport's."""
        return self._inner.calls

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Record the request and pass it to the inner transport."""
        args = [] if ids is None else [ids]
        self.requests.append({"model": model, "method": method, "args": args, "kwargs": arguments})
        return self._inner.call(model, method, ids=ids, **arguments)

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class Raw:
    """One kept-alive connection with a session of its own."""

    def __init__(self, connection: OdooConnection) -> None:
        parts = urlsplit(connection.url)
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port)
        login = {"db": connection.db, "login": connection.user, "password": connection.password.get_secret_value()}
        answer, _ = self._post("/web/session/authenticate", {"jsonrpc": "2.0", "params": login}, {})
        self.cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]

    def send(self, requests: Sequence[dict[str, Any]], *, parse: bool = False) -> None:
        """Send requests one after another; read each answer whole, and parse it where that is asked."""
        for request in requests:
            body = {"jsonrpc": "2.0", "method": "call", "params": request}
            _, content = self._post("/web/dataset/call_kw", body, {"Cookie": self.cookie})
            if b'"error"' in content[:200]:
                raise RuntimeError(content[:500])
            if parse:
                json.loads(content)

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()

    def _post(self, path: str, body: Any, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        self._http.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
        answer = self._http.getresponse()
        return answer, answer.read()


def measure_domain(connection: OdooConnection, domain: str) -> dict[str, float]:
    """Calls, medians in seconds and the median ratio of reading one domain."""
    with closing(RecordingDecorator(open_transport(connection))) as listening:
        found = sum(1 for _ in OdooConnector(listening).read(load_domain(domain)))
        requests = listening.requests
    with closing(open_transport(connection)) as transport, closing(Raw(connection)) as raw:
        raw.send(requests)
        ours, theirs, parsed = [], [], []
        for _ in range(ROUNDS):
            theirs.append(_seconds(lambda: raw.send(requests)))
            parsed.append(_seconds(lambda: raw.send(requests, parse=True)))
            ours.append(_seconds(lambda: list(OdooConnector(transport).read(load_domain(domain)))))
    return {
        "discoveries": found,
        "calls": len(requests),
        "read_seconds": statistics.median(ours),
        "raw_seconds": statistics.median(theirs),
        "parsed_seconds": statistics.median(parsed),
        "ratio": statistics.median(one / other for one, other in zip(ours, theirs, strict=True)),
        "parsed_ratio": statistics.median(one / other for one, other in zip(ours, parsed, strict=True)),
    }


def measure_refresh(connection: OdooConnection, database: DatabaseConfig, domain: str) -> dict[str, float]:
    """A full and an unchanged refresh of one domain, with the database; on open connections, and as whole jobs."""
    settings = Settings(
        odoo_url=connection.url, odoo_db=connection.db, odoo_user=connection.user, odoo_password=connection.password
    )
    request = {"domain": domain, "database_config": database.redacted()}
    run_in_process("fbs.discover", request, settings=settings)
    before = _written(database)
    times: dict[str, list[float]] = {"full": [], "refresh": [], "full_job": [], "refresh_job": []}
    calls = 0
    with closing(open_transport(connection)) as transport, closing(connect(database)) as opened:
        connector, catalogue = OdooConnector(transport), Catalogue(opened)
        for _ in range(ROUNDS):
            times["full"].append(_seconds(lambda: catalogue.save(connector.read(load_domain(domain)))))
            made = transport.calls
            times["refresh"].append(_seconds(lambda: _refresh(connector, catalogue, domain)))
            calls = max(calls, transport.calls - made)
    whole = {**request, "full": True}
    for _ in range(ROUNDS):
        times["full_job"].append(_seconds(lambda: run_in_process("fbs.discover", whole, settings=settings)))
        times["refresh_job"].append(_seconds(lambda: run_in_process("fbs.discover", request, settings=settings)))
    result = {f"{name}_seconds": statistics.median(values) for name, values in times.items()}
    ratios = [one / other for one, other in zip(times["refresh"], times["full"], strict=True)]
    written = _written(database) - before
    return {**result, "refresh_ratio": statistics.median(ratios), "refresh_calls": calls, "rows_written": written}


def _refresh(connector: OdooConnector, catalogue: Catalogue, domain: str) -> None:
    last = catalogue.last_snapshot(domain, types=tuple(DiscoveryType))
    if last is None or not connector.unchanged(last.fingerprint or {}):
        raise RuntimeError("the server changed while it was measured")
    catalogue.unchanged_report(domain, sections=last.sections, types=tuple(DiscoveryType))


def _written(database: DatabaseConfig) -> int:
    """How many rows were ever written, by the numbers of the transactions that wrote those that are there."""
    with closing(connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), max(xmin::text::bigint) FROM fbs_discoveries")
        count, newest = cursor.fetchone() or (0, 0)
    return int(count) * 1_000_000_000 + int(newest)


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def run() -> dict[str, dict[str, float]]:
    """Measure each domain; empty where no Odoo can be had."""
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="fbs-bench-") as folder, live_odoo() as connection:
        if connection is None:
            return result
        with EmbeddedPostgres.start(Path(folder) / "postgres") as server:
            server.create_database("bench")
            for domain in DOMAINS:
                result[domain] = measure_domain(connection, domain)
                result[domain] |= measure_refresh(connection, server.config("bench"), domain)
    return result


def misses(figures: dict[str, dict[str, float]]) -> list[str]:
    """What does not reach its target."""
    found = []
    for domain, figure in figures.items():
        if figure["calls"] > MOST_CALLS:
            found.append(f"{domain}: {figure['calls']:.0f} calls (at most {MOST_CALLS})")
        if figure["ratio"] > MOST_RATIO:
            found.append(f"{domain}: {figure['ratio']:.2f} times the raw calls (at most {MOST_RATIO})")
        if figure["refresh_calls"] > MOST_REFRESH_CALLS or figure["rows_written"]:
            found.append(f"{domain}: an unchanged refresh took {figure['refresh_calls']:.0f} calls, or wrote")
        if figure["refresh_ratio"] > MOST_REFRESH_RATIO:
            found.append(
                f"{domain}: an unchanged refresh took {figure['refresh_ratio']:.3f} of a full one (at most 0.1)"
            )
    return found


if __name__ == "__main__":
    figures = run()
    print(
        json.dumps(
            {name: {key: round(value, 3) for key, value in found.items()} for name, found in figures.items()}, indent=2
        )
    )
    for miss in misses(figures):
        print(f"MISSED {miss}")
    sys.exit(bool(misses(figures)) or not figures)
