"""Human resources."""

from fbs_worker.domains.base import Domain, ModuleSelector

DOMAIN = Domain(
    name="hr",
    title="Human resources",
    modules=ModuleSelector(names=("hr", "hr_*", "resource*"), categories=("Human Resources*",)),
)
