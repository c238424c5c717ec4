"""Response models, for the OpenAPI document only: the routes serialise their responses themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.search import Kind
from fbs_worker.jobs.model import EventKind, JobState
from fbs_worker.ops.status import OverallStatus


class JobErrorAnswer(BaseModel):
    """Why a job failed or is retried."""

    code: str = Field(description="the error code", examples=["odoo_unreachable"])
    message: str = Field(description="the error message")
    hint: str = Field(description="how to fix it")
    retryable: bool = Field(description="whether a retry can succeed")
    context: dict[str, Any] | None = Field(default=None, description="details of the error")


class JobBody(BaseModel):
    """A job."""

    id: str = Field(description="the job's id", examples=["0b9f3c5e-8a53-4c7d-9f0e-6a3b8f3a2c11"])
    action: str = Field(description="the job's action", examples=["refresh"])
    solution: str = Field(description="the job's solution; empty if none", examples=["fayvad_rentals"])
    domain: str = Field(description="the job's domain; empty if none")
    state: JobState = Field(description="the job's state")
    step: str = Field(description="the current step", examples=["fields"])
    current: int = Field(description="completed units of the step")
    total: int | None = Field(description="units of the step, if known")
    percent: int | None = Field(description="progress of the step")
    message: str = Field(description="the last progress message")
    created_at: datetime = Field(description="when it was enqueued")
    started_at: datetime | None = Field(description="when its first attempt started")
    finished_at: datetime | None = Field(description="when it finished")
    heartbeat_at: datetime | None = Field(description="when its worker last sent a heartbeat")
    attempts: int = Field(description="number of attempts")
    queue: str = Field(description="the job's queue")
    worker: str = Field(description="the worker of the last attempt")
    waited_seconds: float | None = Field(description="time in the queue")
    variant: str = Field(description="what kind of the action; empty if there is only one", examples=["plan"])
    result: dict[str, Any] | None = Field(description="the result, once it has succeeded")
    error: JobErrorAnswer | None = Field(description="the error of the last attempt")


class JobLinks(BaseModel):
    """Links of a job."""

    self: str = Field(description="GET: the job", examples=["/api/v1/jobs/0b9f3c5e-8a53-4c7d-9f0e-6a3b8f3a2c11/"])
    events: str = Field(description="GET: its event stream")
    cancel: str = Field(description="DELETE: cancel it")
    log: str = Field(description="GET: its log")
    retry: str = Field(description="POST: enqueue it again")


class JobAnswer(BaseModel):
    """A job and its links."""

    job: JobBody = Field(description="the job")
    links: JobLinks = Field(description="its links")


class JobsAnswer(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobBody] = Field(description="the jobs")


class LogLineBody(BaseModel):
    """A line of a job's log."""

    at: datetime = Field(description="when")
    level: str = Field(
        description="of a logged line its level, of an event `state`, `step` or `message`", examples=["WARNING"]
    )
    text: str = Field(description="one or more lines of text")


class LogAnswer(BaseModel):
    """What happened in a job, oldest first."""

    log: list[LogLineBody] = Field(description="its lines")


class EventBody(BaseModel):
    """An event of a job: the `data` of a server-sent event."""

    id: str = Field(description="the event's id in the stream", examples=["1767225600000-0"])
    job_id: str = Field(description="the job's id")
    kind: EventKind = Field(description="the kind of event, also the name of the server-sent event")
    state: JobState = Field(description="the job's state")
    step: str = Field(description="the current step")
    current: int = Field(description="completed units of the step")
    total: int | None = Field(description="units of the step, if known")
    percent: int | None = Field(description="progress of the step")
    message: str = Field(description="a progress message")
    at: datetime = Field(description="when it happened")


class DatabaseAddress(BaseModel):
    """A database, without its password."""

    name: str = Field(description="the database's name", examples=["rental_db"])
    user: str = Field(description="the role", examples=["rental_user"])
    host: str = Field(description="a name, an address, or the folder of a Unix socket", examples=["localhost"])
    port: int = Field(description="the port", examples=[5432])


class SourceAnswer(BaseModel):
    """The Odoo of a solution."""

    connection: str = Field(description="the connection's name", examples=["default"])
    url: str = Field(default="", description="what the last refresh read", examples=["https://odoo.example.com"])
    database: str = Field(default="", description="its database", examples=["live"])
    series: str = Field(default="", description="its version", examples=["19.0"])


class RecordsState(BaseModel):
    """Where the copy of a mirrored model stands."""

    model: str = Field(description="the mirrored model", examples=["res.partner"])
    table: str = Field(description="its table", examples=["rental_res_partner"])
    status: str = Field(description="pending, ok, needs review, failed or stopped", examples=["ok"])
    phase: str = Field(description="copy: the first one is not complete; catch_up; steady", examples=["steady"])
    reason: str = Field(description="why it needs review, failed or stopped; else empty")
    rows: int = Field(description="number of rows after the last sync")
    rejected: int = Field(description="number of records that the table cannot hold")
    lag_seconds: float | None = Field(description="time since the last sync of this table")
    high_water: datetime | None = Field(description="changes up to then are copied, by Odoo's clock")
    synced_at: datetime | None = Field(description="when the last sync of this table ended")
    swept_at: datetime | None = Field(description="when deletions were looked for")
    read_whole_at: datetime | None = Field(description="when every record was read")
    verified_at: datetime | None = Field(description="when the table was last found equal to Odoo")
    last_run: dict[str, Any] = Field(description="what the last sync did: read, inserted, updated, deleted, calls, …")


