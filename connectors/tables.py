"""The tables of Odoo that are read, with their columns.

Optional columns exist only in some versions from 14 to 19 and are read where the server has them.
Measured differences: `ir.model.abstract`, `ir.model.fields.company_dependent`, `.currency_field` and
`spreadsheet.dashboard` are on 19.0 and not on 14.0; `base.automation` exists where its module is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MODULES: Final = "ir.module.module"
DEPENDENCIES: Final = "ir.module.module.dependency"
CATEGORIES: Final = "ir.module.category"
MODELS: Final = "ir.model"
FIELDS: Final = "ir.model.fields"
SELECTIONS: Final = "ir.model.fields.selection"
VIEWS: Final = "ir.ui.view"
REPORTS: Final = "ir.actions.report"
XML_IDS: Final = "ir.model.data"
SERVER_ACTIONS: Final = "ir.actions.server"
AUTOMATIONS: Final = "base.automation"
SCHEDULES: Final = "ir.cron"
DASHBOARDS: Final = "spreadsheet.dashboard"
DASHBOARD_GROUPS: Final = "spreadsheet.dashboard.group"

GROUPS: Final = "res.groups"
NOT_ACTIONS: Final = (
    GROUPS,
    DASHBOARDS,
    DASHBOARD_GROUPS,
    "ir.actions.act_window.view",
    "ir.actions.todo",
    "ir.actions.server.history",
)
"""Models that are no actions, with ids of their own: all others share the ids of `ir.actions.actions`."""

VIEW_TYPES: Final = ("form", "graph", "pivot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of Odoo and the columns to read.

    Attributes:
        model: technical name of its model.
        columns: columns of every version.
        optional: columns to read where the server has them.
        domain: filter of rows.
        archived: whether to include archived rows.
        untranslated: read in English whatever the language of labels: what is selected by it must not depend on that.
        recorded: further columns of a recording, needed to replay domains that a server evaluates itself.
        relations: columns of related tables to nest, by relational column.
    """

    model: str
    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()
    domain: tuple[Any, ...] = ()
    archived: bool = False
    untranslated: bool = False
    recorded: tuple[str, ...] = ()
    relations: Mapping[str, tuple[str, ...]] | None = None


def _names(*texts: str) -> tuple[str, ...]:
    return tuple(name for text in texts for name in text.split())


TABLES: Final[Mapping[str, Table]] = {
    table.model: table
    for table in (
        Table(
            model=MODULES,
            columns=_names(
                "name shortdesc state installed_version latest_version application author license website write_date",
                "category_id dependencies_id menus_by_module",
            ),
        ),
        Table(model=DEPENDENCIES, columns=("name", "module_id")),
        Table(model=CATEGORIES, columns=("name", "parent_id"), untranslated=True),
        Table(model=MODELS, columns=_names("model name modules transient state write_date"), optional=("abstract",)),
        Table(
            model=FIELDS,
            columns=_names(
                "model name field_description ttype required readonly store index size relation relation_field",
                "on_delete translate modules write_date",
            ),
            optional=("currency_field", "company_dependent"),
            recorded=("model_id", "related"),
        ),
        Table(model=SELECTIONS, columns=_names("field_id value name sequence write_date")),
        Table(
            model=VIEWS,
            columns=_names("name model type arch_db inherit_id mode priority xml_id write_date"),
            optional=("groups_id",),
            domain=(("type", "in", list(VIEW_TYPES)),),
        ),
        Table(model=REPORTS, columns=_names("name model report_type report_name xml_id write_date")),
        Table(
            model=XML_IDS,
            columns=_names("model module name res_id"),
            domain=("|", ("model", "=like", "ir.actions.%"), ("model", "in", [GROUPS, DASHBOARDS, DASHBOARD_GROUPS])),
        ),
        Table(
            model=AUTOMATIONS,
            columns=_names("name model_name trigger filter_domain filter_pre_domain active write_date"),
            optional=_names(
                "action_server_ids state trg_date_id trg_date_range trg_date_range_type trg_date_range_mode",
                "trigger_field_ids on_change_field_ids",
            ),
            archived=True,
            relations={"action_server_ids": ("name", "state", "write_date")},
        ),
        Table(model=SERVER_ACTIONS, columns=("name", "state", "write_date"), optional=("base_automation_id",)),
        Table(
            model=SCHEDULES,
            columns=_names("name model_name interval_number interval_type active write_date ir_actions_server_id"),
            archived=True,
            relations={"ir_actions_server_id": ("write_date",)},
        ),
        Table(
            model=DASHBOARDS,
            columns=("name", "write_date"),
            optional=("main_data_model_ids", "dashboard_group_id"),
        ),
    )
}

COUNTED: Final = (
    MODULES,
    MODELS,
    FIELDS,
    SELECTIONS,
    VIEWS,
    REPORTS,
    SERVER_ACTIONS,
    AUTOMATIONS,
    SCHEDULES,
    DASHBOARDS,
)
"""Tables whose row count is part of a fingerprint."""

DESCRIBED: Final[Mapping[str, str]] = {"ttype": "type", "field_description": "string"} | {
    name: name
    for name in _names(
        "required readonly store size digits relation relation_field currency_field translate company_dependent"
    )
}
"""Columns of `ir.model.fields`, and the attributes of `fields_get` that say the same of the fields of one model; only
`fields_get` has `digits`."""
