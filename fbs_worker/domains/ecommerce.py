"""E-commerce: shop, products, payment and delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fbs_worker.domains.base import Domain, ModuleSelector

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def tables() -> MetaData:
    """Products, customers and orders."""
    from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Integer, MetaData, Numeric, String, Table, Text, text

    metadata = MetaData()
    Table(
        "product",
        metadata,
        Column("name", String(255), nullable=False),
        Column("description", Text),
        Column("price", Numeric(10, 2), nullable=False),
        Column("category", String(100)),
        Column("sku", String(100), unique=True),
        Column("stock_quantity", Integer, server_default=text("0")),
        Column("is_active", Boolean, server_default=text("TRUE")),
    )
    Table(
        "customer",
        metadata,
        Column("first_name", String(100), nullable=False),
        Column("last_name", String(100), nullable=False),
        Column("email", String(255), unique=True, nullable=False),
        Column("phone", String(20)),
        Column("address", Text),
    )
    Table(
        "order",
        metadata,
        Column("customer_id", Integer, ForeignKey("customer.id")),
        Column("order_date", DateTime, server_default=text("NOW()")),
        Column("total_amount", Numeric(10, 2), nullable=False),
        Column("status", String(20), server_default="pending"),
        Column("shipping_address", Text),
    )
    return metadata


DOMAIN = Domain(
    name="ecommerce",
    title="E-commerce",
    modules=ModuleSelector(
        names=("website_sale*", "sale*", "product*", "payment*", "delivery*", "*loyalty*", "stock"),
    ),
    tables=tables,
)
