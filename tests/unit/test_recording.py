"""The file of a recording, and what is answered from it."""

from __future__ import annotations

import lzma
import stat
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from fbs_worker.connectors.recording.file_format import RecordedTable, Recording, read_recording, write_recording
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import FBSError, OdooAccessDenied, OdooCallFailed, OdooModelMissing, RecordingError
from tests.support.small_odoo import AVAILABLE, FIELDS, TABLES, write_small_recording


@pytest.fixture
def small(tmp_path: Path) -> RecordingTransport:
    return RecordingTransport(write_small_recording(tmp_path / "small.json"))


def write(path: Path, fields: dict[str, Any] | None = None, **tables: RecordedTable) -> Path:
    """Write a recording of tables; `ir_model` stands for `ir.model`."""
    named = {name.replace("_", "."): table for name, table in tables.items()}
    write_recording(path, Recording(series="19.0", database="live", tables=named, fields=fields or {}))
    return path


class TestFile:
    @pytest.mark.parametrize("name", ["small.json.xz", "small.json", "no-ending"])
    def test_is_read_as_it_was_written(self, tmp_path: Path, name: str) -> None:
        path = write_small_recording(tmp_path / name, denied={"ir.cron": ["Role / Administrator"]})
        found = read_recording(path)
        assert (found.series, found.database) == ("19.0", "live")
        assert {model: [list(row) for row in table.rows] for model, table in found.tables.items()} == {
            model: [list(row) for row in table.rows] for model, table in TABLES.items()
        }
        assert found.fields == FIELDS
        assert list(found.available) == list(AVAILABLE)
        assert found.denied == {"ir.cron": ["Role / Administrator"]}
        assert path.read_bytes().startswith(b"{") is (name == "small.json")

    def test_does_not_name_the_server(self, tmp_path: Path) -> None:
        assert RecordingTransport(write(tmp_path / "x.json")).server.url == "recording:x.json"

    def test_replaces_an_old_one_and_leaves_nothing_beside(self, tmp_path: Path) -> None:
        path = tmp_path / "x.json.xz"
        path.write_bytes(b"old")
        write(path)
        assert read_recording(path).series == "19.0"
        assert list(tmp_path.iterdir()) == [path]
        assert stat.S_IMODE(path.stat().st_mode) == 0o644

    def test_a_folder_is_never_overwritten(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        with pytest.raises(RecordingError, match="is a folder"):
            write(folder)
        assert folder.is_dir()
        with pytest.raises(RecordingError):
            read_recording(folder)

    @pytest.mark.parametrize("name", ["missing/x.json", "file/x.json"])
    def test_where_nothing_can_be_written(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(RecordingError, match="cannot be written") as caught:
            write(tmp_path / name)
        assert caught.value.hint

    def test_a_failure_leaves_the_old_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "x.json"
        path.write_bytes(b"old")

        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(RecordingError, match="No space left"):
            write(path)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    GOOD = orjson.dumps({"format": 1, "server": {"series": "19.0", "database": "x"}, "tables": {}})

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (lzma.compress(GOOD)[:-10], "damaged"),
            (lzma.compress(GOOD)[:40] + b"\x00" * 30, "damaged"),
            (GOOD[:-5], "damaged"),
            (b"", "damaged"),
            (b"\x89PNG\r\n", "damaged"),
            (lzma.compress(b"not json"), "damaged"),
            (b"[]", "not a recording"),
            (b'{"name": "something else"}', "not a recording"),
            (b'{"format": 2}', "format 2"),
            (b'{"format": 1}', "incomplete"),
            (b'{"format": 1, "server": {"series": "19.0", "database": "x"}, "tables": []}', "incomplete"),
            (GOOD.replace(b'"tables":{}', b'"tables":{"a":{"columns":["id","b"],"rows":[[1]]}}'), "incomplete"),
            (GOOD.replace(b'"tables":{}', b'"tables":{"a":{"columns":["b"],"rows":[[1]]}}'), "incomplete"),
            (GOOD.replace(b"19.0", b"new"), "has no valid series"),
        ],
    )
    def test_an_invalid_file(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "bad.json.xz"
        path.write_bytes(content)
        with pytest.raises(RecordingError, match=message) as caught:
            RecordingTransport(path)
        assert caught.value.hint
        assert not caught.value.retryable

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(RecordingError, match="There is no recording"):
            RecordingTransport(tmp_path / "none.json.xz")

    def test_reading_takes_time_in_proportion_to_the_rows(self, tmp_path: Path) -> None:
        columns = ("id", "model", "name", "ttype", "relation")

        def spent(count: int) -> float:
            rows = [(one, f"model.{one // 20}", f"field_{one % 20}", "char", False) for one in range(count)]
            path = write(tmp_path / f"{count}.json.xz", ir_model_fields=RecordedTable(columns=columns, rows=rows))
            times = []
            for _ in range(3):
                began = time.process_time()
                transport = RecordingTransport(path)
                found = transport.call(
                    "ir.model.fields", "search_read", fields=list(columns), order="model, id", load=""
                )
                times.append(time.process_time() - began)
                assert len(found) == count
            return min(times)

        assert spent(6_000) < 30 * spent(600), "in proportion it is 10 times, with the square 100"


def failure(transport: RecordingTransport, expected: type[FBSError], model: str, method: str, **arguments: Any) -> str:
    with pytest.raises(FBSError) as caught:
        transport.call(model, method, **arguments)
    assert type(caught.value) is expected
    assert caught.value.hint
    return caught.value.message


class TestAnswers:
    """Beyond the contract that every transport passes (tests/integration/test_transports.py)."""

    def test_search_read_gives_every_recorded_field_unless_told(self, small: RecordingTransport) -> None:
        [row] = small.call("ir.module.module", "search_read", domain=[["name", "=", "sale"]])
        assert row == {
            "id": 10,
            "name": "sale",
            "state": "installed",
            "category_id": [31, "Sales"],
            "dependencies_id": [51, 52],
            "write_date": "2026-01-05 10:00:00",
        }

    def test_pages(self, small: RecordingTransport) -> None:
        def ids(**arguments: Any) -> Any:
            return small.call("ir.model", "search", **arguments)

        assert ids(limit=2) == [1, 2]
        assert ids(limit=2, offset=4) == [5]
        assert ids(offset=3) == [4, 5]
        assert ids(order="model desc", limit=2) == [4, 5]

    def test_orders_what_is_not_set_as_postgresql_does(self, small: RecordingTransport) -> None:
        def ids(order: str) -> Any:
            return small.call("ir.model", "search", order=order)

        assert ids("write_date") == [1, 2, 3, 4, 5]
        assert ids("write_date desc") == [5, 4, 3, 2, 1]
        assert ids("transient, write_date desc, id") == [5, 4, 3, 2, 1]

    def test_rejects_unsupported_orders(self, small: RecordingTransport) -> None:
        failure(small, RecordingError, "ir.module.module", "search", order="category_id")
        failure(small, OdooCallFailed, "ir.module.module", "search", order="name sideways")
        failure(small, OdooCallFailed, "ir.module.module", "search", order="no_field")

    def test_reads_related_rows_along_as_deep_as_asked(self, small: RecordingTransport) -> None:
        category: dict[str, Any] = {"fields": {"name": {}, "parent_id": {"fields": {"name": {}}}}}
        result = small.call(
            "ir.module.module",
            "web_search_read",
            domain=[],
            specification={"name": {}, "category_id": category, "dependencies_id": {"fields": {"name": {}}}},
            limit=2,
        )
        assert result == {
            "length": 3,
            "records": [
                {
                    "id": 10,
                    "name": "sale",
                    "category_id": {"id": 31, "name": "Sales", "parent_id": {"id": 32, "name": "Apps"}},
                    "dependencies_id": [{"id": 51, "name": "account"}, {"id": 52, "name": "product"}],
                },
                {"id": 11, "name": "base", "category_id": False, "dependencies_id": []},
            ],
        }

    def test_relations_that_are_not_read_along_are_ids(self, small: RecordingTransport) -> None:
        specification: dict[str, Any] = {"category_id": {}, "dependencies_id": {}}
        result = small.call(
            "ir.module.module", "web_search_read", domain=[("id", "=", 10)], specification=specification
        )
        assert result["records"] == [{"id": 10, "category_id": 31, "dependencies_id": [51, 52]}]

    def test_finds_a_one2many_from_its_other_side(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "x.json",
            fields={
                "a": {
                    "b_ids": {"type": "one2many", "relation": "b", "relation_field": "a_id"},
                    "name": {"type": "char"},
                },
                "b": {"a_id": {"type": "many2one", "relation": "a"}, "name": {"type": "char"}},
            },
            a=RecordedTable(columns=("id", "name"), rows=((1, "one"), (2, "two"))),
            b=RecordedTable(columns=("id", "name", "a_id"), rows=((7, "x", 1), (8, "y", 1), (9, "z", False))),
        )
        transport = RecordingTransport(path)
        assert transport.call("a", "search_read", fields=["b_ids"], load="") == [
            {"id": 1, "b_ids": [7, 8]},
            {"id": 2, "b_ids": []},
        ]
        assert transport.call("a", "search", domain=[("b_ids.name", "=", "y")]) == [1]
        assert transport.call("b", "search_read", fields=["a_id"], limit=1) == [{"id": 7, "a_id": [1, "one"]}]

    def test_takes_types_from_the_recorded_fields(self, tmp_path: Path) -> None:
        columns = ("id", "model", "name", "ttype", "relation", "relation_field", "field_description")
        path = write(
            tmp_path / "x.json",
            ir_model_fields=RecordedTable(
                columns=columns,
                rows=(
                    (1, "a.b", "parent_id", "many2one", "a.b", False, "Parent"),
                    (2, "a.b", "name", "char", False, False, "Name"),
                    (3, "a.b", "child_ids", "one2many", "a.b", "parent_id", "Children"),
                ),
            ),
            a_b=RecordedTable(columns=("id", "name", "parent_id"), rows=((1, "top", False), (2, "below", 1))),
        )
        transport = RecordingTransport(path)
        assert transport.call("a.b", "search", domain=[("parent_id.name", "=", "top")]) == [2]
        assert transport.call("a.b", "search", domain=[("child_ids", "!=", False)]) == [1]
        assert transport.call("a.b", "fields_get", attributes=["type", "string"])["parent_id"] == {
            "type": "many2one",
            "string": "Parent",
        }

    def test_counts_rows_of_models(self, small: RecordingTransport) -> None:
        rows = small.call("ir.model", "search_read", domain=[], fields=["count"])
        assert [row["count"] for row in rows] == [5, 0, 3, 0, 3]

    def test_answers_can_be_changed_without_harm(self, small: RecordingTransport) -> None:
        [row] = small.call("ir.module.module", "search_read", domain=[["id", "=", 10]], load="")
        row["dependencies_id"].clear()
        [again] = small.call("ir.module.module", "search_read", domain=[["id", "=", 10]], load="")
        assert again["dependencies_id"] == [51, 52]

    def test_aggregates_of_a_whole_domain(self, small: RecordingTransport) -> None:
        fields = ["write_date:max", "id:max"]
        assert small.call("ir.model", "read_group", domain=[["id", "<", 3]], fields=fields, groupby=[]) == [
            {"__count": 2, "__domain": [["id", "<", 3]], "write_date": "2026-01-02 10:00:00", "id": 2}
        ]
        assert small.call("ir.model", "formatted_read_group", domain=[], aggregates=["__count", *fields]) == [
            {
                "__extra_domain": [[1, "=", 1]],
                "__count": 5,
                "write_date:max": "2026-01-04 10:00:00",
                "id:max": 5,
            }
        ]
        failure(small, RecordingError, "ir.model", "formatted_read_group", domain=[], groupby=["model"])
        failure(small, OdooCallFailed, "ir.model", "formatted_read_group", domain=[], aggregates=["id:median"])
        failure(small, OdooCallFailed, "ir.model", "read_group", domain=[], fields=["no_field:max"])

    def test_available_models_are_those_recorded_else_the_lasting_ones(self, tmp_path: Path) -> None:
        models = RecordedTable(
            columns=("id", "model", "name", "transient"), rows=((1, "a", "A", False), (2, "wizard", "W", True))
        )
        transport = RecordingTransport(write(tmp_path / "x.json", ir_model=models))
        assert transport.call("ir.model", "get_available_models") == [{"model": "a", "display_name": "A"}]


class TestWhatWasNotRecorded:
    def test_a_model_that_the_server_does_not_have(self, small: RecordingTransport) -> None:
        assert "no.model" in failure(small, OdooModelMissing, "no.model", "search_count")

    def test_a_table(self, small: RecordingTransport) -> None:
        assert "has no rows of res.partner" in failure(small, RecordingError, "res.partner", "search_count")

    def test_a_field_that_the_server_has(self, tmp_path: Path) -> None:
        table = RecordedTable(columns=("id",), rows=((1,),))
        transport = RecordingTransport(write(tmp_path / "x.json", {"a": {"name": {"type": "char"}}}, a=table))
        assert "has no name of a" in failure(transport, RecordingError, "a", "search_read", fields=["name"])
        failure(transport, OdooCallFailed, "a", "search_read", fields=["other"])

    def test_a_related_row(self, tmp_path: Path) -> None:
        table = RecordedTable(columns=("id", "parent_id"), rows=((1, 99),))
        fields = {"a": {"parent_id": {"type": "many2one", "relation": "a"}}}
        transport = RecordingTransport(write(tmp_path / "x.json", fields, a=table))
        specification: dict[str, Any] = {"parent_id": {"fields": {"id": {}}}}
        failure(transport, RecordingError, "a", "web_search_read", domain=[], specification=specification)
        assert transport.call("a", "search", domain=[("parent_id.id", "=", 1)]) == []
        assert transport.call("a", "search_read", fields=["parent_id"]) == [{"id": 1, "parent_id": [99, "a,99"]}]

    @pytest.mark.parametrize("method", ["create", "write", "unlink", "get_views", "no_method"])
    def test_other_methods(self, small: RecordingTransport, method: str) -> None:
        assert "cannot answer" in failure(small, RecordingError, "ir.model", method)

    def test_denied_tables_are_denied_again(self, tmp_path: Path) -> None:
        denied = {"ir.ui.view": ["Role / Administrator"]}
        transport = RecordingTransport(write_small_recording(tmp_path / "x.json", denied=denied))
        with pytest.raises(OdooAccessDenied) as caught:
            transport.call("ir.ui.view", "search_count")
        assert caught.value.context["groups"] == ["Role / Administrator"]
        assert transport.call("ir.ui.view", "fields_get")["name"]["type"] == "char"

    @pytest.mark.parametrize(
        ("series", "method"),
        [("18.0", "formatted_read_group"), ("16.0", "web_search_read"), ("15.0", "get_available_models")],
    )
    def test_methods_that_came_later(self, tmp_path: Path, series: str, method: str) -> None:
        transport = RecordingTransport(write_small_recording(tmp_path / "x.json", series=series))
        failure(transport, OdooModelMissing, "ir.model", method)
