"""A server whose tables have no end, or no rows, ends in an error."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.connectors.base import ServerInfo
from fbs_worker.connectors.reader import MAX_ROWS, Reader
from fbs_worker.core.errors import OdooBadAnswer

PAGE = 50_000


class Endless:
    """A transport whose pages are always full."""

    server = ServerInfo(series="19.0", major=(19, 0), url="http://odoo", database="live")
    uid = 0
    clock = waits = ""
    calls = held = 0

    def __init__(self, page: Any, *, step: int) -> None:
        self._page = page
        self._step = step

    def call(self, model: str, method: str, **_: Any) -> Any:
        if method == "fields_get":
            return {}
        self.calls += 1
        assert self.calls <= MAX_ROWS // PAGE + 1, "it reads on"
        page = self._page
        if page is None:
            row = {"id": self.calls * self._step, "model": "res.partner", "name": "x", "ttype": "char"}
            page = [row] * PAGE
        return {"records": page} if method == "web_search_read" else page

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("step", [0, 1], ids=["the same page", "further pages"])
@pytest.mark.parametrize("table", ["ir.ui.view", "ir.cron", "fields"])
def test_a_table_without_an_end(table: str, step: int) -> None:
    reader = Reader(Endless(None, step=step), page_size=PAGE, lang="en_US")
    with pytest.raises(OdooBadAnswer):
        _ = [*reader.fields_by_model(["res.partner"])] if table == "fields" else reader.table(table)


@pytest.mark.parametrize("page", ["text", {"id": 1}, [1], [{"name": "x"}], [{"id": 1}] * (PAGE + 1), 5])
@pytest.mark.parametrize("table", ["ir.ui.view", "ir.cron"])
def test_rows_that_are_none(table: str, page: Any) -> None:
    reader = Reader(Endless(page, step=1), page_size=PAGE, lang="en_US")
    with pytest.raises(OdooBadAnswer):
        reader.table(table)
