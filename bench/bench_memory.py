"""Peak memory of discovering a made-up Odoo of 10,000 models and 1,000,000 fields into PostgreSQL.

The server (`bench.synthetic_odoo`), PostgreSQL and the discovery are processes of their own; the discovery's peak is
what the operating system counted for it when it ended (`ru_maxrss`).

    python -m bench.bench_memory [MODELS [FIELDS_PER_MODEL]]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from fbs_worker.core.postgres import connect
from fbs_worker.ops.local.embedded import EmbeddedPostgres

MODELS: Final = 10_000
PER_MODEL: Final = 100
MOST_MEGABYTES: Final = 400

_DISCOVER: Final = """
import json, sys
from fbs_worker.client.in_process import run_in_process
from fbs_worker.core.settings import Settings
url, database = sys.argv[1], json.loads(sys.argv[2])
settings = Settings(odoo_url=url, odoo_db="made", odoo_user="made", odoo_password="made")
result = run_in_process("fbs.discover", {"domain": "generic", "database_config": database}, settings=settings)
print(json.dumps({"calls": result["calls"], "counts": result["report"]["counts"]}))
"""


def run(models: int = MODELS, per_model: int = PER_MODEL) -> dict[str, float]:
    """Megabytes at the peak, seconds, calls, and how many models were saved."""
    with tempfile.TemporaryDirectory(prefix="fbs-bench-") as folder:
        with EmbeddedPostgres.start(Path(folder) / "postgres") as server:
            server.create_database("bench")
            config = server.config("bench")
            made = subprocess.Popen(
                [sys.executable, "-m", "bench.synthetic_odoo", str(models), str(per_model)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                url = (made.stdout.readline() if made.stdout else "").strip()
                began = time.perf_counter()
                discovery = subprocess.Popen(
                    [sys.executable, "-c", _DISCOVER, url, json.dumps(config.redacted())],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                output = discovery.stdout.read() if discovery.stdout else ""
                _, status, usage = os.wait4(discovery.pid, 0)
                seconds = time.perf_counter() - began
                if status:
                    raise RuntimeError(f"the discovery failed with status {status}")
            finally:
                if made.stdin:
                    made.stdin.close()
                made.wait(timeout=30)
            with closing(connect(config)) as connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*), sum((SELECT count(*) FROM jsonb_object_keys(schema_definition->'fields')))"
                    " FROM fbs_discoveries WHERE discovery_type = 'model'"
                )
                saved, fields = cursor.fetchone() or (0, 0)
        result = json.loads(output)
        return {
            "megabytes": usage.ru_maxrss / 1024,
            "seconds": seconds,
            "calls": result["calls"],
            "models_saved": float(saved),
            "fields_saved": float(fields),
        }


if __name__ == "__main__":
    figures = run(*(int(argument) for argument in sys.argv[1:3]))
    print(json.dumps({name: round(value, 1) for name, value in figures.items()}, indent=2))
    sys.exit(figures["megabytes"] >= MOST_MEGABYTES)
