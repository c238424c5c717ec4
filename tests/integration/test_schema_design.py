"""Every system and business table, column by column, is what the design says; the expectation is the design's own text."""

from __future__ import annotations

import re

import pytest

from fbs_worker.core.postgres import Connection
from fbs_worker.domains import load_domain
from fbs_worker.schema.create import create
from fbs_worker.schema.definition import define
from fbs_worker.schema.inspector import inspect_tables
from fbs_worker.schema.model import FOREIGN, INDEX, PRIMARY, SERIAL, UNIQUE, ColumnSchema, KeySchema

SYSTEM = {
    "discoveries": """
        id SERIAL PK
        discovery_type VARCHAR(50) NOT NULL
        domain VARCHAR(100) NOT NULL
        name VARCHAR(100) NOT NULL
        version VARCHAR(20) DEFAULT '1.0'
        metadata JSONB DEFAULT '{}'
        schema_definition JSONB
        is_active BOOLEAN DEFAULT TRUE
        created_at TIMESTAMP DEFAULT NOW()
        updated_at TIMESTAMP DEFAULT NOW()
        discovered_at TIMESTAMP DEFAULT NOW()
        UNIQUE(discovery_type, domain, name, version)
        INDEX(domain)
        INDEX(discovery_type)
        INDEX(is_active)
    """,
    "solution_schemas": """
        id SERIAL PK
        solution_name VARCHAR(100) NOT NULL
        domain VARCHAR(100) NOT NULL
        database_name VARCHAR(100) NOT NULL
        database_user VARCHAR(100) NOT NULL
        database_password VARCHAR(255) NOT NULL
        table_prefix VARCHAR(20) DEFAULT 'fbs_'
        business_prefix VARCHAR(20) DEFAULT ''
        schema_definition JSONB DEFAULT '{}'
        is_active BOOLEAN DEFAULT TRUE
        created_at TIMESTAMP DEFAULT NOW()
        updated_at TIMESTAMP DEFAULT NOW()
        UNIQUE(solution_name)
        INDEX(domain)
        INDEX(is_active)
    """,
    "schema_migrations": """
        id SERIAL PK
        solution_name VARCHAR(100) NOT NULL
        migration_type VARCHAR(50) NOT NULL
        table_name VARCHAR(100) NOT NULL
        sql_statement TEXT NOT NULL
        status VARCHAR(20) DEFAULT 'pending'
        executed_at TIMESTAMP
        created_at TIMESTAMP DEFAULT NOW()
        facts JSONB
        INDEX(status)
    """,
    "workflow_definitions": """
        id SERIAL PK
        workflow_name VARCHAR(100) NOT NULL
        domain VARCHAR(100) NOT NULL
        workflow_steps JSONB DEFAULT '{}'
        trigger_conditions JSONB DEFAULT '{}'
        approval_roles JSONB DEFAULT '{}'
        is_active BOOLEAN DEFAULT TRUE
        created_at TIMESTAMP DEFAULT NOW()
        updated_at TIMESTAMP DEFAULT NOW()
        UNIQUE(workflow_name)
        INDEX(domain)
        INDEX(is_active)
    """,
    "bi_dashboards": """
        id SERIAL PK
        dashboard_name VARCHAR(100) NOT NULL
        domain VARCHAR(100) NOT NULL
        dashboard_config JSONB DEFAULT '{}'
        chart_definitions JSONB DEFAULT '{}'
        data_sources JSONB DEFAULT '{}'
        is_active BOOLEAN DEFAULT TRUE
        created_at TIMESTAMP DEFAULT NOW()
        updated_at TIMESTAMP DEFAULT NOW()
        UNIQUE(dashboard_name)
        INDEX(domain)
        INDEX(is_active)
    """,
    # ours beside the design's: what the last reads of Odoo were
    "snapshots": """
        id SERIAL PK
        domain VARCHAR(100) NOT NULL
        source JSONB NOT NULL
        types JSONB NOT NULL
        fingerprint JSONB
        sections JSONB
        changes JSONB
        taken_at TIMESTAMP DEFAULT NOW()
        INDEX(domain)
    """,
    # the copies of mirrored models
    "replication": """
        id SERIAL PK
        solution_name VARCHAR(100) NOT NULL
        model VARCHAR(200) NOT NULL
        table_name VARCHAR(100) NOT NULL
        phase VARCHAR(20) DEFAULT 'copy'
        status VARCHAR(20) DEFAULT 'pending'
        reason TEXT DEFAULT ''
        position JSONB DEFAULT '{}'
        high_water TIMESTAMP
        row_count BIGINT DEFAULT '0'
        rejected INTEGER DEFAULT 0
        source JSONB DEFAULT '{}'
        fields JSONB DEFAULT '{}'
        last_run JSONB DEFAULT '{}'
        synced_at TIMESTAMP
        swept_at TIMESTAMP
        read_whole_at TIMESTAMP
        verified_at TIMESTAMP
        created_at TIMESTAMP DEFAULT NOW()
        updated_at TIMESTAMP DEFAULT NOW()
        UNIQUE(table_name)
        INDEX(solution_name)
    """,
    "rejected_records": """
        id SERIAL PK
        solution_name VARCHAR(100) NOT NULL
        table_name VARCHAR(100) NOT NULL
        odoo_id INTEGER NOT NULL
        field VARCHAR(200) DEFAULT ''
        reason TEXT NOT NULL
        value TEXT
        rejected_at TIMESTAMP DEFAULT NOW()
        UNIQUE(table_name, odoo_id)
    """,
    "deleted_records": """
        id SERIAL PK
        solution_name VARCHAR(100) NOT NULL
        table_name VARCHAR(100) NOT NULL
        odoo_id INTEGER NOT NULL
        record JSONB
        deleted_at TIMESTAMP DEFAULT NOW()
        INDEX(table_name)
        INDEX(deleted_at)
    """,
    "file_checksums": """
        id SERIAL PK
        solution_name VARCHAR(100) NOT NULL
        table_name VARCHAR(100) NOT NULL
        odoo_id INTEGER NOT NULL
        field VARCHAR(200) NOT NULL
        checksum VARCHAR(100) NOT NULL
        UNIQUE(table_name, odoo_id, field)
    """,
}

