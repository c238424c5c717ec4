"""Setting up a solution, against the same statements through `psql` in one transaction; 100 of them in one database.

The first: both start from an empty database, connect, and end with a commit, on the same PostgreSQL. They take turns;
medians are compared, for each domain. Ours is the whole task `fbs.setup`, applied in this process as a worker applies
it, without reading an Odoo: it also checks for conflicting tables, updates the registry and records what it owns. Each
round sets up another solution with another prefix, so that nothing is cached. The start of `psql` counts. The DDL
alone, with its connection, in this process, is measured as well.

The second: 100 solutions of one domain in one database, each with a business prefix of its own, one after another. The
median of the last ten is compared with that of the first ten.

    python -m bench.bench_setup
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.progress import NullProgress
from fbs_worker.core.settings import Settings
from fbs_worker.domains import load_domain
from fbs_worker.jobs.app import make_app
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.embedded.wheels import postgres_binaries
from fbs_worker.ops.local.state import database_url
from fbs_worker.schema import create as ddl
from fbs_worker.schema.definition import define

DOMAINS: Final = ("rental", "ecommerce", "hr", "generic")
ROUNDS: Final = 7
SOLUTIONS: Final = 100
MOST_OF_PSQL: Final = 2.0
MOST_OF_FIRST: Final = 1.5

_TABLE_PREFIX = "fbs_"


class _Bench:
    """A PostgreSQL of its own, with a home database."""

    def __init__(self, server: EmbeddedPostgres, folder: Path) -> None:
        self._server = server
        server.create_database("home")
        self._psql = postgres_binaries() / "psql"
        self._file = folder / "statements.sql"
        settings = Settings(fbs_database_url=database_url(server.config("home")), fbs_home=folder / "home")
        self._app = make_app(settings, in_process=NullProgress())
        self._app.loader.import_default_modules()

    def fresh(self, name: str = "bench") -> DatabaseConfig:
        """An empty database, everything written to disk."""
        self._server.drop_database(name)
        self._server.create_database(name)
        with closing(connect(self._server.config())) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("CHECKPOINT")
        return self._server.config(name)

    def set_up(self, database: DatabaseConfig, domain: str, number: int) -> None:
        """The task itself, in this process."""
        given = {
            "solution_name": f"{database.name}_{domain}_{number}",
            "domain": domain,
            "database_config": database.model_dump(exclude={"password"}),
            "table_prefix": _TABLE_PREFIX,
            "business_prefix": f"b{number}_",
            "refresh_discoveries": False,
        }
        self._app.tasks["fbs.setup"].apply(kwargs=given, throw=True)

    def forget(self, database: DatabaseConfig, domain: str, number: int) -> None:
        """Drop the solution before its database goes."""
        given = {"solution_name": f"{database.name}_{domain}_{number}"}
        self._app.tasks["fbs.drop"].apply(kwargs=given, throw=True)

    def create(self, database: DatabaseConfig, domain: str, number: int) -> None:
        """The DDL alone."""
        definition = define(load_domain(domain), table_prefix=_TABLE_PREFIX, business_prefix=f"d{number}_")
        with closing(connect(database)) as connection, connection:
            ddl.create(connection, definition, owned=())

    def psql(self, database: DatabaseConfig) -> None:
        """The same statements through psql."""
        subprocess.run(
            [
                str(self._psql),
                *("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"),
                *("--host", database.host, "--port", str(database.port), "--username", database.user),
                *("--dbname", database.name, "--file", str(self._file)),
            ],
            check=True,
        )

    def write_statements(self, domain: str) -> None:
        """What psql reads."""
        definition = define(load_domain(domain), table_prefix=_TABLE_PREFIX, business_prefix="b0_")
        self._file.write_text(";\n".join(ddl.statements(definition)) + ";\n")

    def against_psql(self, domain: str) -> dict[str, float]:
        """Medians in seconds of each way."""
        self.write_statements(domain)
        times: dict[str, list[float]] = {"setup": [], "ddl": [], "psql": []}
        for number in range(ROUNDS + 1):
            times["psql"].append(_seconds(self.psql, self.fresh()))
            times["ddl"].append(_seconds(self.create, self.fresh(), domain, number))
            database = self.fresh()
            times["setup"].append(_seconds(self.set_up, database, domain, number))
            self.forget(database, domain, number)
        result = {
            f"{name}_seconds": statistics.median(found[1:]) for name, found in times.items()
        }  # the first one warms
        result["ratio"] = result["setup_seconds"] / result["psql_seconds"]
        result["ddl_ratio"] = result["ddl_seconds"] / result["psql_seconds"]
        return result

    def many(self, count: int = SOLUTIONS) -> dict[str, float]:
        """So many solutions in one database."""
        database = self.fresh("many")
        times = [_seconds(self.set_up, database, "rental", number) for number in range(count + 1)][1:]
        first, last = statistics.median(times[:10]), statistics.median(times[-10:])
        return {"first_seconds": first, "last_seconds": last, "ratio": last / first}


def _seconds(work: Callable[..., object], *given: Any) -> float:
    begun = time.perf_counter()
    work(*given)
    return time.perf_counter() - begun


def run() -> dict[str, dict[str, float]]:
    """Measure on a PostgreSQL that is started for it, and removed.

    Returns:
        For each domain `setup_seconds`, `ddl_seconds`, `psql_seconds`, `ratio` (set-up of psql) and `ddl_ratio`; under
        `many` `first_seconds`, `last_seconds` and `ratio`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fbs-bench-")))
        server = stack.enter_context(EmbeddedPostgres.start(folder / "postgres"))
        bench = _Bench(server, folder)
        figures = {domain: bench.against_psql(domain) for domain in DOMAINS}
        return {**figures, "many": bench.many()}


def misses(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The targets that were missed, one line each."""
    missed = [
        f"setup of {domain}: {figures[domain]['ratio']:.2f} times psql (at most {MOST_OF_PSQL})"
        for domain in DOMAINS
        if figures[domain]["ratio"] > MOST_OF_PSQL
    ]
    growth = figures["many"]["ratio"]
    if growth > MOST_OF_FIRST:
        missed.append(f"the last of {SOLUTIONS} solutions: {growth:.2f} times the first (at most {MOST_OF_FIRST})")
    return missed


if __name__ == "__main__":
    measured = run()
    print(json.dumps({name: {k: round(v, 4) for k, v in found.items()} for name, found in measured.items()}, indent=2))
    missed = misses(measured)
    print("\n".join(missed) or "every target is met")
    sys.exit(bool(missed))
