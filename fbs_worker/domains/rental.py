"""Rental: property, leases, and what renting stands on in Odoo."""

from fbs_worker.domains.base import Domain, ModuleSelector

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
)