BUSINESS = {
    "rental": {
        "property": """
            property_name VARCHAR(255) NOT NULL
            property_type VARCHAR(50)
            address TEXT
            city VARCHAR(100)
            state VARCHAR(50)
            zip_code VARCHAR(20)
            rent_amount DECIMAL(10,2) NOT NULL
            deposit_amount DECIMAL(10,2)
            square_feet INTEGER
            bedrooms INTEGER
            bathrooms INTEGER
            is_available BOOLEAN DEFAULT TRUE
            amenities JSONB DEFAULT '{}'
        """,
        "tenant": """
            first_name VARCHAR(100) NOT NULL
            last_name VARCHAR(100) NOT NULL
            email VARCHAR(255) NOT NULL
            phone VARCHAR(20)
            date_of_birth DATE
            credit_score INTEGER
            employment_status VARCHAR(50)
            employer_name VARCHAR(255)
            annual_income DECIMAL(12,2)
            UNIQUE(email)
        """,
        "lease": """
            property_id INTEGER
            tenant_id INTEGER
            lease_start_date DATE NOT NULL
            lease_end_date DATE NOT NULL
            monthly_rent DECIMAL(10,2) NOT NULL
            security_deposit DECIMAL(10,2)
            lease_status VARCHAR(20) DEFAULT 'active'
            lease_terms JSONB DEFAULT '{}'
            property_id -> property
            tenant_id -> tenant
        """,
        "payment": """
            lease_id INTEGER
            tenant_id INTEGER
            payment_date DATE NOT NULL
            payment_amount DECIMAL(10,2) NOT NULL
            payment_type VARCHAR(50)
            payment_status VARCHAR(20) DEFAULT 'pending'
            transaction_id VARCHAR(255)
            notes TEXT
            lease_id -> lease
            tenant_id -> tenant
        """,
        "maintenance": """
            property_id INTEGER
            tenant_id INTEGER
            issue_type VARCHAR(100)
            description TEXT
            priority VARCHAR(20) DEFAULT 'medium'
            status VARCHAR(20) DEFAULT 'open'
            assigned_to VARCHAR(255)
            estimated_cost DECIMAL(10,2)
            actual_cost DECIMAL(10,2)
            property_id -> property
            tenant_id -> tenant
        """,
    },
    "ecommerce": {
        "product": """
            name VARCHAR(255) NOT NULL
            description TEXT
            price DECIMAL(10,2) NOT NULL
            category VARCHAR(100)
            sku VARCHAR(100)
            stock_quantity INTEGER DEFAULT 0
            is_active BOOLEAN DEFAULT TRUE
            UNIQUE(sku)
        """,
        "customer": """
            first_name VARCHAR(100) NOT NULL
            last_name VARCHAR(100) NOT NULL
            email VARCHAR(255) NOT NULL
            phone VARCHAR(20)
            address TEXT
            UNIQUE(email)
        """,
        "order": """
            customer_id INTEGER
            order_date TIMESTAMP DEFAULT NOW()
            total_amount DECIMAL(10,2) NOT NULL
            status VARCHAR(20) DEFAULT 'pending'
            shipping_address TEXT
            customer_id -> customer
        """,
    },
    "hr": {
        "department": """
            name VARCHAR(100) NOT NULL
            manager_id INTEGER
            description TEXT
            UNIQUE(name)
            manager_id -> employee
        """,
        "employee": """
            first_name VARCHAR(100) NOT NULL
            last_name VARCHAR(100) NOT NULL
            email VARCHAR(255) NOT NULL
            phone VARCHAR(20)
            department_id INTEGER
            position VARCHAR(100)
            hire_date DATE
            salary DECIMAL(10,2)
            is_active BOOLEAN DEFAULT TRUE
            UNIQUE(email)
            department_id -> department
        """,
    },
    "generic": {
        "entity": """
            name VARCHAR(255) NOT NULL
            type VARCHAR(100)
            attributes JSONB DEFAULT '{}'
            is_active BOOLEAN DEFAULT TRUE
        """,
        "transaction": """
            entity_id INTEGER
            transaction_type VARCHAR(100)
            amount DECIMAL(10,2)
            description TEXT
            transaction_date TIMESTAMP DEFAULT NOW()
            entity_id -> entity
        """,
    },
}

