"""Reading a live Odoo 19 for each domain, against the same calls made raw.

Raw: the very requests that the connector made, sent again one after another on one kept-alive connection of Python's
`http.client`, each answer read to its last byte and thrown away: nothing parsed, nothing made of it. Version and log-in
are left out on both sides. Both take turns; the ratio is taken round by round, and its median told.

Besides: an unchanged refresh as a whole job (database included) against a full one, and what it writes.

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
from connectors.base import ServerInfo, Transport
from connectors.connect import open_transport
from connectors.odoo import OdooConnector
from fbs_worker.database import connect
from fbs_worker.domains import load_domain
from fbs_worker.embedded import EmbeddedPostgres
from fbs_worker.inline import run_inline
from fbs_worker.settings import OdooConnection, Settings
from fbs_worker.solution import DatabaseConfig

DOMAINS: Final = ("rental", "hr", "ecommerce", "generic")
ROUNDS: Final = 9
MOST_CALLS: Final = 12
MOST_RATIO: Final = 1.3
MOST_REFRESH_CALLS: Final = 4
MOST_REFRESH_RATIO: Final = 0.1


class Listening:
    """A transport that notes the requests which pass through it."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.requests: list[dict[str, Any]] = []

    @property
    def server(self) -> ServerInfo:
        """The inner transport's."""
        return self._inner.server

    @property
    def calls(self) -> int:
        """The inner transport's."""
        return self._inner.calls

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        """Note, and hand on."""
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
        self._cookie = {"Cookie": (answer.getheader("Set-Cookie") or "").split(";")[0]}

    def send(self, requests: Sequence[dict[str, Any]]) -> None:
        """Send requests one after another; read each answer whole."""
        for request in requests:
            body = {"jsonrpc": "2.0", "method": "call", "params": request}
            _, content = self._post("/web/dataset/call_kw", body, self._cookie)
            if b'"error"' in content[:200]:
                raise RuntimeError(content[:500])

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()

    def _post(self, path: str, body: Any, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        self._http.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
        answer = self._http.getresponse()
        return answer, answer.read()


def measure_domain(connection: OdooConnection, domain: str) -> dict[str, float]:
    """Calls, medians in seconds and the median ratio of reading one domain."""
    with closing(Listening(open_transport(connection))) as listening:
        found = sum(1 for _ in OdooConnector(listening).read(load_domain(domain)))
        requests = listening.requests
    with closing(open_transport(connection)) as transport, closing(Raw(connection)) as raw:
        raw.send(requests)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(_seconds(lambda: raw.send(requests)))
            ours.append(_seconds(lambda: list(OdooConnector(transport).read(load_domain(domain)))))
    return {
        "discoveries": found,
        "calls": len(requests),
        "read_seconds": statistics.median(ours),
        "raw_seconds": statistics.median(theirs),
        "ratio": statistics.median(one / other for one, other in zip(ours, theirs, strict=True)),
    }


def measure_refresh(connection: OdooConnection, database: DatabaseConfig, domain: str) -> dict[str, float]:
    """A full job and an unchanged refresh of one domain, both with the database."""
    settings = Settings(
        odoo_url=connection.url, odoo_db=connection.db, odoo_user=connection.user, odoo_password=connection.password
    )
    request = {"domain": domain, "database_config": database.redacted()}
    run_inline("fbs.discover", request, settings=settings)
    before = _written(database)
    full, refresh, calls = [], [], 0
    for _ in range(ROUNDS):
        full.append(_seconds(lambda: run_inline("fbs.discover", {**request, "full": True}, settings=settings)))
        began = time.perf_counter()
        told = run_inline("fbs.discover", request, settings=settings)
        refresh.append(time.perf_counter() - began)
        if told["report"]["read"]:
            raise RuntimeError("the server changed while it was measured")
        calls = max(calls, told["calls"])
    return {
        "full_job_seconds": statistics.median(full),
        "refresh_seconds": statistics.median(refresh),
        "refresh_ratio": statistics.median(one / other for one, other in zip(refresh, full, strict=True)),
        "refresh_calls": calls,
        "rows_written": _written(database) - before,
    }


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
    told: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="fbs-bench-") as folder, live_odoo() as connection:
        if connection is None:
            return told
        with EmbeddedPostgres.start(Path(folder) / "postgres") as server:
            server.create_database("bench")
            for domain in DOMAINS:
                told[domain] = measure_domain(connection, domain)
                told[domain] |= measure_refresh(connection, server.config("bench"), domain)
    return told


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
