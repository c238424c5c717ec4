"""What is answered, as the OpenAPI document describes it. It is made elsewhere: these models only describe it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.search import Kind
from fbs_worker.jobs.model import EventKind, JobState
from fbs_worker.ops.status import OverallStatus


class JobErrorAnswer(BaseModel):
    """Why a job has failed, or is tried again."""

    code: str = Field(description="the kind of error, for programs", examples=["odoo_unreachable"])
    message: str = Field(description="what is wrong, in one line")
    hint: str = Field(description="what to do about it, in one line")
    retryable: bool = Field(description="whether a retry can help")
    context: dict[str, Any] | None = Field(default=None, description="facts about it")


class JobBody(BaseModel):
    """A job."""

    id: str = Field(description="its id", examples=["0b9f3c5e-8a53-4c7d-9f0e-6a3b8f3a2c11"])
    action: str = Field(description="what it does", examples=["refresh"])
    solution: str = Field(description="the solution that it is for; empty if none", examples=["fayvad_rentals"])
    domain: str = Field(description="the domain that it is for; empty if none")
    state: JobState = Field(description="where it stands")
    step: str = Field(description="the step that it is in", examples=["fields"])
    current: int = Field(description="how many units of that step are done")
    total: int | None = Field(description="how many units the step has, if known")
    percent: int | None = Field(description="how much of the step is done")
    message: str = Field(description="what happens now, in one line")
    created_at: datetime = Field(description="when it was asked for")
    started_at: datetime | None = Field(description="when a worker first took it up")
    finished_at: datetime | None = Field(description="when it ended")
    heartbeat_at: datetime | None = Field(description="when its worker last gave a sign of life")
    attempts: int = Field(description="how often a worker took it up")
    queue: str = Field(description="where it waits, or waited")
    worker: str = Field(description="the worker that runs it, or ran it last")
    waited_seconds: float | None = Field(description="how long it was queued")
    result: dict[str, Any] | None = Field(description="what it yielded, once it has succeeded")
    error: JobErrorAnswer | None = Field(description="what went wrong")


class JobLinks(BaseModel):
    """Where to go on from a job."""

    self: str = Field(description="GET: the job", examples=["/api/v1/jobs/0b9f3c5e-8a53-4c7d-9f0e-6a3b8f3a2c11/"])
    events: str = Field(description="GET: its events as they come")
    cancel: str = Field(description="DELETE: ask for it to stop")


class JobAnswer(BaseModel):
    """A job and where to go on from it."""

    job: JobBody = Field(description="the job")
    links: JobLinks = Field(description="where to go on from it")


class JobsAnswer(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobBody] = Field(description="the jobs")


class EventBody(BaseModel):
    """Something that happened to a job: the `data` of a server-sent event."""

    id: str = Field(description="its place in the stream", examples=["1767225600000-0"])
    job_id: str = Field(description="the job")
    kind: EventKind = Field(description="what kind of thing; the event's name, too")
    state: JobState = Field(description="where the job stood")
    step: str = Field(description="the step that it was in")
    current: int = Field(description="how many units of that step were done")
    total: int | None = Field(description="how many units the step has, if known")
    percent: int | None = Field(description="how much of the step was done")
    message: str = Field(description="one line for a person")
    at: datetime = Field(description="when it happened")


class PlaceBody(BaseModel):
    """A database, without its password."""

    name: str = Field(description="its name", examples=["rental_db"])
    user: str = Field(description="the role", examples=["rental_user"])
    host: str = Field(description="a name, an address, or the folder of a Unix socket", examples=["localhost"])
    port: int = Field(description="the port", examples=[5432])


class SolutionGlance(BaseModel):
    """How a solution is, in a line."""

    solution: str = Field(description="its name", examples=["fayvad_rentals"])
    domain: str | None = Field(description="null, as the next ones, where its row is damaged", examples=["rental"])
    database: PlaceBody | None = Field(description="where it lives")
    table_prefix: str | None = Field(description="prefix of its system tables", examples=["fbs_"])
    business_prefix: str | None = Field(description="prefix of its business tables", examples=["rental_"])
    overall_status: OverallStatus = Field(description="how it is")
    reason: str = Field(description="why; empty when it is active")
    hint: str = Field(description="what to do about it")
    discoveries: dict[str, int] = Field(description="active discoveries per type", examples=[{"model": 120}])
    last_refresh: str | None = Field(description="when Odoo was last read for it")
    jobs: int = Field(description="how many jobs for it wait or run")


class SolutionsAnswer(BaseModel):
    """All solutions at a glance."""

    home: str = Field(description="where the address book is", examples=["localhost:5432/home"])
    solutions: list[SolutionGlance] = Field(description="each of them")
    counts: dict[str, int] = Field(description="how many are in each status", examples=[{"active": 1}])
    notes: list[str] = Field(description="what could not be looked at")


class DatabaseFacts(BaseModel):
    """A solution's database."""

    place: str = Field(description="where it is", examples=["localhost:5432/rental_db"])
    size: int | None = Field(description="bytes")
    server_version: str | None = Field(description="PostgreSQL's version", examples=["18.1"])


