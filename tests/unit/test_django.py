"""FBS_CONFIG of a Django project: conversion, validation and system checks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import CommandError, call_command

from fbs_worker.client.service import IntegrationService
from fbs_worker.contrib.django.checks import NOT_SET, NOT_VALID, WRONG_VALUE, check_configuration
from fbs_worker.contrib.django.conf import fbs_settings, keys, settings_of
from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.replication.state import Status
from fbs_worker.solutions.requests import Request, SyncRequest
from tests.support.django_project import django_here
from tests.unit.test_render_records import result as synced
from tests.unit.test_render_records import table

SECRET = "hunter-2-of-a-setting"
WHOLE = {
    "redis_url": "redis://localhost/0",
    "database_url": "postgresql://me@localhost/home",
    "secret_keys": Fernet.generate_key().decode(),
}


@pytest.fixture(autouse=True)
def no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide a running `fbs up` of the developer."""
    monkeypatch.setenv("FBS_HOME", str(tmp_path))


def test_each_setting_has_a_key() -> None:
    grouped = {name for name in Settings.model_fields if name.startswith("fbs_default_database_")}
    assert {*keys().values(), *grouped} == set(Settings.model_fields)
    assert {"table_prefix", "business_prefix", "auto_create_tables", "enable_migrations", "odoo", "odoo_url"} <= set(
        keys()
    )