WORDS = {
    "SERIAL": "integer",
    "VARCHAR": "character varying",
    "DECIMAL": "numeric",
    "TIMESTAMP": "timestamp without time zone",
}
"""Types that PostgreSQL writes otherwise than the design."""

DEFAULTS = {"TRUE": "true", "NOW()": "now()", "0": "0"}

Facts = tuple[list[tuple[str, ColumnSchema]], set[KeySchema], set[tuple[str, ...]]]


def expected(text: str, prefix: str, *, business: bool) -> Facts:
    """Columns, keys and indexes that the lines of a table ask for."""
    columns: list[tuple[str, ColumnSchema]] = []
    keys = {KeySchema(kind=PRIMARY, columns=("id",))}
    indexes: set[tuple[str, ...]] = {("id",)}
    lines = [line.strip() for line in text.strip().splitlines()]
    if business:
        lines = [
            "id SERIAL PK",
            *lines,
            "created_at TIMESTAMP DEFAULT NOW()",
            "updated_at TIMESTAMP DEFAULT NOW()",
        ]
    for line in lines:
        if found := re.fullmatch(r"(\w+) -> (\w+)", line):
            keys.add(KeySchema(kind=FOREIGN, columns=(found[1],), target=(prefix + found[2], ("id",))))
            indexes.add((found[1],))
        elif found := re.fullmatch(r"(UNIQUE|INDEX)\((.+)\)", line):
            names = tuple(found[2].split(", "))
            indexes.add(names)
            keys |= {KeySchema(kind=UNIQUE, columns=names)} if found[1] == "UNIQUE" else set()
        else:
            found = re.fullmatch(r"(\w+) (\S+)( NOT NULL| PK)?(?: DEFAULT (.+))?", line)
            assert found, line
            columns.append(column(*found.groups()))
    return columns, keys, indexes


