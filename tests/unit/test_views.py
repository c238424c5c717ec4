"""Combined views, and their transitions, status bars and measures."""

from typing import Any

import pytest

from fbs_worker.connectors.arch import parse
from fbs_worker.connectors.recording.view_skeleton import skeleton
from fbs_worker.connectors.sections import action_ids
from fbs_worker.connectors.transitions import default_form, form_buttons, header_buttons, statusbar_fields, transitions
from fbs_worker.connectors.views import View, Views, chart
from tests.support.worked_example import SALE_ORDER

STATES = ["draft", "sent", "sale", "cancel"]


def found(header: str, states: list[str] = STATES, names: dict[str, str] | None = None) -> list[dict[str, Any]]:
    buttons = header_buttons(parse(f"<form><header>{header}</header></form>"))
    return transitions(buttons, state_field="state", states=states, names=names or {})


def test_the_worked_example_of_sale_order() -> None:
    header = """
    <button name="action_confirm" string="Confirm" type="object" invisible="state != 'sent'"/>
    <button name="action_confirm" string="Confirm" type="object" invisible="state != 'draft'"/>
    <button name="action_cancel" string="Cancel" type="object"
        invisible="state not in ['draft', 'sent', 'sale'] or not id or locked"/>
    <button name="action_draft" string="Set to Quotation" type="object" invisible="state != 'cancel'"/>
    """
    assert found(header) == SALE_ORDER


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('<button name="a" invisible="1"/>', []),
        ('<button string="no name"/>', []),
        (
            '<button name="a" string="A" invisible="state != \'draft\'"/><button name="a" invisible="state == \'cancel\' or x"/>',
            [
                {
                    "button": "a",
                    "label": "A",
                    "kind": "object",
                    "from": ["draft", "sale", "sent"],
                    "conditions": {"sale": "x", "sent": "x"},
                }
            ],
        ),
        (
            '<t groups="g.one"><button name="a" string="A" groups="g.two,g.three"/></t>',
            [
                {
                    "button": "a",
                    "label": "A",
                    "kind": "object",
                    "from": sorted(STATES),
                    "groups": [["g.one"], ["g.three", "g.two"]],
                }
            ],
        ),
        (
            '<button name="a" string="A" groups="g.one"/><button name="a" string="A"/>',
            [{"button": "a", "label": "A", "kind": "object", "from": sorted(STATES)}],
        ),
        (
            '<div invisible="state == \'draft\'"><button name="a">Go on</button></div>',
            [{"button": "a", "label": "Go on", "kind": "object", "from": ["cancel", "sale", "sent"]}],
        ),
        (
            '<button name="12" type="action" string="Open"/>',
            [{"button": "mod.action", "label": "Open", "kind": "action", "from": sorted(STATES)}],
        ),
        (
            '<field name="lines"><form><header><button name="inner"/></header></form></field><button name="a" string="A" states="draft"/>',
            [{"button": "a", "label": "A", "kind": "object", "from": ["draft"]}],
        ),
        (
            '<button name="a" string="Reset" states="cancel"/><button name="a" string="Stop" states="sale"/>',
            [
                {"button": "a", "label": "Reset", "kind": "object", "from": ["cancel"]},
                {"button": "a", "label": "Stop", "kind": "object", "from": ["sale"]},
            ],
        ),
        (
            """<button name="a" string="A" groups="g.one" states="draft"/><button name="a" groups="g.two" states="sale"/>
            <button name="a" string="A" groups="g.three,!g.four" states="sale"/>""",
            [
                {"button": "a", "label": "A", "kind": "object", "from": ["draft"], "groups": ["g.one"]},
                {
                    "button": "a",
                    "label": "A",
                    "kind": "object",
                    "from": ["sale"],
                    "groups": [["!g.four", "g.two"], ["g.three", "g.two"]],
                },
            ],
        ),
        (
            """<button name="a" string="A" invisible="locked"/><button name="a" string="A" invisible="not locked"/>
            <button name="b" invisible="state != 'draft' or not x or x"/>""",
            [{"button": "a", "label": "A", "kind": "object", "from": sorted(STATES)}],
        ),
    ],
)
def test_buttons_become_transitions(header: str, expected: list[dict[str, Any]]) -> None:
    assert found(header, names={"12": "mod.action"}) == expected


@pytest.mark.parametrize(
    ("body", "states", "expected"),
    [
        (
            """<sheet><div invisible="state != 'sale'"><button name="a" string="A"/></div></sheet>""",
            STATES,
            [{"button": "a", "label": "A", "kind": "object", "place": "body", "from": ["sale"]}],
        ),
        (
            """<button name="a" string="A" invisible="locked and state == 'sale'"/>""",
            ["draft", "sale"],
            [
                {"button": "a", "label": "A", "kind": "object", "place": "body", "from": ["draft", "sale"]}
                | {"conditions": {"sale": "locked"}}
            ],
        ),
        ('<button name="a" invisible="locked"/><button name="b"/>', STATES, []),
        ("""<field name="l"><form><button name="a" invisible="state != 'x'"/></form></field>""", STATES, []),
        (
            '<button name="a" string="A" invisible="not state"/><button name="b" invisible="state_x"/>',
            [],
            [{"button": "a", "label": "A", "kind": "object", "place": "body", "condition": "not state"}],
        ),
    ],
)
def test_buttons_of_the_body_count_where_the_state_shows_or_hides_them(
    body: str, states: list[str], expected: list[dict[str, Any]]
) -> None:
    tree = parse(f"<form>{body}</form>")
    for form in (tree, parse(skeleton(tree))):
        assert transitions(form_buttons(form), state_field="state", states=states, names={}) == expected


