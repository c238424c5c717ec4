"""Schemathesis over the whole OpenAPI document: no 5xx, and every answer as documented.

With a real server, a real worker, PostgreSQL and Redis. What it found is printed as curl lines.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.api_server import WRITER, ApiServer, api_server
from tests.support.api_stage import SHOP, ApiStage, open_stage
from tests.support.processes import ROOT
from tests.support.schemathesis_hooks import JOB, SOLUTION

pytestmark = pytest.mark.faults

PATIENCE = 1_500.0
CONFIG = Path(__file__).parent.parent / "support" / "schemathesis.toml"


@pytest.fixture
def stage(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[ApiStage]:
    """A stage of its own: schemathesis learns names from answers, and drops what it finds."""
    folder = run_folder / "schemathesis"
    folder.mkdir(exist_ok=True)
    with open_stage(postgres, redis_server, folder) as opened:
        yield opened


@pytest.fixture
def served(stage: ApiStage, tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(stage.settings, log=tmp_path / "api.log") as running:
        yield running


def check(served: ApiServer, stage: ApiStage, folder: Path, *options: str) -> None:
    """Run schemathesis and see that it finds nothing."""
    job = stage.client.refresh(SHOP)
    job.wait(60)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FBS_", "ODOO_"))}
    result = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG)),
            *("run", f"{served.url}/api/v1/openapi.json"),
            *("--header", f"Authorization: Bearer {WRITER}", "--no-color", "--continue-on-failure"),
            *("--report", "ndjson", "--report-ndjson-path", str(folder / "report.ndjson")),
            *options,
        ],
        env={
            **environment,
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
            "PYTHONPATH": str(ROOT),
            SOLUTION: SHOP,
            JOB: job.id,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout[-12_000:]}\n{result.stderr}\n{served.log.read_text()[-4_000:]}"
    log = served.log.read_text()
    assert "Traceback" not in log
    assert WRITER not in log


def test_nothing_is_found(served: ApiServer, stage: ApiStage, tmp_path: Path) -> None:
    check(served, stage, tmp_path, "--max-examples", "100")