class RecordsAnswer(BaseModel):
    """The copies of a solution's mirrored models."""

    solution: str = Field(description="the solution's name", examples=["fayvad_rentals"])
    tables: list[RecordsState] = Field(description="the mirrored tables, by model")


class RowsAnswer(BaseModel):
    """A page of rows."""

    solution: str = Field(description="the solution's name", examples=["fayvad_rentals"])
    table: str = Field(description="the table", examples=["rental_res_partner"])
    model: str = Field(description="its mirrored model", examples=["res.partner"])
    rows: list[dict[str, Any]] = Field(description="the rows: column → value")
    next: str | None = Field(description="`cursor` of the next page; null on the last page")


class RecordsSummary(BaseModel):
    """The copies of a solution's mirrored models in short."""

    tables: int = Field(description="number of tables that were copied")
    rows: int = Field(description="number of their rows")
    lag_seconds: float | None = Field(description="time since the last sync of the table that waits longest")
    needs_review: int = Field(description="number of tables that need a person")
    failed: int = Field(description="number of tables whose last sync failed, or that are stopped")


class SolutionSummary(BaseModel):
    """A solution's status in short."""

    solution: str = Field(description="the solution's name", examples=["fayvad_rentals"])
    domain: str | None = Field(
        description="its domain; null, like the following fields, if its registry row is damaged", examples=["rental"]
    )
    database: DatabaseAddress | None = Field(description="its database")
    table_prefix: str | None = Field(description="prefix of its system tables", examples=["fbs_"])
    business_prefix: str | None = Field(description="prefix of its business tables", examples=["rental_"])
    overall_status: OverallStatus = Field(description="its status")
    reason: str = Field(description="the reason for the status; empty if active")
    hint: str = Field(description="how to fix it")
    discoveries: dict[str, int] = Field(description="active discoveries per type", examples=[{"model": 120}])
    odoo: SourceAnswer | None = Field(description="its Odoo; null if its registry row is damaged")
    last_refresh: str | None = Field(description="time of the last refresh that read Odoo")
    last_checked: str | None = Field(description="time of the last refresh, also of one that found nothing new")
    last_change: str | None = Field(description="time of the last refresh that found something")
    records: RecordsSummary | None = Field(description="the copies of its mirrored models; null without any")
    jobs: int = Field(description="number of its queued and running jobs")


class SolutionsAnswer(BaseModel):
    """All solutions in short."""

    home: str = Field(description="the home database, with the registry", examples=["localhost:5432/home"])
    solutions: list[SolutionSummary] = Field(description="the solutions")
    counts: dict[str, int] = Field(description="number of solutions per status", examples=[{"active": 1}])
    notes: list[str] = Field(description="what could not be inspected")


class DatabaseFacts(BaseModel):
    """A solution's database."""

    place: str = Field(description="address and name", examples=["localhost:5432/rental_db"])
    size: int | None = Field(description="size in bytes")
    server_version: str | None = Field(description="version of PostgreSQL", examples=["18.1"])


class TableFacts(BaseModel):
    """A table of a solution."""

    model_config = ConfigDict(extra="allow")

    table: str = Field(description="the table's name", examples=["rental_property"])
    kind: str = Field(description="system, business or mirrored", examples=["business"])
    rows: int | None = Field(description="number of rows")
    bytes: int | None = Field(description="size on disk, with indexes")
    links: dict[str, str] | None = Field(
        default=None,
        description="of a mirrored table: column and what it refers to; no foreign key enforces that",
        examples=[{"partner_id": "rental_res_partner.odoo_id"}],
    )


class StatusAnswer(BaseModel):
    """A solution in full detail."""

    solution: str = Field(description="the solution's name", examples=["fayvad_rentals"])
    overall_status: OverallStatus = Field(description="its status")
    reason: str = Field(description="the reason for the status; empty if active")
    hint: str = Field(description="how to fix it")
    config: dict[str, Any] = Field(description="its row of the registry, without the password")
    database: DatabaseFacts = Field(description="its database")
    tables: list[TableFacts] = Field(description="its tables")
    discoveries: dict[str, int] = Field(description="active discoveries per type", examples=[{"model": 120}])
    odoo: SourceAnswer = Field(description="its Odoo")
    sections_denied: list[dict[str, Any]] = Field(description="parts of Odoo that could not be read, and why")
    last_refresh: dict[str, Any] | None = Field(description="time and changes of the last refresh that read Odoo")
    last_checked: str | None = Field(description="time of the last refresh, also of one that found nothing new")
    last_change: str | None = Field(description="time of the last refresh that found something")
    schedule: dict[str, Any] | None = Field(description="the schedule of its refreshes")
    records: list[RecordsState] = Field(description="where the copy of each mirrored model stands")
    pending: list[str] = Field(description="differences from the desired schema, which a migration resolves")
    drift: list[str] = Field(description="changes made by hand")
    jobs: list[JobBody] = Field(description="its queued and running jobs")
    notes: list[str] = Field(description="what could not be inspected")


