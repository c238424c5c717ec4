"""The comparison, section by section."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from fbs_worker.catalogue.model import Discovery, DiscoveryType, SectionStatus, Snapshot
from fbs_worker.domains import Domain
from tests.fidelity import views
from tests.fidelity.conditions import GROUP, Condition, Names, assignments, expression, members
from tests.fidelity.database import Database, Facts, filled
from tests.fidelity.views import Key, Server

MAX_SHOWN: Final = 300
"""Maximum length of a fact in a difference."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What the comparison of one section found.

    Attributes:
        section: its name.
        equal: how many facts were equal.
        compared: of how many.
        differences: each other one.
        exceptions: what is not compared or differs for a reason, by reason.
        notes: how it was compared.
        denied: the right that the user lacks; then nothing was compared.
    """

    section: str
    equal: int = 0
    compared: int = 0
    differences: list[str] = field(default_factory=list)
    exceptions: dict[str, list[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    denied: str = ""

    def take(self, what: str, expected: Any, found: Any) -> None:
        """Compare one fact."""
        self.compared += 1
        if expected == found:
            self.equal += 1
        else:
            self.differences.append(f"{what}: {_apart(expected, found)}")

    def take_all(self, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Compare facts by name; those of one side only differ."""
        for name in sorted(expected.keys() | found.keys()):
            self.take(name, expected.get(name), found.get(name))

    def excuse(self, reason: str, what: str) -> None:
        """Name an exception."""
        self.exceptions.setdefault(reason, []).append(what)

    def add(self, other: Outcome) -> None:
        """Add the outcome of another domain."""
        self.equal, self.compared = self.equal + other.equal, self.compared + other.compared
        self.differences += other.differences
        for reason, names in other.exceptions.items():
            self.exceptions.setdefault(reason, []).extend(names)
        self.notes.update(other.notes)
        self.denied = self.denied or other.denied

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return filled({name: getattr(self, name) for name in self.__slots__}) | {
            "equal": self.equal,
            "compared": self.compared,
        }


