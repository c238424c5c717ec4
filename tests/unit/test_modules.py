"""Which modules make up a domain, and which of them a model is from."""

from typing import Any

import pytest

from fbs_worker.connectors.modules import Module, ModuleGraph, category_paths, modules_of_rows, split_names
from fbs_worker.core.errors import UsageError
from fbs_worker.domains import Domain, ModuleSelector, domain_names, load_domain


def module(name: str, *depends: str, state: str = "installed", category: str = "", **facts: Any) -> Module:
    return Module(name=name, title=name, state=state, version="1", category=category, depends=depends, **facts)


MODULES = [
    module("base"),
    module("web", "base"),
    module("sale", "web", "product"),
    module("product", "base"),
    module("sale_stock", "sale", "stock"),
    module("stock", "product"),
    module("property_rental", "crm", state="uninstalled"),
    module("crm", "web", application=True),
    module("hr_skills", "hr", category="Human Resources / Skills"),
    module("hr", "web", category="Human Resources / Employees", application=True),
    module("payroll", "hr", category="Human Resources / Payroll", state="to upgrade"),
]


def test_a_domain_has_core_modules_and_dependencies_of_installed_ones() -> None:
    domain = Domain(name="d", title="D", modules=ModuleSelector(names=("sale", "*rental*")))
    graph = ModuleGraph.for_domain(MODULES, domain)
    assert graph.roles == {
        "base": "dependency",
        "product": "dependency",
        "property_rental": "core",
        "sale": "core",
        "web": "dependency",
    }
    assert graph.core == {"sale"}


def test_a_category_selects_by_its_path() -> None:
    domain = Domain(name="d", title="D", modules=ModuleSelector(categories=("Human Resources*",)))
    assert ModuleGraph.for_domain(MODULES, domain).core == {"hr", "hr_skills", "payroll"}


def test_generic_is_every_application_and_what_has_a_main_menu() -> None:
    graph = ModuleGraph.for_domain([*MODULES, module("fleet_log", "web", menu=True)], load_domain("generic"))
    assert graph.core == {"crm", "hr", "fleet_log"}
    assert graph.reasons == {"crm": "application", "hr": "application", "fleet_log": "own main menu"}


@pytest.mark.parametrize(
    ("name", "menus", "menu"),
    [
        ("fleet_log", "Fleet log\nFleet log/Entries", True),
        ("fleet_log", "Fleet/Log", False),
        ("fleet_log", False, False),
        ("base", "Settings\nSettings/Technical", False),
    ],
)
def test_a_main_menu_is_a_path_of_one_part(name: str, menus: object, menu: bool) -> None:
    [found] = modules_of_rows([{"id": 1, "name": name, "state": "installed", "menus_by_module": menus}])
    assert found.menu is menu


@pytest.mark.parametrize(
    ("domain", "names"),
    [
        (
            "rental",
            "contract contract_sale subscription_oca agreement agreement_rental pms pms_account hotel property_base",
        ),
        (
            "rental",
            "product_contract sale_subscription agreement_legal hotel_reservation real_estate account_agreement",
        ),
        ("hr", "payroll payroll_account hr_payroll l10n_be_hr_payroll hr"),
    ],
)
def test_the_families_of_a_domain(domain: str, names: str) -> None:
    selector = load_domain(domain).modules
    assert [name for name in names.split() if not selector.matches(name)] == []
    assert not any(selector.matches(name) for name in ("hr_contract" if domain == "rental" else "contract", "website"))


def test_a_user_takes_further_modules_and_leaves_others_out() -> None:
    domain = load_domain("hr").selecting(include=["cr*", "sal?"], exclude=["hr_skills", "sale_*"])
    graph = ModuleGraph.for_domain(MODULES, domain)
    assert graph.core == {"crm", "hr", "payroll", "sale"}
    assert (graph.reasons["crm"], graph.reasons["payroll"]) == ("name cr*", "name payroll")
    assert "hr_skills" not in graph.roles
    assert load_domain("hr").modules.matches("hr_skills"), "the domain itself is as before"


def test_the_module_that_the_others_stand_on_defines_a_model() -> None:
    graph = ModuleGraph.for_domain(MODULES, load_domain("generic"))
    assert graph.definer(["sale", "sale_stock", "product"]) == "product"
    assert graph.definer(["sale_stock"]) == "sale_stock"
    # nothing decides between these two: the first by name, always
    assert graph.definer(["stock", "sale"]) == "sale"


def test_modules_that_depend_on_one_another_end() -> None:
    graph = ModuleGraph.for_domain([module("a", "b"), module("b", "a")], load_domain("generic"))
    assert graph.dependencies("a") == {"a", "b"}


def test_the_installed_version_counts_and_odoos_column_names_are_swapped() -> None:
    rows = [
        {"id": 1, "name": "b", "state": "installed", "latest_version": "19.0.1", "installed_version": "19.0.2"},
        {"id": 2, "name": "a", "state": "uninstalled", "latest_version": False, "installed_version": "19.0.3"},
        {"id": 3, "name": "c", "state": "uninstalled", "latest_version": False, "installed_version": False},
    ]
    assert [(found.name, found.version) for found in modules_of_rows(rows)] == [
        ("a", "19.0.3"),
        ("b", "19.0.1"),
        ("c", None),
    ]


def test_categories_and_dependencies_read_along_or_apart_are_the_same() -> None:
    nested = {
        "id": 1,
        "name": "sale",
        "category_id": {"id": 5, "name": "Sales", "parent_id": {"id": 4, "name": "Business", "parent_id": False}},
        "dependencies_id": [{"id": 9, "name": "web"}, {"id": 8, "name": "base"}],
    }
    flat = {"id": 1, "name": "sale", "category_id": [5, "Sales"]}
    paths = category_paths(
        [{"id": 4, "name": "Business", "parent_id": False}, {"id": 5, "name": "Sales", "parent_id": 4}]
    )
    assert modules_of_rows([nested]) == modules_of_rows([flat], depends={1: ["base", "web"]}, categories=paths)
    assert modules_of_rows([nested])[0].category == "Business / Sales"


@pytest.mark.parametrize(("text", "names"), [("b, a", ["a", "b"]), ("", []), (False, []), (None, []), ("a,", ["a"])])
def test_comma_separated_names(text: object, names: list[str]) -> None:
    assert split_names(text) == names


def test_an_unknown_domain_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load_domain("rentals")
    assert "rentals" in caught.value.message
    for name in domain_names():
        assert name in caught.value.hint


@pytest.mark.parametrize("name", ["ecommerce", "generic", "hr", "rental"])
def test_the_four_domains_are_there(name: str) -> None:
    assert name in domain_names()
    assert load_domain(name).name == name