@pytest.mark.parametrize(
    ("arch", "found"),
    [
        ('<button type="action" name="310"/>', {310}),
        ("<button type='action' name='310'/>", {310}),
        ('<button name="a" position="attributes"><attribute name="name">311</attribute></button>', {311}),
        ('<button name="action_x"/><page name="12345678901"/>', set()),
    ],
)
def test_the_actions_that_buttons_open_are_found_in_the_text(arch: str, found: set[int]) -> None:
    assert action_ids(arch) == found


NAMES = {1: "g.manager", 2: "g.user", 3: "g.other"}


@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        ('<header position="inside"><button name="b"/></header>', {"a": None, "b": ["g.manager", "g.user"]}),
        (
            '<data><xpath expr="//button" position="after"><div groups="g.x"><button name="b" groups="g.y,g.z"/></div></xpath></data>',
            {"a": None, "b": [["g.manager", "g.user"], ["g.x"], ["g.y", "g.z"]]},
        ),
        (
            '<button name="a" position="replace"><button name="b"/></button>',
            {"a": [["!g.manager"], ["!g.user"]], "b": ["g.manager", "g.user"]},
        ),
        ('<button name="a" position="replace"/>', {"a": [["!g.manager"], ["!g.user"]]}),
        (
            '<button name="a" position="attributes"><attribute name="invisible">1</attribute></button>',
            {"a": [["!g.manager"], ["!g.user"]]},
        ),
        ('<button name="a" position="attributes"><attribute name="class">x</attribute></button>', {"a": None}),
    ],
)
def test_the_groups_of_an_extending_view_count(extension: str, expected: dict[str, Any]) -> None:
    base = view(1, '<form><header><button name="a"/></header></form>')
    limited = view(2, extension, parent=1, primary=False, groups=(1, 2))
    nested = view(3, '<header position="inside"><button name="n"/></header>', parent=2, primary=False, groups=(3,))
    for views, more in (
        (Views([base, limited], NAMES), {}),
        (Views([base, limited, nested], NAMES), {"n": [["g.manager", "g.user"], ["g.other"]]}),
    ):
        tree = views.combined(base)
        assert tree is not None
        buttons = transitions(header_buttons(tree), state_field="state", states=STATES, names={})
        assert {button["button"]: button.get("groups") for button in buttons} == expected | more


def test_without_known_states_a_transition_has_no_from() -> None:
    assert found('<button name="a" string="A" invisible="not active"/>', states=[]) == [
        {"button": "a", "label": "A", "kind": "object", "condition": "not active"}
    ]


def view(number: int, arch: str, **facts: Any) -> View:
    return View(**{"id": number, "name": f"v{number}", "model": "m", "kind": "form", "arch": arch, **facts})


def names_in_header(views: Views, which: View) -> list[str]:
    tree = views.combined(which)
    assert tree is not None
    return [button.name for button in header_buttons(tree)]


def test_extensions_apply_by_priority_then_id_and_nested_ones_after_their_parent() -> None:
    base = view(1, '<form><header><button name="a"/></header></form>')
    late = view(2, '<header position="inside"><button name="late"/></header>', parent=1, primary=False, priority=20)
    early = view(3, '<header position="inside"><button name="early"/></header>', parent=1, primary=False, priority=5)
    nested = view(4, '<button name="early" position="after"><button name="n"/></button>', parent=3, primary=False)
    views = Views([base, late, early, nested])
    assert names_in_header(views, base) == ["a", "early", "n", "late"]


def test_a_primary_view_starts_from_its_parent_with_the_parents_extensions() -> None:
    base = view(1, '<form><header><button name="a"/></header></form>')
    extension = view(2, '<header position="inside"><button name="b"/></header>', parent=1, primary=False)
    child = view(3, '<button name="a" position="replace"/>', parent=1, primary=True, model="other")
    views = Views([base, extension, child])
    assert names_in_header(views, base) == ["a", "b"]
    assert names_in_header(views, child) == ["b"]
    assert views.primaries("other", "form") == [child]


@pytest.mark.parametrize(
    "arch", ["<header position='inside'>", '<xpath expr="//header', '<xpath expr="//header["/>', '<field name="gone"/>']
)
def test_a_broken_extension_is_passed_over_and_noted(arch: str) -> None:
    base = view(1, '<form><header><button name="a"/></header></form>')
    whole = view(3, "<form/>")
    views = Views([base, view(2, arch, parent=1, primary=False), whole])
    assert names_in_header(views, base) == ["a"]
    assert names_in_header(views, whole) == []
    assert (views.broken, views.lacking) == ({2}, {1})


