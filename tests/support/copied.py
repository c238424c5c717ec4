"""Mirrored tables with rows, as syncs leave them, for tests of what shows them. Written by SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.replication.state import Phase, Status, TableState, save
from fbs_worker.schema.system_tables import SYSTEM_TABLES, ensure_tables
from tests.support.site import Site, empty_site
from tests.support.solutions import config_of, inline, run

SCRIPT: Final = "<script>alert(1)</script>"
MODELS: Final = ["hr.department", "hr.employee", "hr.job", "res.users"]
DEPARTMENTS: Final = 130
"""So many rows are more than a page of the web UI."""


@contextmanager
def copied_site(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, folder: Path, **given: Any) -> Iterator[Site]:
    """A solution of the domain hr that mirrors `MODELS`, two of which were copied.

    Args:
        postgres: where its databases are made.
        redis_server: where its jobs are.
        folder: for files of the settings.
        **given: further settings.
    """
    with empty_site(postgres, redis_server, folder, **given) as site:
        inline("setup", config_of(site.target, mirror=list(MODELS), sync=False), site.settings)
        fill(site.target)
        yield site


def fill(database: DatabaseConfig) -> None:
    """Fill the tables of hr.department (with its parent and a state that needs review) and hr.job, and their states.

    Args:
        database: of a solution `shop` of the domain hr with the business prefix `hr_`, which mirrors `MODELS`.
    """
    run(
        database,
        f"""INSERT INTO hr_hr_department (odoo_id, name, active, parent_id, create_date)
        SELECT n, 'Department ' || n, n % 2 = 0, nullif(n / 2, 0), '2026-01-02 03:04:05'
        FROM generate_series(1, {DEPARTMENTS}) AS n""",
    )
    fill_jobs(database, Status.OK)
    with closing(connect(database)) as connection, connection, connection.cursor() as cursor:
        reason = "40 of 130 are gone. fbs sync shop --allow-delete 40"
        save(cursor, "fbs_", _state("hr.department", Status.REVIEW, rows=DEPARTMENTS, reason=reason))
        cursor.execute(
            "INSERT INTO fbs_rejected_records (solution_name, table_name, odoo_id, field, reason, value)"
            " VALUES ('s', 'hr_hr_job', 9, 'sequence', 'It is no whole number.', %s), ('s', 'else', 1, '', 'x', '')",
            (SCRIPT,),
        )
        cursor.execute(
            "INSERT INTO fbs_deleted_records (solution_name, table_name, odoo_id, record)"
            " VALUES ('s', 'hr_hr_job', 5, %s)",
            ('{"name": "gone"}',),
        )


def fill_jobs(database: DatabaseConfig, status: Status = Status.REVIEW) -> None:
    """Fill the table of hr.job alone, and its state."""
    reason = "5 of 2 are gone. fbs sync shop --allow-delete 5" if status is Status.REVIEW else ""
    run(
        database,
        "INSERT INTO hr_hr_job (odoo_id, name, department_id, sequence, alias_id)"
        f" VALUES (7, '{SCRIPT}', 3, 10, 1), (8, 'Clerk 100%', 500, NULL, 2)",
    )
    with closing(connect(database)) as connection, connection:
        ensure_tables(connection, "fbs_", SYSTEM_TABLES)
        with connection.cursor() as cursor:
            save(cursor, "fbs_", _state("hr.job", status, reason=reason, rows=2, rejected=1))


def _state(model: str, status: Status, *, rows: int, reason: str = "", rejected: int = 0) -> TableState:
    synced = datetime.now(tz=UTC).replace(tzinfo=None) - timedelta(minutes=5)
    run_: dict[str, Any] = {
        "read": rows,
        "inserted": rows,
        "updated": 0,
        "deleted": 0,
        "rejected": rejected,
        "calls": 1,
    }
    return TableState(
        solution_name="shop",
        model=model,
        table_name=f"hr_{model.replace('.', '_')}",
        phase=Phase.STEADY,
        status=status,
        reason=reason,
        row_count=rows,
        rejected=rejected,
        last_run={**run_, "seconds": 0.5, "kind": "copy"},
        synced_at=synced,
    )
