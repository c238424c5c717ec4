"""Generic: every application, and the models that people made by hand."""

from fbs_worker.domains.base import Domain, ModuleSelector

DOMAIN = Domain(name="generic", title="Generic", modules=ModuleSelector(applications=True))
