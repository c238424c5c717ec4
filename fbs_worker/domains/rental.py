"""Rental: properties, leases, and the Odoo modules that renting builds on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fbs_worker.domains.base import Domain, ModuleSelector

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def tables() -> MetaData:
    """Properties, tenants, leases, payments and maintenance."""
    from sqlalchemy import Boolean, Column, Date, ForeignKey, Integer, MetaData, Numeric, String, Table, Text, text
    from sqlalchemy.dialects.postgresql import JSONB

    metadata = MetaData()
    Table(
        "property",
        metadata,
        Column("property_name", String(255), nullable=False),
        Column("property_type", String(50)),
        Column("address", Text),
        Column("city", String(100)),
        Column("state", String(50)),
        Column("zip_code", String(20)),
        Column("rent_amount", Numeric(10, 2), nullable=False),
        Column("deposit_amount", Numeric(10, 2)),
        Column("square_feet", Integer),
        Column("bedrooms", Integer),
        Column("bathrooms", Integer),
        Column("is_available", Boolean, server_default=text("TRUE")),
        Column("amenities", JSONB, server_default="{}"),
    )
    Table(
        "tenant",
        metadata,
        Column("first_name", String(100), nullable=False),
        Column("last_name", String(100), nullable=False),
        Column("email", String(255), unique=True, nullable=False),
        Column("phone", String(20)),
        Column("date_of_birth", Date),
        Column("credit_score", Integer),
        Column("employment_status", String(50)),
        Column("employer_name", String(255)),
        Column("annual_income", Numeric(12, 2)),
    )
    Table(
        "lease",
        metadata,
        Column("property_id", Integer, ForeignKey("property.id")),
        Column("tenant_id", Integer, ForeignKey("tenant.id")),
        Column("lease_start_date", Date, nullable=False),
        Column("lease_end_date", Date, nullable=False),
        Column("monthly_rent", Numeric(10, 2), nullable=False),
        Column("security_deposit", Numeric(10, 2)),
        Column("lease_status", String(20), server_default="active"),
        Column("lease_terms", JSONB, server_default="{}"),
    )
    Table(
        "payment",
        metadata,
        Column("lease_id", Integer, ForeignKey("lease.id")),
        Column("tenant_id", Integer, ForeignKey("tenant.id")),
        Column("payment_date", Date, nullable=False),
        Column("payment_amount", Numeric(10, 2), nullable=False),
        Column("payment_type", String(50)),
        Column("payment_status", String(20), server_default="pending"),
        Column("transaction_id", String(255)),
        Column("notes", Text),
    )
    Table(
        "maintenance",
        metadata,
        Column("property_id", Integer, ForeignKey("property.id")),
        Column("tenant_id", Integer, ForeignKey("tenant.id")),
        Column("issue_type", String(100)),
        Column("description", Text),
        Column("priority", String(20), server_default="medium"),
        Column("status", String(20), server_default="open"),
        Column("assigned_to", String(255)),
        Column("estimated_cost", Numeric(10, 2)),
        Column("actual_cost", Numeric(10, 2)),
    )
    return metadata


DOMAIN = Domain(
    name="rental",
    title="Rental",
    modules=ModuleSelector(
        names=(
            "sale_renting*",
            "*rental*",
            "*property*",
            "real_estate*",
            "*lease*",
            *("contract", "contract_*", "product_contract*", "sale_contract*"),
            *("subscription", "subscription_*", "sale_subscription*", "website_sale_subscription*"),
            "*agreement*",
            *("hotel*", "*_hotel", "*_hotel_*"),
            *("pms", "pms_*", "*_pms", "*_pms_*"),
            "sale",
            "sale_management",
            "product",
            "account",
            "contacts",
            "maintenance",
            "repair",
            "calendar",
            "payment",
        )
    ),
    tables=tables,
)