def _apart(expected: Any, found: Any) -> str:
    """Two facts in one line: where both are dictionaries, only what differs."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = [key for key in {**expected, **found} if expected.get(key) != found.get(key)]
        expected, found = {key: expected.get(key) for key in keys}, {key: found.get(key) for key in keys}
    return f"Odoo has {_text(expected)}, found {_text(found)}"


def _text(fact: Any) -> str:
    text = "nothing" if fact is None else json.dumps(fact, ensure_ascii=False, default=str, sort_keys=True)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


class Comparison:
    """One domain, as it was discovered, against the Odoo it was read from.

    Args:
        snapshot: the product's read; it is iterated here.
        domain: the domain.
        database: Odoo's database.
        server: Odoo itself, as a user that may read views.
        login: that user, whose groups count where extensions of views are for some groups only.
    """

    def __init__(self, snapshot: Snapshot, domain: Domain, database: Database, server: Server, login: str) -> None:
        self._domain, self._database, self._server, self._login = domain, database, server, login
        self._rows: dict[DiscoveryType, dict[str, Discovery]] = {kind: {} for kind in DiscoveryType}
        for row in snapshot:
            self._rows[row.discovery_type][row.name] = row
        self._status = {section.name: section for section in snapshot.sections}
        self._models = database.models_of(domain.modules)
        self._read = self._rows[DiscoveryType.MODEL]

    def run(self, only: Sequence[str] = ()) -> dict[str, Outcome]:
        """Compare the sections; all of them if none is named."""
        outcomes = {}
        for name, (needs, compare) in SECTIONS.items():
            if only and name not in only:
                continue
            outcome = outcomes[name] = Outcome(section=name)
            section = self._status.get(needs)
            if section is None or section.status is SectionStatus.DENIED:
                outcome.denied = section.needs if section else f"what {needs} are read by"
            else:
                compare(self, outcome)
        return outcomes

    def _is_partial(self, name: str) -> bool:
        return self._status[name].status is not SectionStatus.COMPLETE

    def modules(self, outcome: Outcome) -> None:
        """State, version, role, category, dependencies and descriptive facts of each module."""
        expected, found = {}, {}
        roles = self._database.roles(self._domain.modules)
        for name, role in roles.items():
            facts = filled({**self._database.modules[name], "role": role, "menu": None})
            if "version" not in facts:
                outcome.notes[
                    "versions of modules on the server's disk that are not installed, which no table has"
                ] += 1
            expected[name] = facts
        for name, row in self._rows[DiscoveryType.MODULE].items():
            facts = filled({**row.metadata, "version": row.version, "selected_by": None, "source": None})
            if "version" not in expected.get(name, {}):
                facts.pop("version", None)
            found[name] = facts
        outcome.take_all(expected, found)

    def models(self, outcome: Outcome) -> None:
        """Title, kind, defining and extending modules of each model."""
        partial_read = self._is_partial("models")
        expected, found = {}, {}
        for name in self._read if partial_read else self._models:
            facts = dict(self._database.models.get(name, {}))
            first, *others = facts.pop("modules", ()) or [""]
            expected[name] = filled({**facts, "defined_by": first, "extended_by": sorted(others)})
        for name, row in self._read.items():
            found[name] = filled({**row.metadata, "source": None, "incomplete": None})
        if partial_read:
            outcome.excuse(f"only what this user may read: {self._status['models'].detail}", f"{len(found)} models")
            expected = {name: {key: facts.get(key) for key in found[name]} for name, facts in expected.items()}
        outcome.take_all(expected, found)

    def _field_facts(self, outcome: Outcome, select: Callable[[Facts], Any], computed: str) -> None:
        is_partial = self._is_partial("fields")
        for model, row in self._read.items():
            found = (row.schema_definition or {}).get("fields", {})
            expected = self._database.fields.get(model, {})
            if is_partial:
                expected = {
                    name: self._readable(outcome, f"{model}.{name}", expected.get(name, {}), facts, computed)
                    for name, facts in found.items()
                }
            sides = ({name: select(facts) for name, facts in one.items()} for one in (expected, found))
            left, right = ({f"{model}.{name}": facts for name, facts in side.items() if facts} for side in sides)
            outcome.take_all(left, right)
        if is_partial:
            outcome.excuse(
                f"only what this user may read: {self._status['fields'].detail}", f"{outcome.compared} fields"
            )

    def _readable(self, outcome: Outcome, name: str, expected: Facts, found: Facts, computed: str) -> Facts:
        """What the table has of the facts that were readable; `fields_get` fills in one that the table leaves empty."""
        facts = {key: expected.get(key) for key in found}
        if computed in found and computed not in expected:
            outcome.excuse(f"no table has it, `fields_get` computes it: {computed}", name)
            facts[computed] = found[computed]
        return facts

    def fields(self, outcome: Outcome) -> None:
        """All facts of each field but its values. (`translate` is a word in the table, a yes or no over RPC.)"""

        def select(facts: Facts) -> Facts:
            chosen = {key: value for key, value in facts.items() if key not in {"selection", "digits"}}
            return chosen | ({"translate": True} if facts.get("translate") else {})

        self._field_facts(outcome, select, "currency_field")

    def selections(self, outcome: Outcome) -> None:
        """Values and labels of each selection, in order; a related one has those of the field it leads to."""
        self._field_facts(outcome, lambda facts: facts.get("selection"), "selection")

    # workflows

    def _unknown(self, model: str) -> Names:
        fields = self._database.fields.get(model, {})
        values = {name: [value for value, _ in facts.get("selection", ())] for name, facts in fields.items()}
        return Names({name: facts["type"] for name, facts in fields.items()}, values)

    def _definition(self, model: str) -> Mapping[str, Any]:
        row = self._rows[DiscoveryType.WORKFLOW].get(model)
        return (row.schema_definition if row else None) or {}

    def _workflow(self, model: str) -> tuple[Facts, list[views.Button]] | None:
        """The state field, the states and the buttons of a model's form; None where the server has no form."""
        view = self._database.default_forms.get(model)
        form = self._server.combined(view) if view else None
        if form is None:
            return None
        fields = self._database.fields.get(model, {})
        found = views.buttons(form, partial(self._unknown, model), self._database.action_names)
        bars = [(name, shown) for name, shown in views.status_bars(form) if name in fields]
        state, shown = next(((n, s) for n, s in bars if fields[n]["type"] in {"selection", "many2one"}), ("", []))
        if not state and found and fields.get("state", {}).get("type") == "selection":
            state = "state"
        if not state:
            return {}, []
        listed = fields[state].get("selection", []) if fields[state]["type"] == "selection" else []
        states = [
            {"value": value, **filled({"label": label, "shown": not shown or value in shown})}
            for value, label in listed
        ]
        found = transitions_of(found, state, [value for value, _ in listed])
        if not bars and not found:
            return {}, []
        return {"state_field": state, "states": states}, found

    def states(self, outcome: Outcome) -> None:
        """The state field of each workflow, and its states in order."""
        for model in sorted(self._models):
            workflow = self._workflow(model)
            found = self._definition(model)
            facts = {key: found[key] for key in ("state_field", "states") if found.get(key)}
            if workflow is None:
                if facts:
                    outcome.take(model, {}, facts)
                continue
            if workflow[0] or facts:
                outcome.take(model, filled(workflow[0]), facts)

    def transitions(self, outcome: Outcome) -> None:
        """Each button: where it stands, what it does, and in every combination of values whether it shows, and to whom."""
        for model in sorted(self._models):
            workflow = self._workflow(model)
            if workflow is None or not workflow[0]:
                continue
            facts, buttons = workflow
            state, states = facts["state_field"], [one["value"] for one in facts["states"]]
            rows: dict[Key, list[Mapping[str, Any]]] = {}
            for row in self._definition(model).get("transitions", ()):
                key = Key(name=row["button"], kind=row["kind"], place=row.get("place", ""), label=row.get("label", ""))
                rows.setdefault(key, []).append(row)
            by_key: dict[Key, list[views.Button]] = {}
            for button in buttons:
                by_key.setdefault(button.key, []).append(button)
            known = self._known_groups(model)
            if known is not None:
                outcome.notes["forms with extensions for some groups only, compared as this user sees them"] += 1
            for key in sorted(by_key.keys() | rows.keys(), key=str):
                found = visibility(by_key.get(key, []), rows.get(key, []), self._unknown(model), state, states, known)
                if not found.is_all:
                    outcome.notes["transitions tried with a sample of the combinations of values"] += 1
                if found.shows or rows.get(key) or found.difference:
                    outcome.compared += 1
                    outcome.equal += not found.difference
                if found.difference:
                    outcome.differences.append(f"{model} {key}: {found.difference}")
            self._name_python_buttons(outcome, model)

    def _known_groups(self, model: str) -> set[str] | None:
        """The groups that count as given: those of this user, where the server combines the form for this user."""
        if not self._database.is_limited(self._database.default_forms[model]):
            return None
        return self._database.groups_of(self._login)

    def _name_python_buttons(self, outcome: Outcome, model: str) -> None:
        view = self._database.default_forms[model]
        there = {(node.get("name"), node.get("type")) for node in views.named_buttons(self._server.combined(view))}
        shown = self._server.shown(model)
        if shown is None:
            outcome.excuse("Odoo sends this user no such form: buttons that Python code adds are not known", model)
            return
        number, form = shown
        if number != view:
            outcome.differences.append(f"{model}: the server shows view {number}, not {view}")
        for node in views.named_buttons(form):
            if (node.get("name"), node.get("type")) not in there:
                reason = "in no view: Python code of a module adds it when the form is shown"
                outcome.excuse(reason, f"{model} {node.get('name')}")

    def action_names(self, outcome: Outcome) -> None:
        """External names of the actions that buttons open, each asked for by its own type."""
        for model in sorted(self._models):
            workflow = self._workflow(model)
            expected = {button.key.name for button in workflow[1] if button.key.kind == "action"} if workflow else set()
            rows = self._definition(model).get("transitions", ())
            found = {row["button"] for row in rows if row["kind"] == "action"}
            # a button that never shows opens nothing
            outcome.take_all(
                {f"{model} {name}": name for name in expected & found}, {f"{model} {name}": name for name in found}
            )

    def automations(self, outcome: Outcome) -> None:
        """The automation rules of each model."""
        self._listed(outcome, "automations", self._database.automations())

    def schedules(self, outcome: Outcome) -> None:
        """The scheduled actions of each model."""
        self._listed(outcome, "schedules", self._database.schedules())

    def _listed(self, outcome: Outcome, name: str, expected: Mapping[str, Sequence[Facts]]) -> None:
        for model in sorted(self._models):
            left = {f"{model} {_text(facts)} #{n}": facts for facts, n in _numbered(expected.get(model, ()))}
            right = {
                f"{model} {_text(facts)} #{n}": facts for facts, n in _numbered(self._definition(model).get(name, ()))
            }
            outcome.take_all(left, right)

    # charts, reports, dashboards

    def _features(self, *kinds: str) -> dict[str, tuple[Discovery, Mapping[str, Any]]]:
        rows = self._rows[DiscoveryType.BI_FEATURE].items()
        definitions = ((name, row, row.schema_definition or {}) for name, row in rows)
        return {name: (row, definition) for name, row, definition in definitions if definition["kind"] in kinds}

    def charts(self, outcome: Outcome) -> None:
        """Each graph and pivot: measures, dimensions, in order; operators, default measure, title."""
        found = self._features("graph", "pivot")
        for number, name, model, kind in self._database.primary_views(("graph", "pivot"), self._models):
            external = self._database.xml_ids.get(("ir.ui.view", number), f"{model}.{kind}.{number}")
            tree = self._server.combined(number)
            if tree is None:
                outcome.excuse("the server itself cannot combine this view", external)
                found.pop(external, None)
                continue
            types = {field: facts["type"] for field, facts in self._database.fields.get(model, {}).items()}
            expected = {
                **views.chart(tree, types), "kind": kind, "model": model, "title": tree.get("string") or name, "view": name,
            }  # fmt: skip
            row, definition = found.pop(external, (None, {}))
            facts = {**definition, **filled({key: row.metadata.get(key) for key in ("title", "view")} if row else {})}
            self._take_chart(outcome, external, expected, facts)
        for name in found:
            outcome.take(name, None, found[name][1])

    def _take_chart(self, outcome: Outcome, name: str, expected: Facts, found: Facts) -> None:
        theirs, ours = ([dict(one) for one in side.get("dimensions", ())] for side in (expected, found))
        for one, other in zip(theirs, ours, strict=False):
            if views.same_groups(one.pop("groups", ()), views.lists_of(other.get("groups"))):
                other.pop("groups", None)
        facts = ({**side, "dimensions": dimensions} for side, dimensions in ((expected, theirs), (found, ours)))
        outcome.take(name, *facts)

    def reports(self, outcome: Outcome) -> None:
        """The printed reports of the domain's models."""
        self._named(
            outcome, self._database.reports(self._read if self._is_partial("models") else self._models), "report"
        )

    def dashboards(self, outcome: Outcome) -> None:
        """The spreadsheet dashboards of the domain."""
        expected = self._database.dashboards(self._domain.modules)
        if self._is_partial("dashboards"):
            for name in expected.keys() - self._features("dashboard").keys():
                outcome.excuse(f"hidden from this user: {self._status['dashboards'].detail}", name)
                del expected[name]
        self._named(outcome, expected, "dashboard")

    def _named(self, outcome: Outcome, expected: Mapping[str, Facts], kind: str) -> None:
        found = {
            name: filled({**definition, "title": row.metadata.get("title"), "kind": None})
            for name, (row, definition) in self._features(kind).items()
        }
        outcome.take_all(expected, found)


