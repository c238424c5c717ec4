"""What it costs another application to import the client, against importing Celery alone.

Each is timed in a fresh process, from the first statement on, in turns. *First job* is how long it takes from there
until the first job is in Redis: for the client with everything that it imports when it is first needed, the reading of
the settings, the job's record and its message; for Celery with an application and the bare message.

    python -m bench.bench_import [ROUNDS]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from fbs_worker.ops.local.embedded import EmbeddedRedis

ROUNDS: Final = 15
TARGET: Final = 1.3

_TIMED: Final = "import sys, time\nbegan = time.perf_counter()\n{}\nprint(time.perf_counter() - began)"

_CODE: Final = {
    "celery": "from celery import Celery",
    "client": "from fbs_worker import Client",
    "celery_job": (
        "from celery import Celery\n"
        "app = Celery('bench', broker=sys.argv[1])\n"
        "app.send_task('fbs.refresh', kwargs={'solution_name': 'x'}, queue='fbs.discovery', ignore_result=True)"
    ),
    "client_job": "from fbs_worker import Client\nclient = Client(sys.argv[1])\nclient.refresh('x')",
}


def run(rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each, and the medians of the ratios taken round by round."""
    times: dict[str, list[float]] = {name: [] for name in _CODE}
    with (
        tempfile.TemporaryDirectory(prefix="fbs-bench-") as folder,
        EmbeddedRedis.start(Path(folder) / "redis", durable=False) as server,
    ):
        for turn in range(rounds + 1):  # the first fills the caches of the operating system
            for name in _CODE:
                seconds = _seconds(name, server.url)
                if turn:
                    times[name].append(seconds)
    result = {f"{name}_seconds": statistics.median(seconds) for name, seconds in times.items()}
    for ratio, ours, theirs in (("ratio", "client", "celery"), ("job_ratio", "client_job", "celery_job")):
        result[ratio] = statistics.median(a / b for a, b in zip(times[ours], times[theirs], strict=True))
    return result


def misses(found: dict[str, float]) -> list[str]:
    """Which target is missed."""
    if found["ratio"] <= TARGET:
        return []
    return [f"importing the client: {found['ratio']:.2f} times importing Celery (at most {TARGET})"]


def _seconds(name: str, redis_url: str) -> float:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ODOO_", "FBS_"))}
    ended = subprocess.run(
        [sys.executable, "-c", _TIMED.format(_CODE[name]), redis_url],
        env=inherited,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ended.stdout)


if __name__ == "__main__":
    figures = run(*(int(argument) for argument in sys.argv[1:2]))
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=2))
    sys.exit(bool(misses(figures)))