def test_an_extension_of_another_model_does_not_count() -> None:
    base = view(1, '<form><header><button name="a"/></header></form>')
    other = view(2, '<header position="inside"><button name="b"/></header>', parent=1, primary=False, model="n")
    derived = view(3, '<header position="inside"><button name="c"/></header>', parent=1, model="n")
    its_own = view(4, '<header position="inside"><button name="d"/></header>', parent=3, primary=False, model="n")
    views = Views([base, other, derived, its_own])
    assert (names_in_header(views, base), names_in_header(views, derived)) == (["a"], ["a", "c", "d"])


def test_views_that_start_from_one_another_end() -> None:
    one, two = view(1, "<form/>", parent=2), view(2, "<form/>", parent=1)
    views = Views([one, two])
    assert views.combined(one) is not None


def test_the_default_form_is_the_primary_one_of_the_lowest_priority() -> None:
    views = Views(
        [
            view(1, '<form><header><button name="a"/></header></form>', priority=16),
            view(2, '<form><header><button name="b"/></header></form>', priority=2),
        ]
    )
    form = default_form(views, "m")
    assert form is not None
    assert [button.name for button in form.buttons] == ["b"]
    assert default_form(views, "none") is None


def test_status_bars_of_embedded_forms_do_not_count() -> None:
    tree = parse(
        '<form><field name="lines"><form><field name="x" widget="statusbar"/></form></field>'
        '<field name="state" widget="statusbar" statusbar_visible="draft, sale"/>'
        '<field name="stage_id" widget="statusbar_duration"/></form>'
    )
    assert statusbar_fields(tree) == [("state", ("draft", "sale")), ("stage_id", ())]


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        (
            '<graph type="line"><field name="date" interval="month"/><field name="total" type="measure"/></graph>',
            {"chart": "line", "dimensions": [{"name": "date", "interval": "month"}], "measures": ["total"], "default_measure": "total"},
        ),
        (
            '<pivot><field name="date" interval="week" type="col"/><field name="user" type="row"/><field name="n" type="measure"/><field name="other"/></pivot>',
            {
                "dimensions": [
                    {"name": "date", "interval": "week", "axis": "column"},
                    {"name": "user", "axis": "row"},
                ],
                "measures": ["n"],
            },
        ),
        ('<graph><field name="date" type="row"/></graph>', {"chart": "bar", "dimensions": [{"name": "date"}]}),
        ('<graph><field name="date:year"/><field name="x" invisible="1"/></graph>', {"chart": "bar", "dimensions": [{"name": "date", "interval": "year"}]}),
        (
            '<graph type="odd"><field name="id"/><field name="partner_id"/><field name="hours"/><field name="amount" type="measure"/><field name="total" type="measure"/></graph>',
            {"chart": "bar", "dimensions": [{"name": "partner_id"}], "measures": ["amount", "total"], "default_measure": "total"},
        ),
        ('<pivot><field name="b" operator="avg"/><field name="a" type="measure"/></pivot>', {"measures": ["b", "a"], "operators": {"b": "avg"}}),
        ('<graph><field name="b" type="measure" operator="sum"/><field name="z"/><field name="a"/></graph>', {"chart": "bar", "dimensions": [{"name": "z"}, {"name": "a"}], "measures": ["b"], "operators": {"b": "sum"}, "default_measure": "b"}),
    ],
)  # fmt: skip
def test_a_chart_measures_by_its_dimensions(arch: str, expected: dict[str, Any]) -> None:
    tree = parse(arch)
    assert chart(tree, {"hours": "float"}) == expected
    assert chart(parse(skeleton(tree)), {"hours": "float"}) == expected


def test_the_label_of_a_button_is_the_text_within_it() -> None:
    source = '<form><button name="x"><span>% On Time</span>\n<span>No\n data</span></button></form>'
    [button] = form_buttons(parse(source.replace("<button", '<button invisible="state"')))
    assert button.label == "% On Time No data"


def test_a_skeleton_reads_like_the_view() -> None:
    tree = parse(
        """<form string="Secret layout"><header><t groups="g.one"><button name="a" class="x" help="long"
        invisible="state != 'draft'
          or locked">Go <b>on</b></button></t><field name="state" widget="statusbar" statusbar_visible="draft"/>
        </header><sheet><group><field name="hidden_field"/><button name="in_sheet"/></group>
        <field name="lines"><form><header><button name="inner"/></header></form></field></sheet></form>"""
    )
    small = parse(skeleton(tree))
    assert [(button.name, button.label, button.groups) for button in header_buttons(small)] == [
        ("a", "Go on", (("g.one",),))
    ]
    assert transitions(header_buttons(small), state_field="state", states=["draft", "sale"], names={}) == transitions(
        header_buttons(tree), state_field="state", states=["draft", "sale"], names={}
    )
    assert statusbar_fields(small) == statusbar_fields(tree)
    for word in ("Secret", "hidden_field", "in_sheet", "inner", "help"):
        assert word not in skeleton(tree)
