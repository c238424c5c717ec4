"""Normaliser: convert rows of Odoo to discoveries. Pure; equal rows give byte-identical discoveries.

Keys are snake_case. Lists are sorted, except where Odoo's order is meaningful (states, selection values). Empty values
(None, false, zero, empty lists and texts) are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fbs_worker.catalogue.model import Discovery, DiscoveryType
from fbs_worker.connectors.modules import Module, ModuleGraph, split_names
from fbs_worker.connectors.reader import Row, related_id
from fbs_worker.connectors.transitions import Form, transitions
from fbs_worker.connectors.views import View, Views, chart

STATE_TYPES: Final = frozenset({"selection", "many2one"})
"""Field types of a workflow's status bar: states are values of a selection, stages are records."""


def compact(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a dictionary without its empty values."""
    return {key: value for key, value in values.items() if value not in (None, False, "", 0, [], {}, ())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Normaliser:
    """Creates the discoveries of one domain and server.

    Attributes:
        domain: the domain's name.
        source: the server: URL without credentials, database, series.
    """

    domain: str
    source: Mapping[str, str]

    def module(self, module: Module, role: str, incomplete: Sequence[str], *, why: str = "") -> Discovery:
        """Convert a module, installed or not, with its role in the domain and why it is a core module."""
        facts = {
            "title": module.title,
            "state": module.state,
            "role": role,
            "selected_by": why,
            "category": module.category,
            "application": module.application,
            "depends": list(module.depends),
            "author": module.author,
            "license": module.license,
            "website": module.website,
        }
        return self._row(DiscoveryType.MODULE, module.name, facts, None, incomplete, version=module.version)

    def model(
        self,
        row: Row,
        fields: Iterable[Row],
        selections: Mapping[int, Sequence[Row]],
        graph: ModuleGraph,
        incomplete: Sequence[str],
    ) -> Discovery:
        """Convert a model with its fields.

        Args:
            row: its row of `ir.model`.
            fields: its rows of `ir.model.fields`.
            selections: rows of `ir.model.fields.selection` by the field's id.
            graph: finds the module that defines the model.
            incomplete: incomplete sections that models are derived from.

        Returns:
            The discovery.
        """
        modules = split_names(row.get("modules"))
        defined_by = graph.definer(modules) if modules else ""
        facts = {
            "title": row.get("name"),
            "defined_by": defined_by,
            "extended_by": [name for name in modules if name != defined_by] if defined_by else [],
            "transient": row.get("transient"),
            "abstract": row.get("abstract"),
            "manual": row.get("state") == "manual",
        }
        described = {field["name"]: field_definition(field, selections.get(field["id"], ())) for field in fields}
        return self._row(
            DiscoveryType.MODEL, row["model"], facts, {"fields": dict(sorted(described.items()))}, incomplete
        )

    def workflow(
        self, model: str, title: str, definition: Mapping[str, Any], incomplete: Sequence[str]
    ) -> Discovery | None:
        """Convert a workflow; None for a model without states, stages and automations."""
        compacted = compact(definition)
        if not compacted:
            return None
        return self._row(DiscoveryType.WORKFLOW, model, {"title": title}, compacted, incomplete)

    def charts(self, views: Views, model: str, fields: Iterable[Row], incomplete: Sequence[str]) -> Iterable[Discovery]:
        """Convert the graphs and pivots of a model."""
        types = {field["name"]: field["ttype"] for field in fields}
        for kind in ("graph", "pivot"):
            for view in views.primaries(model, kind):
                tree = views.combined(view)
                if tree is not None:
                    facts = {"title": tree.get("string") or view.name, "view": view.name}
                    definition = {"kind": kind, "model": model, **chart(tree, types)}
                    lacks = lacking(views, view, incomplete)
                    yield self._row(DiscoveryType.BI_FEATURE, _view_name(view), facts, definition, lacks)

    def report(self, row: Row, incomplete: Sequence[str]) -> Discovery:
        """Convert a printed report."""
        definition = compact(
            {
                "kind": "report",
                "model": row.get("model"),
                "report_type": row.get("report_type"),
                "template": row.get("report_name"),
            }
        )
        name = row.get("xml_id") or f"{row.get('report_name')}.{row['id']}"
        return self._row(DiscoveryType.BI_FEATURE, name, {"title": row.get("name")}, definition, incomplete)

    def dashboard(self, row: Row, models: Sequence[str], incomplete: Sequence[str]) -> Discovery:
        """Convert a spreadsheet dashboard."""
        definition = compact({"kind": "dashboard", "models": sorted(models), "group": row.get("group_xml_id")})
        name = row.get("xml_id") or f"spreadsheet.dashboard.{row['id']}"
        return self._row(DiscoveryType.BI_FEATURE, name, {"title": row.get("name")}, definition, incomplete)

    def _row(
        self,
        kind: DiscoveryType,
        name: str,
        facts: Mapping[str, Any],
        definition: Mapping[str, Any] | None,
        incomplete: Sequence[str],
        *,
        version: str | None = None,
    ) -> Discovery:
        metadata = compact({**facts, "incomplete": sorted(incomplete)}) | {"source": dict(self.source)}
        return Discovery(
            discovery_type=kind,
            domain=self.domain,
            name=name,
            version=version,
            metadata=metadata,
            schema_definition=definition,
        )


_FIELD_FACTS: Final = (
    ("label", "field_description"),
    ("required", "required"),
    ("readonly", "readonly"),
    ("stored", "store"),
    ("indexed", "index"),
    ("size", "size"),
    ("digits", "digits"),
    ("relation", "relation"),
    ("relation_field", "relation_field"),
    ("on_delete", "on_delete"),
    ("currency_field", "currency_field"),
    ("translate", "translate"),
    ("company_dependent", "company_dependent"),
)


def field_definition(row: Row, selections: Sequence[Row]) -> dict[str, Any]:
    """Convert a row of `ir.model.fields` with its selection values, in their order."""
    definition: dict[str, Any] = {"type": row["ttype"]}
    # an explicit loop, for speed: a large server has a million fields
    for key, column in _FIELD_FACTS:
        value = row.get(column)
        if value:
            definition[key] = value
    if selections:
        ordered = sorted(selections, key=lambda value: (value.get("sequence") or 0, value["id"]))
        definition["selection"] = [[value["value"], value["name"]] for value in ordered]
    modules = row.get("modules")
    if modules:
        definition["modules"] = split_names(modules)
    return definition


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFacts:
    """Inputs of workflow definitions besides the fields.

    Attributes:
        forms: default forms with a header or a status bar, by model; None where the user may not read views.
        action_names: external names of the actions that buttons open, by the id in the button's `name`.
        automations: rows of `base.automation` by model.
        schedules: rows of `ir.cron` by model.
    """

    forms: Mapping[str, Form] | None
    action_names: Mapping[str, str]
    automations: Mapping[str, Sequence[Row]]
    schedules: Mapping[str, Sequence[Row]]


def workflow_definition(
    model: str, fields: Iterable[Row], selections: Mapping[int, Sequence[Row]], facts: WorkflowFacts
) -> dict[str, Any]:
    """Derive the states, transitions, automations and schedules of a model.

    The state field is the first status bar of the model's default form; without one, a selection named `state` if the
    form's header has buttons, or its body some that depend on it. A selection provides the states; a relation to stages
    does not, since stages are data. Where views are not readable, a selection named `state` provides the states only.

    Args:
        model: technical name of the model.
        fields: its rows of `ir.model.fields`.
        selections: rows of `ir.model.fields.selection` by the field's id.
        facts: forms, action names, automations and schedules.

    Returns:
        The definition; its values may be empty.

    Raises:
        ArchError: the form has too many buttons and states.
    """
    by_name = {field["name"]: field for field in fields}
    definition: dict[str, Any] = {}
    form = Form() if facts.forms is None else facts.forms.get(model)
    if form is not None:
        definition.update(_states_and_transitions(form, by_name, selections, facts))
    names = {field["id"]: field["name"] for field in by_name.values()}
    automations = [_automation(row, names) for row in facts.automations.get(model, ())]
    definition["automations"] = sorted(automations, key=lambda automation: sorted(map(str, automation.items())))
    schedules = [_schedule(row) for row in facts.schedules.get(model, ())]
    definition["schedules"] = sorted(schedules, key=lambda schedule: schedule["name"])
    return definition


def _states_and_transitions(
    form: Form, by_name: Mapping[str, Row], selections: Mapping[int, Sequence[Row]], facts: WorkflowFacts
) -> dict[str, Any]:
    bars = [(name, shown) for name, shown in form.statusbars if name in by_name]
    state_field, shown = next(
        ((name, shown) for name, shown in bars if by_name[name]["ttype"] in STATE_TYPES), ("", ())
    )
    if (
        not state_field
        and (form.buttons or facts.forms is None)
        and by_name.get("state", {}).get("ttype") == "selection"
    ):
        state_field = "state"
    if not state_field:
        return {}
    in_body_only = not bars and facts.forms is not None and all(button.place for button in form.buttons)
    values: list[list[str]] = []
    if by_name[state_field]["ttype"] == "selection":
        definition = field_definition(by_name[state_field], selections.get(by_name[state_field]["id"], ()))
        values = definition.get("selection", [])
    visible = frozenset(shown)
    states = [
        {"value": value, **compact({"label": label, "shown": not shown or value in visible})} for value, label in values
    ]
    found = transitions(
        form.buttons,
        state_field=state_field,
        states=[value for value, _ in values],
        names=facts.action_names,
        booleans={name for name, field in by_name.items() if field["ttype"] == "boolean"},
    )
    return {"state_field": state_field, "states": states, "transitions": found} if found or not in_body_only else {}


def _automation(row: Row, names: Mapping[int, str]) -> dict[str, Any]:
    """Convert an automation rule; `names` has the model's fields by id.

    A rule by time has its date field and delay: negative, or in Odoo 19 of mode `before`, where it runs earlier.
    """
    timed = str(row.get("trigger") or "").startswith("on_time")
    watched = "on_change_field_ids" if row.get("trigger") == "on_change" else "trigger_field_ids"
    delay = {
        "date_field": names.get(related_id(row.get("trg_date_id")) or 0),
        "delay": row.get("trg_date_range"),
        "delay_unit": row.get("trg_date_range") and row.get("trg_date_range_type"),
        "delay_mode": row.get("trg_date_range") and row.get("trg_date_range_mode"),
    }
    actions = [item["name"] for item in row.get("action_server_ids") or () if isinstance(item, Mapping)]
    return compact(
        {
            "name": row.get("name"),
            "trigger": row.get("trigger"),
            **(delay if timed else {}),
            "trigger_fields": sorted(names[number] for number in row.get(watched) or () if number in names),
            "filter": row.get("filter_domain"),
            "filter_before": row.get("filter_pre_domain"),
            "action": sorted(actions) or row.get("state"),
            "active": row.get("active"),
        }
    )


def _schedule(row: Row) -> dict[str, Any]:
    return compact(
        {
            "name": row.get("name"),
            "every": row.get("interval_number"),
            "unit": row.get("interval_type"),
            "active": row.get("active"),
        }
    )


def lacking(views: Views | None, view: View | None, incomplete: Sequence[str]) -> list[str]:
    """The sections that a row lacks: where only single views are broken, `views` for the rows of these views alone."""
    if views is None:
        return list(incomplete)
    is_whole = view is None or view.id not in views.lacking
    return [name for name in incomplete if name != "views"] + ([] if is_whole else ["views"])


def _view_name(view: View) -> str:
    return view.xml_id or f"{view.model}.{view.kind}.{view.id}"