def test_keys_map_to_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_TABLE_PREFIX", "of_the_environment_")
    monkeypatch.setenv("FBS_PAGE_SIZE", "500")
    monkeypatch.setenv("FBS_ODOO__ERP__PASSWORD", SECRET)
    found = settings_of(
        {
            **WHOLE,
            "table_prefix": "ours_",
            "auto_create_tables": False,
            "enable_migrations": False,
            "business_prefix": None,
            "default_database_config": {"host": "db", "port": "5433", "user": "me", "password": SECRET},
            "odoo_url": "https://odoo.example.com",
            "odoo": {"erp": {"url": "https://erp.example.com", "db": "erp"}},
        }
    )
    assert (found.fbs_table_prefix, found.fbs_page_size, found.fbs_business_prefix) == ("ours_", 500, "")
    assert (found.fbs_auto_create_tables, found.fbs_enable_migrations) == (False, False)
    assert (found.fbs_default_database_host, found.fbs_default_database_port) == ("db", 5433)
    assert found.fbs_default_database_password.get_secret_value() == SECRET
    assert found.odoo().url == "https://odoo.example.com"
    assert found.odoo("erp").password.get_secret_value() == SECRET  # what is not given comes from the environment
    assert settings_of({}).fbs_table_prefix == "of_the_environment_"


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ([], "FBS_CONFIG is not a dictionary.", "Known keys are: "),
        ({"table_prefx": "x"}, "FBS_CONFIG has an unknown key: 'table_prefx'.", "Did you mean 'table_prefix'?"),
        ({"FBS_REDIS_URL": "x"}, "FBS_CONFIG has an unknown key: 'FBS_REDIS_URL'.", "Did you mean 'redis_url'?"),
        ({"zzz": 1}, "FBS_CONFIG has an unknown key: 'zzz'.", "Known keys are: "),
        ({7: 1}, "FBS_CONFIG has an unknown key: 7.", "Known keys are: "),
        ({"page_size": SECRET}, "FBS_CONFIG['page_size'] is not valid: ", "Correct FBS_CONFIG['page_size']."),
        ({"secret_keys": {"a": SECRET}}, "FBS_CONFIG['secret_keys'] is not valid: ", "Correct "),
        (
            {"default_database_config": SECRET},
            "FBS_CONFIG['default_database_config'] is not a dictionary.",
            "Known keys are: host, ",
        ),
        (
            {"default_database_config": {"HOST": "db"}},
            "FBS_CONFIG['default_database_config'] has an unknown key: 'HOST'.",
            "Did you mean 'host'?",
        ),
        (
            {"default_database_config": {"port": SECRET}},
            "FBS_CONFIG['default_database_config']['port'] is not valid: ",
            "Correct ",
        ),
        ({"odoo": {"url": SECRET}}, "FBS_CONFIG['odoo']['url'] is not valid: ", "FBS_CONFIG['odoo'] maps names"),
        ({"odoo": {"erp": {"pasword": SECRET}}}, "FBS_CONFIG['odoo']['erp']['pasword'] is not valid: ", "FBS_CONFIG["),
    ],
)
def test_invalid_configurations(config: Any, message: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(config)
    assert caught.value.message.startswith(message)
    assert caught.value.hint.startswith(hint)
    assert SECRET not in caught.value.message + caught.value.hint


def test_an_invalid_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_PAGE_SIZE", "many")
    with pytest.raises(SettingsError, match="The setting FBS_PAGE_SIZE is not valid"):
        settings_of({"table_prefix": "x_"})


def test_the_configuration_is_read_each_time() -> None:
    with django_here(table_prefix="one_"):
        assert fbs_settings().fbs_table_prefix == "one_"
        assert IntegrationService()._settings.fbs_table_prefix == "one_"
    with django_here(table_prefix="two_"):
        assert IntegrationService()._settings.fbs_table_prefix == "two_"
    assert IntegrationService()._settings.fbs_table_prefix == "fbs_"


def found_by_checks(**config: Any) -> list[tuple[str, str]]:
    with django_here(**config):
        result = check_configuration()
    assert all(one.hint for one in result)
    assert SECRET not in str(result)
    return [(one.id, one.msg) for one in result]


def test_a_complete_configuration_passes() -> None:
    assert found_by_checks(**WHOLE) == []


def test_missing_settings_are_warnings() -> None:
    assert [number for number, _ in found_by_checks()] == [NOT_SET] * 3


@pytest.mark.parametrize(
    ("given", "number", "message"),
    [
        ({"zzz": 1}, NOT_VALID, "an unknown key"),
        ({"page_size": 1}, NOT_VALID, "FBS_CONFIG['page_size'] is not valid"),
        ({"redis_url": f"http://:{SECRET}@x"}, WRONG_VALUE, "FBS_REDIS_URL is not a valid Redis URL"),
        ({"broker_url": f"http://:{SECRET}@x"}, WRONG_VALUE, "FBS_BROKER_URL is not a valid broker URL"),
        ({"database_url": f"mysql://me:{SECRET}@x/y"}, WRONG_VALUE, "FBS_DATABASE_URL is not valid"),
        ({"secret_keys": SECRET}, WRONG_VALUE, "Key 1 of FBS_SECRET_KEYS is not a Fernet key"),
        ({"table_prefix": ""}, WRONG_VALUE, "table_prefix is not valid"),
        ({"business_prefix": "Not a prefix"}, WRONG_VALUE, "business_prefix is not valid"),
    ],
)
def test_system_checks(given: dict[str, Any], number: str, message: str) -> None:
    ((found, words),) = found_by_checks(**{**WHOLE, **given})
    assert found == number
    assert message in words


def test_django_runs_the_checks_and_finds_no_models() -> None:
    with django_here(**WHOLE):
        out, err = io.StringIO(), io.StringIO()
        call_command("check", stdout=out, stderr=err)
        assert out.getvalue() + err.getvalue() == "System check identified no issues (0 silenced).\n"
        ours = apps.get_app_config("fbs_worker")
        assert list(ours.get_models()) == []
        assert not (Path(ours.path) / "migrations").exists()


def test_a_sync_that_leaves_something_to_do_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def run(_service: IntegrationService, request: Request) -> dict[str, Any]:
        asked.append(request)
        return synced(table(status=Status.REVIEW, reason="Too many are gone."))

    monkeypatch.setattr(IntegrationService, "run", run)
    out = io.StringIO()
    with django_here(**WHOLE), pytest.raises(CommandError) as caught:
        call_command(
            "test_discovery", "--action=sync", "--solution-name=shop", "--model=hr.job", "--allow-delete=7", stdout=out
        )
    assert caught.value.returncode == 4
    assert "res_partner needs review: Too many are gone." in out.getvalue()
    assert asked == [SyncRequest(solution_name="shop", models=("hr.job",), allow_delete=7)]