class TableFacts(BaseModel):
    """One of a solution's tables."""

    model_config = ConfigDict(extra="allow")

    table: str = Field(description="its name", examples=["rental_property"])
    kind: str = Field(description="system, business or mirrored", examples=["business"])
    rows: int | None = Field(description="how many it has")
    bytes: int | None = Field(description="how much room it takes")


class StatusAnswer(BaseModel):
    """A solution in every detail."""

    solution: str = Field(description="its name", examples=["fayvad_rentals"])
    overall_status: OverallStatus = Field(description="how it is")
    reason: str = Field(description="why; empty when it is active")
    hint: str = Field(description="what to do about it")
    config: dict[str, Any] = Field(description="what the address book says of it, without the password")
    database: DatabaseFacts = Field(description="where it lives")
    tables: list[TableFacts] = Field(description="its tables")
    discoveries: dict[str, int] = Field(description="active discoveries per type", examples=[{"model": 120}])
    sections_denied: list[dict[str, Any]] = Field(description="parts of Odoo that could not be read, and why")
    last_refresh: dict[str, Any] | None = Field(description="when Odoo was last read for it, and what changed")
    schedule: dict[str, Any] | None = Field(description="when it is refreshed by itself")
    pending: list[str] = Field(description="how its tables differ from their definition; a migration changes it")
    drift: list[str] = Field(description="what was changed by hand")
    jobs: list[JobBody] = Field(description="those that wait or run")
    notes: list[str] = Field(description="what could not be looked at")


class DiscoveryBody(BaseModel):
    """Something that Odoo has."""

    id: int = Field(description="its number", examples=[1])
    discovery_type: DiscoveryType = Field(description="what kind of thing", examples=["model"])
    domain: str = Field(description="the domain that it belongs to", examples=["rental"])
    name: str = Field(description="its technical name", examples=["sale.order"])
    version: str = Field(description="Odoo's own for a module, else counted from 1.0", examples=["1.0"])
    title: str | None = Field(description="for a person", examples=["Sales Order"])
    is_active: bool = Field(description="this version is the one that Odoo has")
    created_at: datetime | None = Field(description="when this version was written")
    updated_at: datetime | None = Field(description="when it was last changed")
    discovered_at: datetime | None = Field(description="when Odoo was read")
    metadata: dict[str, Any] | None = Field(description="what is known about it")
    schema_definition: dict[str, Any] | None = Field(
        default=None, description="what it is made of: a model's fields, a workflow's states and transitions, …"
    )


class DiscoveriesAnswer(BaseModel):
    """A page of discoveries."""

    solution: str | None = Field(description="the solution whose catalogue it is", examples=["fayvad_rentals"])
    domain: str = Field(description="its domain", examples=["rental"])
    discoveries: list[DiscoveryBody] = Field(description="the discoveries")
    next: str | None = Field(description="the `cursor` of the next page; null after the last one")


class Hit(BaseModel):
    """Something that was found. A field has `model`, `field`, `label`, `type` and `relation`, the others the rest."""

    kind: Kind = Field(description="what kind of thing")
    id: int | None = Field(default=None, description="of the discovery")
    name: str | None = Field(default=None, description="its technical name", examples=["sale.order"])
    title: str | None = Field(default=None, description="its name for a person", examples=["Sales Order"])
    version: str | None = Field(default=None, description="its version", examples=["1.0"])
    model: str | None = Field(default=None, description="the field's model", examples=["sale.order"])
    field: str | None = Field(default=None, description="the field's name", examples=["partner_id"])
    label: str | None = Field(default=None, description="the field's name for a person", examples=["Customer"])
    type: str | None = Field(default=None, description="the field's type in Odoo", examples=["many2one"])
    relation: str | None = Field(default=None, description="the model that it refers to", examples=["res.partner"])


class HitsAnswer(BaseModel):
    """What was found."""

    solution: str = Field(description="the solution whose catalogue it is", examples=["fayvad_rentals"])
    domain: str = Field(description="its domain", examples=["rental"])
    hits: list[Hit] = Field(description="what was found")
    next: str | None = Field(description="the `cursor` of the next page, which may have hits; null after the last one")
