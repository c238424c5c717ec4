"""The HTTP API with 100 solutions and 20,000 discoveries: against a bare FastAPI route, and searching against psql.

Answers: `fbs api` (a process of its own, with a token) is asked for the list, a status and a page of discoveries over
eight connections. A bare FastAPI application in the same kind of process sends the same bytes, ready in memory, with
no authentication. Both in turns; medians are compared, and the 95th percentile of ours with its median. Then over one
connection, in turns with a floor: the list of jobs, which is empty (HTTP, the token, one question to Redis). Nothing is
kept between requests; those that ask for the same at the same time share an answer. Measured without a target: the
ratio to the bare application, and all pages of the catalogue one after another.

Searching: fields by the beginnings of two words, one of them in a few models, over HTTP and, in turns, by the same
statements in psql (its own `\\timing`), eight at once each. Then over one connection in catalogues of 20,000 and of
2,000 discoveries, words that as many fields of either bear; and, beside it, a word that is in every model.

    python -m bench.bench_api
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import orjson
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling
from pydantic import SecretStr

from bench.api_load import get, load
from fbs_worker.catalogue.model import Discovery, DiscoveryType, Section, SectionStatus
from fbs_worker.catalogue.search import search
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.progress import NullProgress
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import new_key
from fbs_worker.jobs.app import make_app
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.embedded.wheels import postgres_binaries
from fbs_worker.ops.local.programs import Program
from fbs_worker.ops.local.state import database_url
from fbs_worker.web.api.tokens import Entry, new_token

SOLUTIONS: Final = 100
DISCOVERIES: Final = 20_000
FEW: Final = 2_000
CONNECTIONS: Final = 8
ROUNDS: Final = 5
SECONDS: Final = 2.0
SEARCHES: Final = 100

MOST_OF_FLOOR: Final = {"list": 25.0, "status": 12.0, "discoveries": 8.0}
MOST_OF_MEDIAN: Final = 4.0
MOST_OF_PSQL: Final = 3.0
MOST_OF_FEW: Final = 2.0

_PAGE: Final = 100
_FLOOR: Final = "/api/v1/jobs/?limit=1"
_ALIKE: Final = 4
"""How many models share a word of their own."""

_NOUNS: Final = ("partner", "order", "line", "amount", "date", "state", "company", "product", "price", "user", "move")
_ROOT: Final = Path(__file__).parent.parent


class MadeCatalogue:
    """A catalogue of so many things, four of ten of them models, with words as they are in an Odoo.

    Args:
        rows: how many.
    """

    domain = "rental"
    types = frozenset(DiscoveryType)
    source: Mapping[str, str] = {"url": "https://erp.example.com", "database": "live", "series": "19.0"}
    sections = (Section(name="modules", status=SectionStatus.COMPLETE, rows=653),)
    fingerprint: Mapping[str, Any] = {"modules": [653, "2025-01-01 00:00:00"]}

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Discovery]:
        models = 0
        for number in range(self._rows):
            metadata: dict[str, Any] = {"source": dict(self.source), "title": f"Thing {word(number)}"}
            kind, name, version = DiscoveryType.BI_FEATURE, f"made.view.{number}", None
            schema: dict[str, Any] | None = None
            match number % 10:
                case 0:
                    kind, name, version = DiscoveryType.MODULE, f"made_module_{number}", "19.0.1.0"
                case 1 | 2 | 3 | 4:
                    kind, name = DiscoveryType.MODEL, f"made.model.{number}"
                    schema = {"fields": fields(models)}
                    models += 1
                case 5:
                    kind, name = DiscoveryType.WORKFLOW, f"made.flow.{number}"
                    schema = {"states": [{"label": noun.title(), "value": noun} for noun in _NOUNS]}
            yield Discovery(
                discovery_type=kind,
                domain=self.domain,
                name=name,
                version=version,
                metadata=metadata,
                schema_definition=schema,
            )


def word(number: int) -> str:
    """A word that no other number has, and that no other of these begins with."""
    letters = ""
    for _ in range(4):
        number, rest = divmod(number, 26)
        letters += chr(97 + rest)
    return f"x{letters}"


def fields(model: int) -> dict[str, Any]:
    """The fields of a model; two of them bear the word that it shares with a few others."""
    found: dict[str, Any] = {}
    for index in range(12 + model % 14):
        first, second = _NOUNS[(model + index) % len(_NOUNS)], _NOUNS[(model * 3 + index * 7) % len(_NOUNS)]
        found[f"{first}_{second}_{index}"] = {
            "label": f"{first.title()} of the {second}",
            "modules": ["sale"],
            "stored": True,
            "type": "char",
        }
    own = word(model // _ALIKE)
    found[f"{own}_amount"] = {"label": f"{own.title()} Amount", "stored": True, "type": "monetary"}
    found[f"{own}_partner_id"] = {"label": "Customer", "type": "many2one", "relation": "res.partner"}
    return found


class _Bench:
    """A PostgreSQL, a Redis and an API of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._postgres = stack.enter_context(EmbeddedPostgres.start(folder / "postgres"))
        redis = stack.enter_context(EmbeddedRedis.start(folder / "redis"))
        for name in ("home", "many", "few"):
            self._postgres.create_database(name)
        self._token = new_token()
        self._settings = Settings(
            fbs_redis_url=redis.url,
            fbs_database_url=database_url(self._postgres.config("home")),
            fbs_home=folder / "home",
            fbs_secret_keys=SecretStr(new_key()),
            fbs_api_tokens=SecretStr(str(Entry.of(self._token, name="bench", scope="read"))),
            fbs_api_port=0,
            fbs_api_rate=0,
        )
        self._fill()
        log = folder / "api.log"
        stack.enter_context(Program.start("api", settings=self._settings, log=log))
        announced = next(line for line in log.read_text().splitlines()[::-1] if " are at http" in line)
        self._port = int(announced.split(" are at ")[1].split()[0].rpartition(":")[2])

    def _fill(self) -> None:
        app = make_app(self._settings, in_process=NullProgress())
        app.loader.import_default_modules()
        places = {"many": (self._postgres.config("many"), SOLUTIONS), "few": (self._postgres.config("few"), 1)}
        for name, (database, count) in places.items():
            for number in range(count):
                given = {
                    "solution_name": f"{name}_{number}",
                    "domain": "rental",
                    "database_config": database.model_dump(exclude={"password"}),
                    "business_prefix": f"b{number}_",
                    "refresh_discoveries": False,
                }
                app.tasks["fbs.setup"].apply(kwargs=given, throw=True)
            with closing(connect(database)) as connection:
                Catalogue(connection).save(MadeCatalogue(DISCOVERIES if name == "many" else FEW))
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("VACUUM ANALYZE")

    # ---------------------------------------------------------------------------------------------------- answers

    def answers(self) -> dict[str, dict[str, float]]:
        """For each kind of answer the median seconds of ours, the bare one and the floor, and our 95th percentile."""
        pages = list(self._pages())
        paths = {
            "list": ["/api/v1/solutions/"],
            "status": ["/api/v1/solutions/many_0/status/"],
            "discoveries": pages[len(pages) // 2 :][:1],
            "pages": pages,
        }
        bodies = self._folder / "bodies"
        bodies.mkdir()
        for kind, asked in paths.items():
            for number, path in enumerate(asked):
                (bodies / f"{kind}-{number}").write_bytes(get(self._port, path, self._token))
        with self._bare(bodies) as bare:
            port = int(bare.stdout.readline()) if bare.stdout else 0
            try:
                return {kind: self._answer(kind, asked, port) for kind, asked in paths.items()}
            finally:
                bare.terminate()

    def _pages(self) -> Iterator[str]:
        cursor = ""
        while True:
            path = f"/api/v1/solutions/many_0/discoveries/?limit={_PAGE}&cursor={cursor}"
            yield path
            cursor = orjson.loads(get(self._port, path, self._token))["next"]
            if cursor is None:
                return

    def _bare(self, bodies: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "bench.api_bare", str(bodies)], cwd=_ROOT, stdout=subprocess.PIPE
        )

    def _answer(self, kind: str, paths: Sequence[str], bare: int) -> dict[str, float]:
        same = [f"/{kind}/{number}" for number in range(len(paths))]
        asked = {
            "ours": (self._port, paths, self._token, CONNECTIONS),
            "bare": (bare, same, "", CONNECTIONS),
            "alone": (self._port, paths, self._token, 1),
            "floor": (self._port, [_FLOOR], self._token, 1),
        }
        times: dict[str, list[list[float]]] = {who: [] for who in asked}
        for number in range(ROUNDS + 1):
            for who, (port, requested, token, connections) in asked.items():
                took = load(port, requested, seconds=SECONDS, connections=connections, token=token)
                times[who] += [took] if number else []  # the first one warms
        medians = {who: statistics.median(map(statistics.median, rounds)) for who, rounds in times.items()}
        tails = [statistics.quantiles(took, n=20)[-1] / statistics.median(took) for took in times["ours"]]
        return {
            "seconds": medians["ours"],
            "bare_seconds": medians["bare"],
            "ratio": medians["ours"] / medians["bare"],
            "tail": statistics.median(tails),
            "alone_seconds": medians["alone"],
            "of_floor": medians["alone"] / medians["floor"],
            "bytes": len(get(self._port, paths[len(paths) // 2], self._token)),
        }

    # -------------------------------------------------------------------------------------------------- searching

    def searches(self) -> dict[str, float]:
        """Median seconds over HTTP and in psql, at once; and one by one in the large and the small catalogue."""
        texts = [f"{word(number)} amount" for number in range(SEARCHES)]
        paths = [self._search("many_0", text) for text in texts]
        database = self._postgres.config("many")
        statements = [_statement(database, text) for text in texts]
        times: dict[str, list[float]] = {"http": [], "psql": [], "many": [], "few": [], "everywhere": [], "few_all": []}
        for number in range(ROUNDS + 1):
            found = {
                "http": load(self._port, paths, seconds=SECONDS, connections=CONNECTIONS, token=self._token),
                "psql": self._psql(database, statements),
                "many": self._alone("many_0", texts),
                "few": self._alone("few_0", texts),
                "everywhere": self._alone("many_0", ["partner"]),
                "few_all": self._alone("few_0", ["partner"]),
            }
            for kind, took in found.items():
                times[kind] += [statistics.median(took)] if number else []
        medians = {f"{kind}_seconds": statistics.median(took) for kind, took in times.items()}
        return {
            **medians,
            "ratio": medians["http_seconds"] / medians["psql_seconds"],
            "growth": medians["many_seconds"] / medians["few_seconds"],
        }

    def _search(self, solution: str, text: str) -> str:
        return f"/api/v1/solutions/{solution}/search/?kind=field&text={text.replace(' ', '+')}"

    def _alone(self, solution: str, texts: Sequence[str]) -> list[float]:
        paths = [self._search(solution, text) for text in texts]
        return load(self._port, paths, seconds=SECONDS / 3, connections=1, token=self._token)

    def _psql(self, database: DatabaseConfig, statements: Sequence[str]) -> list[float]:
        """Return the durations that psql reports, with several psql processes in parallel."""
        lines = "\n".join(["\\timing on", *(f"{statement};" for statement in [*statements] * 3)])
        command = [
            str(postgres_binaries() / "psql"),
            *("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"),
            *("--host", database.host, "--port", str(database.port), "--username", database.user, database.name),
        ]

        def one(_: int) -> list[float]:
            output = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout
            return [float(found) / 1000 for found in re.findall(r"^Time: ([\d.]+) ms", output, re.MULTILINE)]

        with ThreadPoolExecutor(CONNECTIONS) as executor:
            return [took for times in executor.map(one, range(CONNECTIONS)) for took in times]


class _RecordingCursor(Cursor):
    """Records the last executed statement."""

    statement: str = ""

    def execute(self, statement: Any, given: Any = None) -> None:
        super().execute(statement, given)
        _RecordingCursor.statement = (self.query or b"").decode()


def _statement(database: DatabaseConfig, text: str) -> str:
    """Return the statement of a search for fields, as sent to PostgreSQL."""
    with closing(connect(database)) as connection:
        connection.cursor_factory = _RecordingCursor
        if not search(connection, "fbs_", domain="rental", text=text, kinds=["field"]).rows:
            raise RuntimeError(f"nothing is found by {text!r}")
    return re.sub(r"\n\s*", " ", _RecordingCursor.statement).strip()


def run() -> dict[str, dict[str, float]]:
    """Measure on servers that are started for it, and removed.

    Returns:
        For `list`, `status`, `discoveries` and `pages` `seconds`, `bare_seconds`, `ratio`, `tail` (95th percentile of
        the median), `alone_seconds`, `of_floor` and `bytes`; for `search` `http_seconds`, `psql_seconds`, `ratio`,
        `many_seconds`, `few_seconds` and `growth`, and the same of a word that is everywhere: `everywhere_seconds`,
        `few_all_seconds`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fbs-bench-")))
        bench = _Bench(folder, stack)
        return {**bench.answers(), "search": bench.searches()}


def misses(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the missed targets, one line each."""
    missed = []
    for kind, most in MOST_OF_FLOOR.items():
        found = figures[kind]
        if found["of_floor"] > most:
            missed.append(f"{kind}: {found['of_floor']:.1f} times the floor (at most {most:.0f})")
        if found["tail"] > MOST_OF_MEDIAN:
            missed.append(f"{kind}: the 95th percentile is {found['tail']:.2f} medians (at most {MOST_OF_MEDIAN})")
    found = figures["search"]
    if found["ratio"] > MOST_OF_PSQL:
        missed.append(f"search: {found['ratio']:.2f} times psql (at most {MOST_OF_PSQL})")
    if found["growth"] > MOST_OF_FEW:
        missed.append(f"search in {DISCOVERIES:,}: {found['growth']:.2f} times that in {FEW:,} (at most {MOST_OF_FEW})")
    return missed


if __name__ == "__main__":
    measured = run()
    print(json.dumps({name: {k: round(v, 5) for k, v in found.items()} for name, found in measured.items()}, indent=2))
    missed = misses(measured)
    print("\n".join(missed) or "every target is met")
    sys.exit(bool(missed))