def column(name: str, kind: str, required: str | None, default: str | None) -> tuple[str, ColumnSchema]:
    base, bracket, length = kind.partition("(")
    cast = {"JSONB": "jsonb", "TEXT": "text", "BIGINT": "bigint"}.get(kind, "character varying")
    value = SERIAL if kind == "SERIAL" else default and (DEFAULTS.get(default) or f"{default}::{cast}")
    written = WORDS.get(base, base.lower()) + bracket + length
    return name, ColumnSchema(type=written, not_null=bool(required), default=value)


def actual(connection: Connection, table: str) -> Facts:
    found = inspect_tables(connection, [table]).tables[table]
    schemas = [key.schema for key in found.keys if key.valid]
    indexes = [schema.columns for schema in schemas if schema.kind == INDEX and schema.columns]
    assert len(indexes) == len(set(indexes)), "an index twice"
    return list(found.columns.items()), {schema for schema in schemas if schema.kind != INDEX}, set(indexes)


@pytest.mark.parametrize("domain", list(BUSINESS))
@pytest.mark.parametrize(("table_prefix", "business_prefix"), [("fbs_", "my_"), ("x" * 20, ""), ("order_", "y" * 20)])
def test_every_table_is_as_designed(
    connection: Connection, domain: str, table_prefix: str, business_prefix: str
) -> None:
    definition = define(load_domain(domain), table_prefix=table_prefix, business_prefix=business_prefix)
    with connection:
        report = create(connection, definition, owned=())
    reference = {table_prefix + name: expected(text, table_prefix, business=False) for name, text in SYSTEM.items()}
    reference |= {
        business_prefix + name: expected(text, business_prefix, business=True)
        for name, text in BUSINESS[domain].items()
    }
    assert set(report.created) == reference.keys()
    for name, facts in reference.items():
        assert actual(connection, name) == facts, name
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
        assert {name for (name,) in cursor.fetchall()} == reference.keys()


def test_the_design_has_every_domain_of_ours() -> None:
    for name, tables in BUSINESS.items():
        assert load_domain(name).tables().tables.keys() == tables.keys()


def test_departments_and_employees_refer_to_each_other(connection: Connection) -> None:
    definition = define(load_domain("hr"), table_prefix="fbs_", business_prefix="")
    with connection, connection.cursor() as cursor:
        create(connection, definition, owned=())
        cursor.execute("INSERT INTO department (name) VALUES ('Sales') RETURNING id")
        cursor.execute(
            "INSERT INTO employee (first_name, last_name, email, department_id) VALUES ('A', 'B', 'a@b', 1) RETURNING id"
        )
        cursor.execute("UPDATE department SET manager_id = 1")
        cursor.execute("SELECT is_active, created_at IS NOT NULL FROM employee")
        assert cursor.fetchone() == (True, True)


def test_reserved_words_are_tables(connection: Connection) -> None:
    with connection, connection.cursor() as cursor:
        for domain in ("ecommerce", "generic"):
            create(connection, define(load_domain(domain), table_prefix="fbs_", business_prefix=""), owned=())
        cursor.execute('INSERT INTO "order" (total_amount) VALUES (12.345) RETURNING status, total_amount::text')
        assert cursor.fetchone() == ("pending", "12.35")
        cursor.execute('INSERT INTO "transaction" DEFAULT VALUES RETURNING transaction_date IS NOT NULL')
        assert cursor.fetchone() == (True,)
