"""Steps of a job, and filtering of fields."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fbs_worker.jobs.model import EventKind, JobEvent, JobState
from fbs_worker.web.pages.catalogue import FIELD_KINDS, fields_of, filter_fields
from fbs_worker.web.pages.jobs import steps_of

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def event(
    at: float, kind: EventKind, step: str = "", message: str = "", state: JobState = JobState.RUNNING
) -> JobEvent:
    return JobEvent(
        id=f"{at}", job_id="j", kind=kind, state=state, step=step, current=0, total=None, message=message,
        at=BEGAN + timedelta(seconds=at),
    )  # fmt: skip


def result(*events: JobEvent) -> list[tuple[str, str, float | None]]:
    return [(step.name, step.message, step.seconds) for step in steps_of(events)]


def test_steps_and_their_durations() -> None:
    assert result(
        event(0, "state", state=JobState.QUEUED),
        event(1, "state"),
        event(1, "step", "modules", "reading modules"),
        event(2, "progress", "modules"),
        event(4, "step", "fields"),
        event(5, "message", "fields", "sale.order"),
        event(9, "state", "fields", state=JobState.SUCCEEDED),
    ) == [("modules", "reading modules", 3.0), ("fields", "sale.order", 5.0)]


def test_the_last_step_is_running() -> None:
    assert result(event(0, "state"), event(1, "step", "fields")) == [("fields", "", None)]
    assert result() == []


def test_a_second_attempt_starts_new_steps() -> None:
    assert result(
        event(0, "step", "fields"),
        event(2, "state", "fields", state=JobState.RETRYING),
        event(5, "state"),
        event(6, "step", "fields"),
    ) == [("fields", "", 2.0), ("fields", "", None)]


FIELDS: dict[str, dict[str, Any]] = {
    "partner_id": {"type": "many2one", "label": "Customer", "relation": "res.partner"},
    "name": {"type": "char", "label": "Order Reference"},
    "odd": {},
}


def test_fields_that_match() -> None:
    assert list(filter_fields(FIELDS, "")) == list(FIELDS)
    assert list(filter_fields(FIELDS, "PARTNER")) == ["partner_id"]
    assert list(filter_fields(FIELDS, "customer many2one")) == ["partner_id"]
    assert list(filter_fields(FIELDS, "ref")) == ["name"]
    assert list(filter_fields(FIELDS, "none")) == []


def test_fields_by_module_and_kind() -> None:
    fields: dict[str, dict[str, Any]] = {
        "name": {"stored": True, "required": True, "modules": ["sale"]},
        "total": {"modules": ["sale", "account"]},
        "partner_id": {"stored": True, "relation": "res.partner"},
    }
    assert list(filter_fields(fields, "", module="account")) == ["total"]
    by_kind = {kind: list(filter_fields(fields, "", kind=kind)) for kind in (*FIELD_KINDS, "unheard of")}
    assert by_kind == {
        "stored": ["name", "partner_id"],
        "computed": ["total"],
        "required": ["name"],
        "relational": ["partner_id"],
        "unheard of": list(fields),
    }
    assert list(filter_fields(fields, "name", module="sale", kind="computed")) == []


def test_malformed_fields_are_skipped() -> None:
    assert fields_of({"schema_definition": None}) == {}
    assert fields_of({"schema_definition": {"fields": [1]}}) == {}
    assert list(fields_of({"schema_definition": {"fields": {"b": {}, "a": {}, "c": 3}}})) == ["a", "b"]
