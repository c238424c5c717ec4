"""What tests of solutions share: databases compared as a whole, jobs that are cut off at any point."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fbs_worker import connectors
from fbs_worker.client.in_process import run_in_process
from fbs_worker.connectors.recording.file_format import Recording, read_recording, write_recording
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.core.settings import Settings
from fbs_worker.solutions import workspace

RECORDING = Path(connectors.__file__).parent / "recordings" / "odoo19.json.xz"
PASSWORD = "a-password-of-its-own"

_FEW = {
    *("crm.lead", "hr.applicant", "hr.department", "hr.employee", "hr.expense", "hr.job", "hr.leave"),
    *("product.product", "product.template", "res.company", "res.country", "res.partner", "res.users"),
    *("sale.order", "sale.order.line", "sale.report"),
}

_NAMES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"

_TABLES = """
SELECT c.relname, c.relkind::text, jsonb_agg(jsonb_build_array(
    a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) ORDER BY a.attnum),
    (SELECT jsonb_agg(pg_get_constraintdef(k.oid) ORDER BY k.conname) FROM pg_constraint k WHERE k.conrelid = c.oid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace GROUP BY c.oid ORDER BY c.relname
"""

_VOLATILE = ("id", "created_at", "updated_at", "discovered_at", "taken_at", "executed_at", "database_password")


@cache
def few_models() -> Path:
    """The packaged recording with a few of its models: reading all 691 costs more than most tests."""
    path = Path(os.environ["TMPDIR"]) / "odoo19.json"
    write_recording(path, with_models(_FEW))
    return path


def with_models(models: Set[str]) -> Recording:
    """The packaged recording with some of its models."""
    whole = read_recording(RECORDING)
    tables = dict(whole.tables)

    def keep(name: str, column: str, kept: Collection[Any]) -> None:
        place = tables[name].columns.index(column)
        tables[name] = replace(tables[name], rows=[row for row in tables[name].rows if row[place] in kept])

    for name in ("ir.model", "ir.model.fields", "ir.ui.view", "ir.actions.report"):
        keep(name, "model", models | tables.keys())  # the fields of the tables themselves are asked for
    fields = tables["ir.model.fields"]
    keep("ir.model.fields.selection", "field_id", {row[fields.columns.index("id")] for row in fields.rows})
    return replace(whole, tables=tables, available=())


def rows(database: DatabaseConfig, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask a database."""
    with closing(connect(database, application_name="the-test")) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall()


def run(database: DatabaseConfig, *statements: str) -> None:
    """Change a database."""
    with (
        closing(connect(database, application_name="the-test")) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        for statement in statements:
            cursor.execute(statement)


def tables_of(database: DatabaseConfig) -> list[str]:
    """The names of all tables, sorted."""
    return sorted(name for (name,) in rows(database, _NAMES))


def entries(database: DatabaseConfig, prefix: str = "fbs_") -> dict[str, bool]:
    """The solutions that a database knows, and whether each is active."""
    table = f"{prefix}solution_schemas"
    if table not in tables_of(database):
        return {}
    return dict(rows(database, f'SELECT solution_name, is_active FROM "{table}" ORDER BY 1'))


def contents(database: DatabaseConfig) -> dict[str, Any]:
    """All that a database holds, but for what differs from run to run: numbers, times, the seal of a password."""
    shape = {row[0]: row[1:] for row in rows(database, _TABLES)}
    return {"shape": shape, "rows": {name: _lasting(found) for name, found in _of_each_row(database, "to_jsonb(t)")}}


def writes(database: DatabaseConfig) -> dict[str, list[tuple[Any, ...]]]:
    """Each row's place and the transaction that wrote it: what is equal before and after was not even touched."""
    return dict(_of_each_row(database, "ctid::text, xmin::text"))


def _of_each_row(database: DatabaseConfig, what: str) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Ask each table, all in one session: to connect takes longer than to ask."""
    with closing(connect(database, application_name="the-test")) as connection, connection.cursor() as cursor:
        cursor.execute(_NAMES)
        for (name,) in sorted(cursor.fetchall()):
            cursor.execute(f'SELECT {what} FROM "{name}" t ORDER BY ctid')
            yield name, cursor.fetchall()


def _lasting(rows_found: list[tuple[Any, ...]]) -> list[Any]:
    found = [row for (row,) in rows_found]
    for row in found:
        for name in _VOLATILE:
            row.pop(name, None)
        (row.get("schema_definition") or {}).pop("last_refresh", None)
    return sorted(found, key=str)


def config_of(
    database: DatabaseConfig, name: str = "shop", *, domain: str = "hr", password: str = PASSWORD, **more: Any
) -> dict[str, Any]:
    """A solution's configuration; the embedded PostgreSQL asks for no password, so any will do."""
    place = {**database.model_dump(exclude={"password"}), "password": password}
    return {"solution_name": name, "domain": domain, "database_config": place, **more}


class Steps(NullProgress):
    """Remembers the steps, and acts at one of them.

    Args:
        act: called at the step of that number, from 0.
        at: the number; None for none.
    """

    def __init__(self, act: Callable[[], None] | None = None, *, at: int | None = None) -> None:
        self.names: list[str] = []
        self.messages: list[str] = []
        self._act = act
        self._at = at

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        self.names.append(name)
        self.messages.append(message)
        if self._act is not None and len(self.names) - 1 == self._at:
            self._act()


def killed(work: Callable[[], object]) -> bool:
    """Do some work in a process of its own.

    Returns:
        Whether it was killed; False when it came to its end.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 -- nothing of pytest may run in this process
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the work failed"
    return False


def die() -> None:
    """As the out-of-memory killer does it."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_registry_write(
    task: str, kwargs: Mapping[str, Any], settings: Settings, *, number: int, after: bool
) -> bool:
    """Run a job in a process that is killed before or after a write to the registry.

    Args:
        task: the task's name.
        kwargs: its arguments.
        settings: the settings of the job.
        number: the number of the write, from 1.
        after: kill after the write, not before it.

    Returns:
        Whether the process was killed.
    """

    def work() -> None:
        count = 0

        def dying(method: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **given: Any) -> Any:
                nonlocal count
                count += 1
                if count == number and not after:
                    die()
                result = method(*args, **given)
                if count == number:
                    die()
                return result

            return call

        workspace.Home.put = dying(workspace.Home.put)  # type: ignore[method-assign]
        workspace.Entry.remove = dying(workspace.Entry.remove)  # type: ignore[method-assign]
        run_in_process(task, kwargs, settings=settings)

    return killed(work)


def inline(
    task: str, kwargs: Mapping[str, Any], settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
    """Run a job in this process."""
    return run_in_process(f"fbs.{task}", kwargs, settings=settings, progress=progress)


def set_up(
    config: Mapping[str, Any], settings: Settings, progress: Progress | None = None, **more: Any
) -> dict[str, Any]:
    """Set a solution up in this process; no Odoo is read unless that is asked for."""
    return inline("setup", {"refresh_discoveries": False, **config, **more}, settings, progress)
