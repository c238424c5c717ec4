"""What is asked of a job: the same checks wherever it is asked, and what travels of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from fbs_worker.core.errors import HostRefused, SecretError, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.migration.model.plan import Hazard
from fbs_worker.solutions.requests import (
    DiscoverRequest,
    DropRequest,
    MigrateRequest,
    RefreshRequest,
    Request,
    SetupRequest,
    reject_plain_password,
)

PRINT = "0123456789abcdef"
DICTIONARY: dict[str, Any] = {
    "solution_name": "fayvad_rentals",
    "domain": "rental",
    "database_config": {
        "name": "rental_db",
        "user": "rental_user",
        "password": "hunter2-in-a-request",
        "host": "localhost",
        "port": "5432",
    },
    "table_prefix": "fbs_",
    "business_prefix": "rental_",
    "refresh_discoveries": True,
}


plain = cache(Settings)


def parse(config: Any = DICTIONARY, settings: Settings | None = None, **flat: Any) -> SetupRequest:
    return SetupRequest.parse(config, settings=settings or plain(), **flat)


def test_the_dictionary_of_a_solution_is_taken_as_it_is() -> None:
    request = parse()
    assert request.database_config.port == 5432
    assert (request.domain, request.business_prefix) == ("rental", "rental_")
    assert parse({**DICTIONARY, "database_config": {**DICTIONARY["database_config"], "port": 5432}}) == request
    assert parse(None, **DICTIONARY) == request
    assert "hunter2" not in repr(request)


def test_what_is_missing_comes_from_the_settings() -> None:
    settings = Settings(
        fbs_table_prefix="sys_",
        fbs_business_prefix="our_",
        fbs_default_database_host="db.example.com",
        fbs_default_database_port=6543,
        fbs_default_database_user="us",
        fbs_default_database_password=SecretStr("env:DB_PASSWORD"),
    )
    few = {"solution_name": "shop", "domain": "hr", "database_config": {"name": "shop", "host": "", "user": None}}
    config = parse({**few, "table_prefix": None}, settings)
    assert (config.table_prefix, config.business_prefix) == ("sys_", "our_")
    assert config.database_config.address() == "us@db.example.com:6543/shop"
    assert config.database_config.password.get_secret_value() == "env:DB_PASSWORD"
    assert (config.refresh_discoveries, config.mirror, config.odoo) == (True, (), None)


def test_what_is_given_by_itself_counts_more() -> None:
    config = parse(business_prefix="b_", refresh_discoveries=False, table_prefix=None, mirror="sale.order")
    assert (config.business_prefix, config.table_prefix, config.refresh_discoveries) == ("b_", "fbs_", False)
    assert config.mirror == ("sale.order",)
    assert parse(mirror=["b.b", "a.a", "b.b"]).mirror == ("a.a", "b.b")
    assert parse(business_prefix="").business_prefix == ""


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (SetupRequest, {"solution_name": 'shop"'}, "solution_name is not valid"),
        (SetupRequest, {"solution_name": 7}, "solution_name is not a string"),
        (SetupRequest, {"domain": "nowhere"}, "no domain 'nowhere'"),
        (SetupRequest, {"database_config": {}}, "database_config.name is missing"),
        (SetupRequest, {"database_config": "shop"}, "database_config is not a dictionary"),
        (SetupRequest, {"table_prefix": 'x"; DROP TABLE'}, "table_prefix is not valid"),
        (SetupRequest, {"business_prefix": "x" * 21}, "business_prefix is not valid"),
        (SetupRequest, {"refresh_discoveries": "yes"}, "refresh_discoveries is not a boolean"),
        (SetupRequest, {"mirror": 7}, "mirror is not a list of strings"),
        (SetupRequest, {"mirror": ["Sale Order"]}, "mirror is not valid: use names such as sale.order"),
        (SetupRequest, {"odoo": "a b"}, "odoo is not valid"),
        (SetupRequest, {"odoo_moved": 1}, "odoo_moved is not a boolean"),
        (SetupRequest, {"surprise": 1}, "surprise is not known"),
        (SetupRequest, {"config": "shop"}, "config is not a dictionary"),
        (SetupRequest, {"config": {"surprise": 1}}, "surprise is not known"),
        (DiscoverRequest, {"domain": 7}, "domain is not a string"),
        (DiscoverRequest, {"discovery_types": ["modules"]}, "Unknown discovery type"),
        (DiscoverRequest, {"discovery_types": [7]}, "Unknown discovery type"),
        (DiscoverRequest, {"discovery_types": "modules"}, "Unknown discovery type"),
        (DiscoverRequest, {"full": "yes"}, "full is not a boolean"),
        (DiscoverRequest, {"database_config": {"user": "me"}}, "database_config.name is missing"),
        (RefreshRequest, {"full": "yes"}, "full is not a boolean"),
        (RefreshRequest, {"surprise": 1}, "surprise is not known"),
        (DropRequest, {"with_data": "yes"}, "with_data is not a boolean"),
        (DropRequest, {"dry_run": 1}, "dry_run is not a boolean"),
        (MigrateRequest, {"solution_name": "a b"}, "solution_name is not valid"),
        (MigrateRequest, {"plan_only": 1}, "plan_only is not a boolean"),
        (MigrateRequest, {"fingerprint": "short"}, "fingerprint is not valid: it has 16 hexadecimal digits"),
        (MigrateRequest, {"fingerprint": 7}, "fingerprint is not a string"),
        (MigrateRequest, {"allow": ["NOTHING"]}, "Unknown hazard"),
        (MigrateRequest, {"allow": 7}, "allow is not a list"),
        (MigrateRequest, {"renames": ["lease.notes"]}, "does not have the form table.old=new"),
        (MigrateRequest, {"renames": ["notes=remarks"]}, "does not have the form table.old=new"),
        (MigrateRequest, {"renames": [7]}, "renames is not a list"),
        (MigrateRequest, {"mirror": ["hr.job"], "unmirror": ["hr.job"]}, "is in both mirror and unmirror"),
        (MigrateRequest, {"plan_only": True, "fingerprint": PRINT}, "exclude each other"),
        (MigrateRequest, {"undo": True}, "needs the fingerprint"),
        (MigrateRequest, {"undo": True, "plan_only": True, "restore": True}, "accepts no other change"),
        (MigrateRequest, {"undo": True, "fingerprint": PRINT, "renames": ["a.b=c"]}, "accepts no other change"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)[:40]),
)
def test_invalid_fields_are_rejected(kind: type[Request], given: dict[str, Any], words: str) -> None:
    valid = (
        DICTIONARY if kind is SetupRequest else {"domain": "hr"} if kind is DiscoverRequest else {"solution_name": "a"}
    )
    with pytest.raises(UsageError) as caught:
        kind.from_message({**valid, **given}, settings=Settings(), in_process=True)
    assert words in caught.value.message
    assert caught.value.hint
    assert "hunter2" not in str(caught.value) + caught.value.hint


def rejection(ask: Callable[[], object]) -> str:
    """The message of the UsageError; empty without one."""
    try:
        ask()
    except UsageError as exc:
        return exc.message
    return ""


@given(st.text(max_size=30) | st.sampled_from(['x"; DROP TABLE y; --', "select", "ärger_", "x" * 64, "a\0b", "'"]))
def test_a_prefix_is_valid_or_rejected(text: str) -> None:
    for option in ("table_prefix", "business_prefix"):
        given: dict[str, Any] = {option: text}
        reason = rejection(partial(parse, **given))
        assert option in reason if reason else not set(text) - set("abcdefghijklmnopqrstuvwxyz0123456789_")


@given(st.text(max_size=120))
def test_all_requests_agree_on_valid_solution_names(text: str) -> None:
    asks = (parse, RefreshRequest, DropRequest)
    reasons = {rejection(partial(ask, solution_name=text)) for ask in asks}
    assert len(reasons) == 1
    assert reasons == {""} or "solution_name is not valid" in reasons.pop()


def test_messages_round_trip() -> None:
    settings = Settings(
        fbs_secret_keys=SecretStr(Fernet.generate_key().decode()), odoo_url="http://odoo", odoo_db="live"
    )
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    request = parse(mirror=["sale.order"], odoo_moved=True, create_tables=False)
    message = request.to_message(settings)
    assert "hunter2" not in str(message)
    assert message["database_config"]["password"].startswith("sealed:")
    assert message["odoo_expected"] == {"url": "http://odoo", "database": "live"}
    there = settings.model_copy(update={"fbs_business_prefix": "other_"})
    arrived = SetupRequest.from_message(message, settings=there)
    assert arrived.database_config.resolved(vault).model_dump() == request.database_config.model_dump()
    assert arrived.model_dump(exclude={"database_config", "odoo_expected"}) == request.model_dump(
        exclude={"database_config", "odoo_expected"}
    )
    others: list[Request] = [
        RefreshRequest(solution_name="shop", full=True, odoo_moved=True),
        DropRequest(solution_name="shop", with_data=True, dry_run=True),
        DiscoverRequest(domain="hr", odoo_moved=True),
    ]
    for other in others:
        assert type(other).from_message(other.to_message(Settings()), settings=Settings()) == other


def test_a_message_is_checked_where_the_job_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENTAL_PASSWORD", "hunter2")
    keys = SecretStr(Fernet.generate_key().decode())
    worker = Settings(fbs_secret_keys=keys, fbs_allowed_hosts="127.0.0.1:5432", fbs_secret_references="env:OTHER")
    vault = Vault.from_text(keys.get_secret_value())

    def arrive(password: str, *, host: str = "127.0.0.1", port: int = 5432) -> DiscoverRequest:
        database = {"name": "x", "host": host, "port": port, "password": password}
        return DiscoverRequest.from_message({"domain": "hr", "database_config": database}, settings=worker)

    stranger = vault.encrypt("hunter2")  # of another message, without its host
    for password, host, port in (("", "127.0.0.2", 5432), ("", "127.0.0.1", 5499), (stranger, "127.0.0.2", 5432)):
        with pytest.raises(HostRefused):
            arrive(password, host=host, port=port)
    for reference in ("env:FBS_SECRET_KEYS", "env:RENTAL_PASSWORD", "file:/etc/passwd", "file:/etc/no-such"):
        with pytest.raises(SecretError, match="cannot be used"):
            arrive(reference)
    assert arrive("env:OTHER").database_config
    assert arrive(stranger).database_config

    # a person with the keys names any host, and refers to what is set in the own process
    own = DiscoverRequest.parse(
        {"domain": "hr", "database_config": {"name": "x", "host": "127.0.0.9", "password": "env:RENTAL_PASSWORD"}},
        settings=worker,
    )
    sent = own.with_own_secrets(worker).to_message(worker)
    assert sent["database_config"]["password"].startswith("sealed:")
    arrived = DiscoverRequest.from_message(sent, settings=worker).database_config
    assert arrived is not None
    assert arrived.resolved(vault).password.get_secret_value() == "hunter2"
    without = DiscoverRequest.parse(
        {"domain": "hr", "database_config": {"name": "x", "host": "/own/socket"}}, settings=worker
    ).to_message(worker)
    arrived = DiscoverRequest.from_message(without, settings=worker).database_config
    assert arrived is not None
    assert arrived.password.get_secret_value() == ""
    generous = worker.model_copy(update={"fbs_default_database_password": SecretStr("the-worker-s")})
    with pytest.raises(HostRefused):  # a password of the worker's own goes only where it is allowed
        DiscoverRequest.from_message(without, settings=generous)
    for update in ({"fbs_secret_keys": SecretStr("")}, {"fbs_secret_references": "env:RENTAL_*"}):
        assert own.with_own_secrets(worker.model_copy(update=update)) == own
    monkeypatch.delenv("RENTAL_PASSWORD")
    assert own.with_own_secrets(worker) == own


def test_a_migration_is_normalised() -> None:
    request = MigrateRequest.parse(
        settings=Settings(),
        solution_name="shop",
        fingerprint=PRINT,
        allow=["deletes_data", "DRIFT", "DRIFT"],
        renames="lease.notes=remarks",  # one by itself is a list, too
        restore=True,
        mirror=["sale.order", "res.users"],
        unmirror=("hr.job",),
    )
    assert request.allow == (Hazard.DELETES_DATA, Hazard.DRIFT)
    assert request.renames == ("lease.notes=remarks",)
    assert request.mirror == ("res.users", "sale.order")
    assert MigrateRequest.from_message(request.to_message(Settings()), settings=Settings()) == request


def test_a_plain_password_is_never_sent() -> None:
    with pytest.raises(SecretError):
        parse().to_message(Settings())
    for fine in (
        None,
        "shop",
        {},
        {"password": ""},
        {"password": None},
        {"password": "env:X"},
        {"password": "sealed:x"},
    ):
        reject_plain_password(fine)
    with pytest.raises(SecretError) as caught:
        reject_plain_password({"password": "hunter2"})
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_a_solution_s_database_may_have_a_default() -> None:
    settings = Settings(fbs_default_database_name="home", fbs_default_database_host="db")
    request = SetupRequest.parse({"solution_name": "shop", "domain": "hr"}, settings=settings)
    assert (request.database_config.name, request.database_config.host) == ("home", "db")
    named = SetupRequest.parse(
        {"solution_name": "shop", "domain": "hr", "database_config": {"name": "other"}}, settings=settings
    )
    assert named.database_config.name == "other"
    assert DiscoverRequest.parse(domain="hr", settings=settings).database_config is None


def test_tables_are_made_only_where_both_sides_allow_it() -> None:
    careful = Settings(fbs_auto_create_tables=False)
    config = {"solution_name": "shop", "domain": "hr", "database_config": {"name": "x"}}
    message = SetupRequest.parse(config, settings=careful).to_message(careful)
    assert not SetupRequest.from_message(message, settings=Settings()).create_tables
    message = SetupRequest.parse(config, settings=Settings()).to_message(Settings())
    assert SetupRequest.from_message(message, settings=Settings()).create_tables
    assert not SetupRequest.from_message(message, settings=careful).create_tables