def _numbered(rows: Iterable[Facts]) -> list[tuple[Facts, int]]:
    """Rows with the number of the same ones before each."""
    seen: Counter[str] = Counter()
    numbered = []
    for row in rows:
        seen[_text(row)] += 1
        numbered.append((row, seen[_text(row)]))
    return numbered


def _always(_: Any) -> bool:
    return True


def transitions_of(found: Sequence[views.Button], state: str, states: Sequence[str]) -> list[views.Button]:
    """All buttons of the header, and those of the body whose visibility depends on the state."""
    together: dict[tuple[Key, Any], list[views.Button]] = {}
    for button in found:
        together.setdefault((button.key, button.groups), []).append(button)
    return [
        button
        for (key, _), alike in together.items()
        for button in alike
        if not key.place or _depends(alike, state, states)
    ]


def _any_visible(buttons: Sequence[tuple[views.Button, Condition]], values: Mapping[str, Any]) -> bool:
    return any(button.visible(sees, values) for button, sees in buttons)


def _depends(alike: Sequence[views.Button], state: str, states: Sequence[str]) -> bool:
    """Whether it depends on the state that one of some buttons shows, with other values equal."""
    names = alike[0].names
    for button in alike[1:]:
        names.add_all(button.names)
    visible = partial(_any_visible, [(button, _always) for button in alike])
    others = names.values()
    choices = list(states) or others.get(state, [])
    others.pop(state, None)
    for assignment in assignments(others)[0]:
        answers = set()
        for value in choices:
            try:
                answers.add(visible({**assignment, state: value}))
            except TypeError:
                continue
        if len(answers) > 1:
            return True
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """Whether buttons and transitions of one key show alike.

    Attributes:
        shows: whether the buttons ever show.
        difference: the first combination of values in which only one side shows; empty if there is none.
        is_all: whether all combinations were tried.
    """

    shows: bool
    difference: str
    is_all: bool


