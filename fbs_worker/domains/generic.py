"""Generic: all applications, modules with a main menu of their own, and models created in the user interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fbs_worker.domains.base import Domain, ModuleSelector

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def tables() -> MetaData:
    """Entities of any type, and their transactions."""
    from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Integer, MetaData, Numeric, String, Table, Text, text
    from sqlalchemy.dialects.postgresql import JSONB

    metadata = MetaData()
    Table(
        "entity",
        metadata,
        Column("name", String(255), nullable=False),
        Column("type", String(100)),
        Column("attributes", JSONB, server_default="{}"),
        Column("is_active", Boolean, server_default=text("TRUE")),
    )
    Table(
        "transaction",
        metadata,
        Column("entity_id", Integer, ForeignKey("entity.id")),
        Column("transaction_type", String(100)),
        Column("amount", Numeric(10, 2)),
        Column("description", Text),
        Column("transaction_date", DateTime, server_default=text("NOW()")),
    )
    return metadata


DOMAIN = Domain(name="generic", title="Generic", modules=ModuleSelector(applications=True), tables=tables)
