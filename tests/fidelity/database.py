"""Odoo's own database, asked by SQL: what is there to discover. Columns that only some versions have are looked up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Final

import psycopg2

from fbs_worker.domains import ModuleSelector

Facts = dict[str, Any]

LANGUAGE: Final = "en_US"


def filled(facts: Mapping[str, Any]) -> Facts:
    """Facts without empty values, as the catalogue keeps them."""
    return {key: value for key, value in facts.items() if value not in (None, False, "", 0, [], {}, ())}


class Database:
    """The database of one Odoo, read only.

    Args:
        connection: a connection of psycopg2.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    @cached_property
    def columns(self) -> dict[tuple[str, str], str]:
        """The types of all columns."""
        return {
            (table, column): kind
            for table, column, kind in self.ask(
                "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
            )
        }

    def has(self, table: str, column: str = "id") -> bool:
        """Whether a table has a column."""
        return (table, column) in self.columns

    def text(self, table: str, column: str, alias: str) -> str:
        """SQL for a translated column in English: JSON since Odoo 16, before it a text that a translation may replace."""
        if self.columns.get((table, column)) == "jsonb":
            return f"{alias}.{column}->>'{LANGUAGE}'"
        if not self.has("ir_translation"):
            return f"{alias}.{column}"
        model = table.replace("ir_act_server", "ir_actions_server").replace("ir_act_report_xml", "ir_actions_report")
        return f"""coalesce((SELECT nullif(t.value, '') FROM ir_translation t WHERE t.type = 'model' AND t.lang = '{LANGUAGE}'
            AND t.name = '{model.replace("_", ".")},{column}' AND t.res_id = {alias}.id), {alias}.{column})"""

    def optional(self, table: str, column: str, alias: str) -> str:
        """SQL for a column that not every version has."""
        return f"{alias}.{column}" if self.has(table, column) else "NULL"

    @cached_property
    def xml_ids(self) -> dict[tuple[str, int], str]:
        """External names by model and id: the first one, as `get_external_id` answers."""
        rows = self.ask("SELECT model, res_id, module || '.' || name FROM ir_model_data ORDER BY id DESC")
        return {(model, number): name for model, number, name in rows}

    @cached_property
    def action_names(self) -> dict[str, str]:
        """External names of actions by id, each asked for by the action's own type."""
        rows = self.ask("SELECT id, type FROM ir_actions")
        names = {str(number): self.xml_ids.get((kind, number)) for number, kind in rows}
        return {number: name for number, name in names.items() if name}

    # modules

    @cached_property
    def modules(self) -> dict[str, Facts]:
        """All modules by name."""
        rows = self.ask(
            f"""
            WITH RECURSIVE path(id, text) AS (
                SELECT id, {self.text("ir_module_category", "name", "c")} FROM ir_module_category c WHERE parent_id IS NULL
                UNION ALL
                SELECT c.id, path.text || ' / ' || ({self.text("ir_module_category", "name", "c")})
                FROM ir_module_category c JOIN path ON c.parent_id = path.id
            )
            SELECT m.name, {self.text("ir_module_module", "shortdesc", "m")}, m.state, m.latest_version, path.text, m.application,
                m.author, m.license, m.website,
                (SELECT array_agg(DISTINCT d.name::text) FROM ir_module_module_dependency d WHERE d.module_id = m.id),
                m.state IN ('installed', 'to upgrade') AND m.name <> 'base' AND EXISTS (
                    SELECT FROM ir_ui_menu u JOIN ir_model_data d ON d.model = 'ir.ui.menu' AND d.res_id = u.id
                    WHERE u.parent_id IS NULL AND d.module = m.name)
            FROM ir_module_module m LEFT JOIN path ON path.id = m.category_id
            """
        )
        keys = (
            "title",
            "state",
            "version",
            "category",
            "application",
            "author",
            "license",
            "website",
            "depends",
            "menu",
        )
        modules = {name: dict(zip(keys, values, strict=True)) for name, *values in rows}
        for facts in modules.values():
            facts["depends"] = sorted(facts["depends"] or ())
        return modules

    def is_installed(self, name: str) -> bool:
        """Whether a module is installed."""
        return name in self.modules and self.modules[name]["state"] in {"installed", "to upgrade"}

    def roles(self, selector: ModuleSelector) -> dict[str, str]:
        """The role of each module of a domain: `core`, or `dependency` of an installed core module."""
        core = {
            name
            for name, facts in self.modules.items()
            if not any(fnmatchcase(name, glob) for glob in selector.excluded)
            and (
                (selector.applications and (facts["application"] or facts["menu"]))
                or any(fnmatchcase(name, glob) for glob in selector.names)
                or any(fnmatchcase(facts["category"] or "", glob) for glob in selector.categories)
            )
        }
        needed, waiting = set[str](), [name for name in core if self.is_installed(name)]
        while waiting:
            for name in self.modules.get(waiting.pop(), {}).get("depends", ()):
                if name not in needed:
                    needed.add(name)
                    waiting.append(name)
        return dict.fromkeys(needed & self.modules.keys(), "dependency") | dict.fromkeys(core, "core")

    # models and fields

    @cached_property
    def models(self) -> dict[str, Facts]:
        """All models by name; `modules` in the order in which they contribute."""
        rows = self.ask(
            f"""
            SELECT m.model, {self.text("ir_model", "name", "m")}, m.transient, {self.optional("ir_model", "abstract", "m")}, m.state = 'manual',
                (SELECT array_agg(d.module::text ORDER BY d.id) FROM ir_model_data d WHERE d.model = 'ir.model' AND d.res_id = m.id)
            FROM ir_model m
            """
        )
        return {
            model: {
                "title": title,
                "transient": transient,
                "abstract": abstract,
                "manual": manual,
                "modules": list(dict.fromkeys(modules or ())),
            }
            for model, title, transient, abstract, manual, modules in rows
        }

    def models_of(self, selector: ModuleSelector) -> set[str]:
        """The models that an installed core module of a domain defines or extends."""
        core = {name for name, role in self.roles(selector).items() if role == "core" and self.is_installed(name)}
        return {
            model
            for model, facts in self.models.items()
            if core.intersection(facts["modules"]) or (selector.applications and facts["manual"])
        }

    @cached_property
    def fields(self) -> dict[str, dict[str, Facts]]:
        """All fields by model and name."""
        columns = {
            "type": "f.ttype", "label": self.text("ir_model_fields", "field_description", "f"), "required": "f.required",
            "readonly": "f.readonly", "stored": "f.store", "indexed": "f.index", "size": "f.size", "relation": "f.relation",
            "relation_field": "f.relation_field", "on_delete": "f.on_delete", "translate": "f.translate",
            "company_dependent": self.optional("ir_model_fields", "company_dependent", "f"),
            "currency_field": self.optional("ir_model_fields", "currency_field", "f"),
        }  # fmt: skip
        rows = self.ask(
            f"""
            WITH RECURSIVE walk(id, model, path, turns) AS (
                SELECT id, model, string_to_array(related, '.'), 0 FROM ir_model_fields WHERE related <> ''
                UNION ALL
                SELECT w.id, CASE WHEN cardinality(w.path) > 1 THEN n.relation ELSE w.model END,
                    CASE WHEN cardinality(w.path) > 1 THEN w.path[2:] ELSE string_to_array(n.related, '.') END, w.turns + 1
                FROM walk w JOIN ir_model_fields n ON n.model = w.model AND n.name = w.path[1]
                WHERE (cardinality(w.path) > 1 OR n.related <> '') AND w.turns < 50
            ), source AS (
                SELECT w.id, n.id AS values_of FROM walk w JOIN ir_model_fields n ON n.model = w.model AND n.name = w.path[1]
                WHERE cardinality(w.path) = 1 AND coalesce(n.related, '') = ''
            ), named AS (
                SELECT res_id, array_agg(DISTINCT module::text) AS modules FROM ir_model_data WHERE model = 'ir.model.fields' GROUP BY 1
            ), listed AS (
                SELECT s.field_id, json_agg(json_build_array(s.value, {self.text("ir_model_fields_selection", "name", "s")}) ORDER BY s.sequence, s.id) AS values
                FROM ir_model_fields_selection s GROUP BY 1
            )
            SELECT f.id, f.model, f.name, {", ".join(columns.values())}, named.modules, listed.values
            FROM ir_model_fields f LEFT JOIN source ON source.id = f.id LEFT JOIN named ON named.res_id = f.id
                LEFT JOIN listed ON listed.field_id = coalesce(source.values_of, f.id)
            """
        )
        self.field_names = {number: name for number, _, name, *_ in rows}
        fields: dict[str, dict[str, Facts]] = {}
        for _, model, name, *values in rows:
            facts = filled(dict(zip((*columns, "modules", "selection"), values, strict=True)))
            if "modules" in facts:
                facts["modules"].sort()
            fields.setdefault(model, {})[name] = facts
        return fields

    field_names: Mapping[int, str]
    """Names of fields by id; there after `fields`."""

    # views, groups

    def primary_views(self, kinds: Collection[str], models: Iterable[str]) -> list[tuple[int, str, str, str]]:
        """The primary views: id, name, model, type."""
        return [
            (number, name, model, kind)
            for number, name, model, kind in self.ask(
                "SELECT id, name, model, type FROM ir_ui_view WHERE active AND mode = 'primary' AND type = ANY(%s) AND model = ANY(%s) ORDER BY id",
                list(kinds),
                sorted(models),
            )
        ]

    @cached_property
    def default_forms(self) -> dict[str, int]:
        """The form that each model is shown in, in the order of `ir.ui.view`."""
        rows = self.ask(
            "SELECT DISTINCT ON (model) model, id FROM ir_ui_view WHERE active AND type = 'form' AND mode = 'primary'"
            " ORDER BY model, priority, name, id"
        )
        return dict(rows)

    def is_limited(self, view: int) -> bool:
        """Whether a view, or one that it starts from, has extensions for some groups only (Odoo 14 to 18)."""
        ((found,),) = self.ask(
            """
            WITH RECURSIVE above(id, parent) AS (
                SELECT id, inherit_id FROM ir_ui_view WHERE id = %s
                UNION SELECT v.id, v.inherit_id FROM ir_ui_view v JOIN above ON v.id = above.parent
            ), below(id) AS (
                SELECT id FROM above
                UNION SELECT v.id FROM ir_ui_view v JOIN below ON v.inherit_id = below.id WHERE v.active AND v.mode = 'extension'
            )
            SELECT EXISTS (SELECT FROM below JOIN ir_ui_view v ON v.id = below.id AND v.mode = 'extension'
                JOIN ir_ui_view_group_rel g ON g.view_id = v.id)
            """,
            view,
        )
        return bool(found)

    def groups_of(self, login: str) -> set[str]:
        """External names of a user's groups, with those that they imply."""
        rows = self.ask(
            """
            WITH RECURSIVE mine(id) AS (
                SELECT r.gid FROM res_groups_users_rel r JOIN res_users u ON u.id = r.uid WHERE u.login = %s
                UNION SELECT i.hid FROM res_groups_implied_rel i JOIN mine ON mine.id = i.gid
            ) SELECT id FROM mine
            """,
            login,
        )
        return {self.xml_ids.get(("res.groups", number), f"res.groups.{number}") for (number,) in rows}

    # automations, schedules, reports, dashboards

    def _linked(self, model: str, name: str) -> dict[int, list[int]]:
        """The links of a many2many field, by the ids of its records."""
        found = self.ask(
            "SELECT relation_table, column1, column2 FROM ir_model_fields WHERE model = %s AND name = %s AND relation_table IS NOT NULL",
            model,
            name,
        )
        linked: dict[int, list[int]] = {}
        for table, mine, theirs in found:
            for number, other in self.ask(f'SELECT "{mine}", "{theirs}" FROM "{table}"'):
                linked.setdefault(number, []).append(other)
        return linked

    def automations(self) -> dict[str, list[Facts]]:
        """The automation rules by model."""
        table = "base_automation"
        if not self.has(table):
            return {}
        _ = self.fields
        delegated = self.has(table, "action_server_id")  # up to 16 a rule is a server action itself
        rule = "s" if delegated else "b"
        rows = self.ask(
            f"""
            SELECT b.id, m.model, {self.text("ir_act_server" if delegated else table, "name", rule)}, b.trigger, b.filter_domain,
                b.filter_pre_domain, b.active, b.trg_date_id, b.trg_date_range, b.trg_date_range_type,
                {self.optional(table, "trg_date_range_mode", "b")}, {"s.state" if delegated else "NULL"},
                {"NULL" if delegated else f"(SELECT array_agg({self.text('ir_act_server', 'name', 'a')}) FROM ir_act_server a WHERE a.base_automation_id = b.id)"}
            FROM base_automation b {"JOIN ir_act_server s ON s.id = b.action_server_id" if delegated else ""}
                JOIN ir_model m ON m.id = {rule}.model_id
            """
        )
        changed, watched = (
            self._linked("base.automation", "on_change_field_ids"),
            self._linked("base.automation", "trigger_field_ids"),
        )
        rules: dict[str, list[Facts]] = {}
        for number, model, name, trigger, domain, before, active, date, delay, unit, mode, state, actions in rows:
            timed = (trigger or "").startswith("on_time")
            numbers = (changed if trigger == "on_change" else watched).get(number, ())
            facts = {
                "name": name, "trigger": trigger, "filter": domain, "filter_before": before, "active": active,
                "date_field": timed and self.field_names.get(date), "delay": timed and delay,
                "delay_unit": timed and delay and unit, "delay_mode": timed and delay and mode,
                "trigger_fields": sorted(self.field_names[one] for one in numbers), "action": sorted(actions or ()) or state,
            }  # fmt: skip
            rules.setdefault(model, []).append(filled(facts))
        return rules

    def schedules(self) -> dict[str, list[Facts]]:
        """The scheduled actions by model."""
        rows = self.ask(
            f"""
            SELECT m.model, {self.text("ir_act_server", "name", "s")}, c.interval_number, c.interval_type, c.active
            FROM ir_cron c JOIN ir_act_server s ON s.id = c.ir_actions_server_id JOIN ir_model m ON m.id = s.model_id
            """
        )
        found: dict[str, list[Facts]] = {}
        for model, name, every, unit, active in rows:
            found.setdefault(model, []).append(filled({"name": name, "every": every, "unit": unit, "active": active}))
        return found

    def reports(self, models: Collection[str]) -> dict[str, Facts]:
        """The printed reports of models, by external name."""
        rows = self.ask(
            f"""
            SELECT r.id, {self.text("ir_act_report_xml", "name", "r")}, r.model, r.report_type, r.report_name
            FROM ir_act_report_xml r WHERE r.model = ANY(%s)
            """,
            sorted(models),
        )
        return {
            self.xml_ids.get(("ir.actions.report", number), f"{template}.{number}"): filled(
                {"title": title, "model": model, "report_type": kind, "template": template}
            )
            for number, title, model, kind, template in rows
        }

    def dashboards(self, selector: ModuleSelector) -> dict[str, Facts]:
        """The spreadsheet dashboards of a domain, by external name: by their models, their module or their group."""
        if not self.has("spreadsheet_dashboard"):
            return {}
        of_domain = self.models_of(selector)
        core = {name for name, role in self.roles(selector).items() if role == "core" and self.is_installed(name)}
        by_id = dict(self.ask("SELECT id, model FROM ir_model"))
        shown = self._linked("spreadsheet.dashboard", "main_data_model_ids")
        found = {}
        for number, title, group in self.ask(
            f"SELECT d.id, {self.text('spreadsheet_dashboard', 'name', 'd')}, d.dashboard_group_id FROM spreadsheet_dashboard d"
        ):
            name = self.xml_ids.get(("spreadsheet.dashboard", number), f"spreadsheet.dashboard.{number}")
            group_name = self.xml_ids.get(("spreadsheet.dashboard.group", group), "")
            models = [by_id[one] for one in shown.get(number, ())]
            module = name.partition(".")[0]
            after = "spreadsheet_dashboard_group_"
            near = {
                module, group_name.partition(".")[0], module.removeprefix("spreadsheet_dashboard_"),
                group_name.partition(".")[2].removeprefix(after), *self.modules.get(module, {}).get("depends", ()),
            }  # fmt: skip
            near = near & self.modules.keys() - {"spreadsheet", "spreadsheet_dashboard"}
            if of_domain.intersection(models) or near & core or not (near or models):
                facts = {"title": title, "models": sorted(of_domain.intersection(models)), "group": group_name}
                found[name] = filled(facts)
        return found


@contextmanager
def opened(dsn: str) -> Iterator[Database]:
    """Connect for reading only."""
    connection = psycopg2.connect(dsn)
    connection.set_session(readonly=True, autocommit=True)
    try:
        yield Database(connection)
    finally:
        connection.close()