def visibility(
    buttons: Sequence[views.Button],
    rows: Sequence[Mapping[str, Any]],
    names: Names,
    state: str,
    states: Sequence[str],
    known: Collection[str] | None = None,
) -> Visibility:
    """Try the combinations of the values of all names, and of memberships of groups.

    Args:
        buttons: of the server's form.
        rows: transitions of the catalogue.
        names: takes the unknowns of both.
        state: the state field.
        states: its values; empty where they are records.
        known: the groups of the user who is meant; by default every user is.
    """
    server = [(button, members(button.groups, names)) for button in buttons]
    for button in buttons:
        names.add_all(button.names)
    product = [_row_visible(row, state if states else "", names) for row in rows]
    values = names.values(without=state if states else "")
    if known is not None:
        values |= {name: [name.removeprefix(GROUP) in known] for name in values if name.startswith(GROUP)}
    if states:
        values[state] = list(states)
    tried, is_all = assignments(values)
    shows = False
    for assignment in tried:
        try:
            expected = _any_visible(server, assignment)
        except TypeError:  # the condition itself refuses these values
            continue
        shows |= expected
        try:
            found = any(visible(assignment) for visible in product)
        except TypeError:
            found = not expected
        if found is not expected:
            says = f"{'shows' if expected else 'is hidden'} with {_text(assignment)}, found {_text(list(rows))}"
            return Visibility(shows=shows, difference=says, is_all=is_all)
    return Visibility(shows=shows, difference="", is_all=is_all)