class OdooConnectionAnswer(BaseModel):
    """A connection to Odoo, without its secrets."""

    name: str = Field(description="its name", examples=["shop"])
    origin: Literal["environment", "database"] = Field(description="where it is: the environment, or the home database")
    url: str = Field(description="the address of Odoo", examples=["https://odoo.example.com"])
    db: str = Field(description="the Odoo database", examples=["production"])
    user: str = Field(description="the login", examples=["reader"])
    credentials: Literal["password", "api_key", ""] = Field(description="what it logs in with")
    secret: Literal["encrypted", "reference", "setting", ""] = Field(description="how its secret is kept")
    protocol: str = Field(description="auto, odoorpc or json2", examples=["auto"])
    lang: str = Field(description="the language of the labels", examples=["en_US"])
    timeout: float = Field(description="time-out of one call, in seconds", examples=[120])
    headers: bool = Field(description="whether it has headers for a proxy")
    overridden_by: str = Field(
        description="the variable of the environment's connection of that name, which counts more"
    )
    solutions: list[str] = Field(description="the solutions that use it", examples=[["fayvad_rentals"]])
    created_at: datetime | None = Field(description="when it was added; null for one of the environment")
    updated_at: datetime | None = Field(description="when it was last changed")


class OdooConnectionsAnswer(BaseModel):
    """The connections to Odoo."""

    connections: list[OdooConnectionAnswer] = Field(description="the connections")
    notes: list[str] = Field(description="what is not known")


class OdooRemovedAnswer(BaseModel):
    """A connection that was removed."""

    name: str = Field(description="its name", examples=["shop"])
    removed: bool = Field(description="always true")


class DiscoveryBody(BaseModel):
    """A discovery: a module, model, workflow or BI feature of Odoo."""

    id: int = Field(description="the row's id", examples=[1])
    discovery_type: DiscoveryType = Field(description="the discovery type", examples=["model"])
    domain: str = Field(description="the domain", examples=["rental"])
    name: str = Field(description="technical name", examples=["sale.order"])
    version: str = Field(description="a module's version in Odoo, else counted from 1.0", examples=["1.0"])
    title: str | None = Field(description="display name", examples=["Sales Order"])
    is_active: bool = Field(description="whether this is the version in Odoo")
    created_at: datetime | None = Field(description="when this version was recorded")
    updated_at: datetime | None = Field(description="when the row last changed")
    discovered_at: datetime | None = Field(description="when Odoo was read")
    metadata: dict[str, Any] | None = Field(description="properties by type, e.g. a module's state and dependencies")
    schema_definition: dict[str, Any] | None = Field(
        default=None, description="structure by type, e.g. a model's fields, a workflow's states and transitions"
    )


class DiscoveriesAnswer(BaseModel):
    """A page of discoveries."""

    solution: str | None = Field(description="the catalogue's solution", examples=["fayvad_rentals"])
    domain: str = Field(description="the solution's domain", examples=["rental"])
    discoveries: list[DiscoveryBody] = Field(description="the discoveries")
    next: str | None = Field(description="`cursor` of the next page; null on the last page")


class Hit(BaseModel):
    """A search hit. A field has `model`, `field`, `label`, `type` and `relation`, a discovery the other fields."""

    kind: Kind = Field(description="the discovery type, or `field`")
    id: int | None = Field(default=None, description="the discovery's id")
    name: str | None = Field(default=None, description="the discovery's technical name", examples=["sale.order"])
    title: str | None = Field(default=None, description="the discovery's display name", examples=["Sales Order"])
    version: str | None = Field(default=None, description="the discovery's version", examples=["1.0"])
    model: str | None = Field(default=None, description="the field's model", examples=["sale.order"])
    field: str | None = Field(default=None, description="the field's name", examples=["partner_id"])
    label: str | None = Field(default=None, description="the field's label", examples=["Customer"])
    type: str | None = Field(default=None, description="the field's type in Odoo", examples=["many2one"])
    relation: str | None = Field(default=None, description="the field's target model", examples=["res.partner"])


class HitsAnswer(BaseModel):
    """A page of search hits."""

    solution: str = Field(description="the catalogue's solution", examples=["fayvad_rentals"])
    domain: str = Field(description="the solution's domain", examples=["rental"])
    hits: list[Hit] = Field(description="the hits")
    next: str | None = Field(description="`cursor` of the next page, which may be empty; null on the last page")
