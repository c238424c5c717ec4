"""Types are written as PostgreSQL writes them, or a table would differ from its definition for ever."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, CHAR, JSONB, TIMESTAMP
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeEngine

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.schema.columns import DIALECT, type_of

TYPES: list[TypeEngine[Any]] = [
    *(SmallInteger(), Integer(), BigInteger(), Numeric(), Numeric(10), Numeric(10, 2), Boolean(), Uuid(), JSONB()),
    *(Float(), Float(1), Float(24), Float(25), Float(53), Double(), REAL(), String(), String(5), Text(), CHAR(3)),
    *(Date(), Time(), Time(timezone=True), DateTime(), DateTime(timezone=True), TIMESTAMP(precision=3), Interval()),
    *(LargeBinary(), ARRAY(Integer), ARRAY(String(5)), ARRAY(Numeric(5)), ARRAY(Float(3)), ARRAY(DateTime)),
]


def test_types_match_format_type(database: DatabaseConfig) -> None:
    table = Table("t", MetaData(), *(Column(f"c{number}", kind) for number, kind in enumerate(TYPES)))
    with closing(connect(database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(str(CreateTable(table).compile(dialect=DIALECT)))
        cursor.execute(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"
            " ORDER BY attnum"
        )
        types = [kind for (kind,) in cursor.fetchall()]
    assert [type_of(column) for column in table.columns] == types
