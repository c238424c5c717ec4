"""E-commerce: shop, products, payment and delivery."""

from fbs_worker.domains.base import Domain, ModuleSelector

DOMAIN = Domain(
    name="ecommerce",
    title="E-commerce",
    modules=ModuleSelector(
        names=("website_sale*", "sale*", "product*", "payment*", "delivery*", "*loyalty*", "stock"),
    ),
)
