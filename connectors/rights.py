"""What a user may read of an Odoo, section by section, and how long a call takes; of each table one row is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, Final

from fbs_worker.catalogue.model import Section
from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.json2 import JSON2Transport
from fbs_worker.connectors.jsonrpc import OdooRPCTransport
from fbs_worker.connectors.reader import Reader
from fbs_worker.connectors.sections import ACCESS_RIGHTS, DASHBOARD_ADMIN, SETTINGS, Sections
from fbs_worker.connectors.tables import (
    AUTOMATIONS,
    CATEGORIES,
    DASHBOARDS,
    DEPENDENCIES,
    FIELDS,
    MODELS,
    MODULES,
    REPORTS,
    SCHEDULES,
    SELECTIONS,
    TABLES,
    VIEWS,
)
from fbs_worker.core.errors import OdooAccessDenied, OdooModelMissing

_PLAIN: Final = (
    ("views", VIEWS, SETTINGS),
    ("automations", AUTOMATIONS, SETTINGS),
    ("schedules", SCHEDULES, SETTINGS),
    ("reports", REPORTS, SETTINGS),
    ("dashboards", DASHBOARDS, DASHBOARD_ADMIN),
)
"""Sections of one table each, which are denied as a whole."""


def protocol_of(transport: Transport) -> str:
    """The protocol that was chosen, in words."""
    if isinstance(transport, JSON2Transport):
        return "JSON-2"
    if isinstance(transport, OdooRPCTransport):
        return f"odoorpc, {'/jsonrpc' if transport.uses_key else 'web session'}"
    return "recording"


@dataclass(slots=True)
class RightsCheck:
    """Finds which sections a read would have complete, partial or denied. Rows that record rules hide are noticed of
    dashboards alone.

    Args:
        transport: an open transport; the caller closes it.
        lang: the language of labels.
    """

    transport: Transport
    lang: str
    _sections: Sections = field(default_factory=Sections)
    _seconds: list[float] = field(default_factory=list)
    _reads_models: bool = False

    def sections(self) -> Sequence[Section]:
        """The sections and their outcomes, by about a dozen small calls.

        Raises:
            FBSError: a call failed otherwise than by a missing right; see `Transport.call`.
        """
        self._modules()
        self._models()
        self._fields()
        for name, model, needs in _PLAIN:
            error = self._error(model)
            self._sections.complete(name, 0)
            if isinstance(error, OdooAccessDenied):
                self._sections.denied(name, error, needs=needs)
            elif error is None and model == DASHBOARDS:
                self._hidden_dashboards()
        return self._sections.all()

    @property
    def call_ms(self) -> float:
        """The median of the calls' durations, in milliseconds."""
        return round(median(self._seconds) * 1000, 1) if self._seconds else 0.0

    def _modules(self) -> None:
        self._sections.complete("modules", 0)
        denied = self._denied(MODULES, without=("dependencies_id", "category_id"))
        if denied is not None:
            self._sections.denied("modules", denied, needs=SETTINGS)
            return
        parts = {"dependencies": self._denied(DEPENDENCIES), "categories": self._denied(CATEGORIES)}
        missing = {name: exc for name, exc in parts.items() if exc is not None}
        if missing:
            groups = {group for exc in missing.values() for group in exc.context.get("groups") or ()}
            detail = f"without their {' and '.join(missing)}, which this user may not read"
            self._sections.partial("modules", needs=" or ".join(sorted(groups)) or SETTINGS, detail=detail)

    def _models(self) -> None:
        self._sections.complete("models", 0)
        denied = self._denied(MODELS, without=("modules",))
        self._reads_models = denied is None
        if denied is None:
            if self._denied(MODELS) is not None:  # Odoo 14 and 15 have the modules' rights there
                detail = "of any module: this user may not read the modules"
                self._sections.partial("models", needs=SETTINGS, detail=detail)
            return
        listed = partial(self.transport.call, MODELS, "get_available_models", context={"lang": self.lang})
        if self._refused(listed) is None:
            detail = "only the models that this user may read, of any module"
            self._sections.partial("models", needs=ACCESS_RIGHTS, detail=detail)
        else:
            self._sections.denied("models", denied, needs=ACCESS_RIGHTS)

    def _fields(self) -> None:
        self._sections.complete("fields", 0)
        if self._denied(FIELDS, without=("modules",)) or self._denied(SELECTIONS):
            detail = "from fields_get: without index, deletion rule and modules"
            self._sections.partial("fields", needs=ACCESS_RIGHTS, detail=detail)

    def _hidden_dashboards(self) -> None:
        """Each user sees the dashboards of the own groups; who may read `ir.model` can count the others."""
        reader = Reader(self.transport, page_size=1, lang=self.lang)
        detail = "record rules may hide rows from this user: each sees the dashboards of the own groups"
        if self._reads_models:
            counted = self.transport.call(MODELS, "search_read", domain=[("model", "=", DASHBOARDS)], fields=["count"])
            total = counted[0]["count"] if counted else 0
            hidden = total - int(reader.aggregate(DASHBOARDS, [])["count"])
            detail = f"record rules hide {hidden} of {total} rows from this user" if hidden > 0 else ""
        if detail:
            self._sections.partial("dashboards", needs=DASHBOARD_ADMIN, detail=detail)

    def _denied(self, model: str, *, without: Sequence[str] = ()) -> OdooAccessDenied | None:
        """The error of reading a row of a table; None where it is readable or the server has no such table."""
        error = self._error(model, without=without)
        return error if isinstance(error, OdooAccessDenied) else None

    def _error(self, model: str, *, without: Sequence[str] = ()) -> OdooAccessDenied | OdooModelMissing | None:
        """The error of reading a row of a table, if any."""
        table = TABLES[model]
        columns = [column for column in table.columns if column not in without]
        reader = Reader(self.transport, page_size=1, lang=self.lang)
        return self._refused(lambda: next(reader.pages(model, table.domain, columns)))

    def _refused(self, call: Callable[[], Any]) -> OdooAccessDenied | OdooModelMissing | None:
        began = time.perf_counter()
        try:
            call()
        except (OdooAccessDenied, OdooModelMissing) as exc:
            return exc
        finally:
            self._seconds.append(time.perf_counter() - began)
        return None