def _row_visible(row: Mapping[str, Any], state: str, names: Names) -> Condition:
    """When a transition of the catalogue shows."""
    sees = members(views.lists_of(row.get("groups")), names)
    by_state = {value: expression(text, names) for value, text in row.get("conditions", {}).items()}
    general = expression(row["condition"], names) if row.get("condition") else None

    def visible(values: Mapping[str, Any]) -> bool:
        if state and values[state] not in row.get("from", ()):
            return False
        hidden = by_state.get(values[state]) if state and by_state else general
        return sees(values) and not (hidden is not None and hidden(values))

    return visible


SECTIONS: Final[Mapping[str, tuple[str, Callable[[Comparison, Outcome], None]]]] = {
    "modules": ("modules", Comparison.modules),
    "models": ("models", Comparison.models),
    "fields": ("fields", Comparison.fields),
    "selections": ("fields", Comparison.selections),
    "states": ("views", Comparison.states),
    "transitions": ("views", Comparison.transitions),
    "action names": ("views", Comparison.action_names),
    "charts": ("views", Comparison.charts),
    "automations": ("automations", Comparison.automations),
    "schedules": ("schedules", Comparison.schedules),
    "reports": ("reports", Comparison.reports),
    "dashboards": ("dashboards", Comparison.dashboards),
}
"""The sections, each with the section of the read that it needs."""
