"""Human resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fbs_worker.domains.base import Domain, ModuleSelector

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def tables() -> MetaData:
    """Departments and employees; each refers to the other."""
    from sqlalchemy import Boolean, Column, Date, ForeignKey, Integer, MetaData, Numeric, String, Table, Text, text

    metadata = MetaData()
    Table(
        "department",
        metadata,
        Column("name", String(100), unique=True, nullable=False),
        Column("manager_id", Integer, ForeignKey("employee.id")),
        Column("description", Text),
    )
    Table(
        "employee",
        metadata,
        Column("first_name", String(100), nullable=False),
        Column("last_name", String(100), nullable=False),
        Column("email", String(255), unique=True, nullable=False),
        Column("phone", String(20)),
        Column("department_id", Integer, ForeignKey("department.id")),
        Column("position", String(100)),
        Column("hire_date", Date),
        Column("salary", Numeric(10, 2)),
        Column("is_active", Boolean, server_default=text("TRUE")),
    )
    return metadata


DOMAIN = Domain(
    name="hr",
    title="Human resources",
    modules=ModuleSelector(
        names=("hr", "hr_*", "resource*", "payroll", "payroll_*", "*_payroll", "*_payroll_*"),
        categories=("Human Resources*",),
    ),
    tables=tables,
)
