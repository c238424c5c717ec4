"""Connections to Odoo that are kept in the home database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from fbs_worker.client.client import Client
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    DatabaseError,
    FBSError,
    HostRefused,
    OdooConnectionConflict,
    OdooConnectionNotFound,
    OdooLoginRefused,
    SecretError,
    SettingsError,
    UsageError,
)
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.core.vault import new_key
from fbs_worker.solutions.key_rotation import rotate_keys
from fbs_worker.solutions.odoo_connections import add_odoo, edit_odoo, find_odoo, list_odoo, remove_odoo, show_odoo
from fbs_worker.solutions.odoo_requests import OdooAddRequest, OdooEditRequest
from tests.conftest import MakeSettings, StartWorker
from tests.support.odoo_server import OdooServer, OdooUser
from tests.support.redis_contents import everything_in
from tests.support.solutions import config_of, few_models, inline, rows, run

SECRET = "s3cr3t-of-odoo"
TOKEN = "t0ken-of-a-proxy"
READER = OdooUser(
    login="reader",
    password=SECRET,
    denied={"ir.ui.view": ["Administration / Settings"], "ir.cron": [], "ir.module.module.dependency": []},
)


def request(name: str = "shop", **fields: Any) -> OdooAddRequest:
    """A connection that lacks nothing."""
    given = {"url": "https://odoo.example.com/", "db": "live", "user": "reader", "password": SECRET, **fields}
    return OdooAddRequest(name=name, **{key: value for key, value in given.items() if value is not None})


def edit(name: str = "shop", **fields: Any) -> OdooEditRequest:
    return OdooEditRequest(name=name, **fields)


@pytest.fixture
def plain(settings: MakeSettings) -> Settings:
    """No connection in the environment."""
    return settings()


@pytest.fixture
def second() -> Iterator[OdooServer]:
    """Another Odoo, whose user may not read everything."""
    with OdooServer(RecordingTransport(few_models()), users=(READER,)) as server:
        yield server


def test_a_connection_is_kept_without_its_secrets_in_sight(plain: Settings, database: DatabaseConfig) -> None:
    headers = {"X-Token": TOKEN}
    added = add_odoo(plain, request("Shop", headers=headers, timeout="30", lang="de_DE"))
    assert added.pop("created_at") == added.pop("updated_at")
    assert added == {
        "name": "shop",
        "origin": "database",
        "url": "https://odoo.example.com",
        "db": "live",
        "user": "reader",
        "credentials": "password",
        "secret": "encrypted",
        "protocol": "auto",
        "lang": "de_DE",
        "timeout": 30,
        "headers": True,
        "overridden_by": "",
        "solutions": [],
    }
    ((stored,),) = rows(database, "SELECT to_jsonb(c)::text FROM fbs_odoo_connections c")
    for secret in (SECRET, TOKEN):
        assert secret not in stored + str(list_odoo(plain))
    found = find_odoo(plain, "SHOP")
    assert (found.password.get_secret_value(), found.stored_as, found.timeout) == (SECRET, "shop", 30)
    assert TOKEN in found.headers.get_secret_value()
    assert SECRET not in repr(found)


def test_only_what_is_given_changes(plain: Settings) -> None:
    before = add_odoo(plain, request())
    after = edit_odoo(plain, edit(url="http://10.0.0.1:8069", timeout=5))
    changed = {"url": "http://10.0.0.1:8069", "timeout": 5, "updated_at": after["updated_at"]}
    assert after == {**before, **changed}
    assert find_odoo(plain, "shop").password.get_secret_value() == SECRET
    assert edit_odoo(plain, edit(api_key="k" * 40, user=""))["credentials"] == "api_key"
    found = find_odoo(plain, "shop")
    assert (found.api_key.get_secret_value(), found.password.get_secret_value(), found.user) == ("k" * 40, "", "")


def test_a_reference_is_looked_up_where_a_job_runs(plain: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert add_odoo(plain, request(password="env:SHOP_SECRET"))["secret"] == "reference"
    with pytest.raises(SecretError):
        find_odoo(plain, "shop")
    monkeypatch.setenv("SHOP_SECRET", SECRET)
    assert find_odoo(plain, "shop").password.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"db": None}, UsageError, "db is missing."),
        ({"password": None}, UsageError, "password or api_key is missing."),
        ({"user": None}, UsageError, "user is missing."),
        ({"api_key": "x"}, UsageError, "password and api_key exclude each other."),
        ({"protocol": "json2"}, UsageError, "JSON-2 needs an API key."),
        ({"url": "odoo:8069"}, UsageError, "has no scheme"),
        ({"url": "https://me:pw@odoo.example.com"}, UsageError, "contains a user or a password"),
        ({"url": "https://odoo.example.com/web"}, UsageError, "a path after the host"),
        ({"headers": "Host: x"}, UsageError, "headers may not set Host"),
        ({"timeout": 0}, UsageError, "timeout is not valid"),
        ({"password": "sealed:gAAAA"}, SecretError, "encrypted secret is not accepted"),
    ],
)
def test_bad_input_changes_nothing(plain: Settings, fields: dict[str, Any], kind: type[FBSError], words: str) -> None:
    with pytest.raises(kind, match=words) as refused:
        add_odoo(plain, request(**fields))
    assert refused.value.hint
    assert SECRET not in str(refused.value.to_dict())
    assert list_odoo(plain)["connections"] == []
    add_odoo(plain, request())
    before = list_odoo(plain)
    given = {key: "" if value is None else value for key, value in fields.items()}
    with pytest.raises(kind):
        edit_odoo(plain, edit(**{"password": SECRET, **given}))
    assert list_odoo(plain) == before


def test_without_keys_a_secret_is_not_stored(settings: MakeSettings) -> None:
    with pytest.raises(SecretError, match="FBS_SECRET_KEYS is not set"):
        add_odoo(settings(fbs_secret_keys=""), request())


def test_of_two_at_once_one_exists_already(plain: Settings) -> None:
    def add(number: int) -> str:
        try:
            return str(add_odoo(plain, request(db=f"db{number}"))["db"])
        except OdooConnectionConflict as exc:
            return exc.message

    with ThreadPoolExecutor(6) as threads:
        added = [*threads.map(add, range(6))]
    (kept,) = (each["db"] for each in list_odoo(plain)["connections"])
    assert [name for name in added if "exists already" not in name] == [kept]


def test_the_environment_counts_more(settings: MakeSettings) -> None:
    staging = OdooConnection(url="http://staging:8069", db="s", user="u", password=SecretStr(SECRET))
    both = settings(odoo_url="http://localhost:8069", odoo_password=SECRET, fbs_odoo={"staging": staging})
    assert add_odoo(both, request("staging"))["overridden_by"] == "FBS_ODOO__STAGING__URL"
    listed = [(each["name"], each["origin"]) for each in list_odoo(both)["connections"]]
    assert listed == [("default", "environment"), ("staging", "environment"), ("staging", "database")]
    assert SECRET not in str(list_odoo(both))
    assert find_odoo(both, "staging").url == "http://staging:8069"
    assert show_odoo(both, "Staging")["origin"] == "environment"
    of_environment = pytest.raises(OdooConnectionConflict, match=r"one of the environment \(ODOO_URL\)")
    with of_environment:
        edit_odoo(both, edit("default", db="x"))
    with of_environment:
        remove_odoo(both, "default")
    assert remove_odoo(both, "STAGING") == {"name": "staging", "removed": True}


def test_an_unknown_one(plain: Settings, settings: MakeSettings, target: DatabaseConfig) -> None:
    for call in (
        lambda: find_odoo(plain, "shop"),
        lambda: edit_odoo(plain, edit(db="x")),
        lambda: remove_odoo(plain, "shop"),
        lambda: show_odoo(plain, "shop"),
    ):
        with pytest.raises(OdooConnectionNotFound, match=r"'shop' \(known: none\)") as missing:
            call()
        assert "fbs odoo add shop" in missing.value.hint
    add_odoo(plain, request("other"))
    with pytest.raises(OdooConnectionNotFound, match=r"'shop' \(known: other\)"):
        inline("setup", config_of(target, odoo="shop"), plain)
    with pytest.raises(SettingsError, match=r"ODOO_URL is not set\.") as unset:
        find_odoo(plain)
    assert "fbs odoo add default" in unset.value.hint
    assert "Stored are: other" in unset.value.hint
    with pytest.raises(UsageError, match="Nothing to change"):
        edit_odoo(plain, edit("other"))
    assert list_odoo(settings(fbs_database_url=""))["notes"]


def test_a_damaged_row_is_named(plain: Settings, database: DatabaseConfig) -> None:
    add_odoo(plain, request())
    run(database, "UPDATE fbs_odoo_connections SET protocol = 'xmlrpc'")
    with pytest.raises(DatabaseError, match="'shop' is damaged: protocol"):
        find_odoo(plain, "shop")
    assert edit_odoo(plain, edit(protocol="auto"))["protocol"] == "auto"


def test_one_that_solutions_use_is_not_removed(plain: Settings, target: DatabaseConfig) -> None:
    add_odoo(plain, OdooAddRequest(name="shop", url=f"recording:{few_models()}"))
    inline("setup", config_of(target, "rentals", odoo="shop"), plain)
    assert show_odoo(plain, "shop")["solutions"] == ["rentals"]
    with pytest.raises(OdooConnectionConflict, match="use the Odoo connection 'shop': rentals"):
        remove_odoo(plain, "shop")
    inline("drop", {"solution_name": "rentals"}, plain)
    assert remove_odoo(plain, "shop")["removed"]


def test_keys_are_rotated(settings: MakeSettings, database: DatabaseConfig) -> None:
    old, new = new_key(), new_key()
    add_odoo(settings(fbs_secret_keys=old), request(headers=f"X-Token: {TOKEN}"))
    add_odoo(settings(fbs_secret_keys=old), request("other", password="env:X"))
    lost = rotate_keys(settings(fbs_secret_keys=new))
    assert [(each["odoo"], each["solution"]) for each in lost["unopened"]] == [("shop", "")] * 2
    assert not lost["complete"]
    result = rotate_keys(settings(fbs_secret_keys=f"{new},{old}"))
    assert (result["resealed"], result["references"], result["complete"]) == (2, 1, True)
    assert SECRET not in str(result) + str(lost)
    found = find_odoo(settings(fbs_secret_keys=new), "shop")
    assert found.password.get_secret_value() == SECRET
    assert TOKEN in found.headers.get_secret_value()
    assert rotate_keys(settings(fbs_secret_keys=new))["current"] == 2


PUBLIC, PRIVATE, METADATA = "https://93.184.216.34", "https://10.1.2.3", "http://169.254.169.254"


@pytest.mark.parametrize(
    ("url", "allowed", "fine"),
    [
        (PUBLIC, "", True),
        (PUBLIC.replace("https", "http"), "", False),
        (PUBLIC, "db.example.com", False),
        (PRIVATE, "", False),
        (PRIVATE, "10.0.0.0/8", True),
        (f"{PRIVATE}:8443", "10.0.0.0/8", False),
        (f"{PRIVATE}:8443", "10.0.0.0/8:8443", True),
        ("http://localhost:8069", "", False),
        ("http://localhost:8069", "localhost", True),
        ("http://localhost:8069", "127.0.0.0/8:*", False),
        ("http://[::ffff:10.1.2.3]", "", False),
        (METADATA, "0.0.0.0/0:*", False),
        (METADATA, "169.254.169.254", False),
        ("http://configured:8069", "", True),
        ("http://configured:9999", "", False),
        ("recording:/etc/passwd", "", False),
    ],
)
def test_a_caller_names_allowed_hosts_only(settings: MakeSettings, url: str, allowed: str, fine: bool) -> None:
    guarded = settings(
        fbs_allowed_hosts=allowed,
        fbs_api_tokens="ci:write:" + "0" * 64,
        fbs_odoo={"known": OdooConnection(url="http://configured:8069")},
    )
    given = request(url=url)
    if fine:
        add_odoo(guarded, given, by_caller=True)
        return
    with pytest.raises(HostRefused):
        add_odoo(guarded, given, by_caller=True)
    assert add_odoo(guarded, given)["url"].startswith(url[:10])


def test_without_tokens_a_caller_may_name_this_machine(plain: Settings) -> None:
    assert add_odoo(plain, request(url="http://localhost:8069"), by_caller=True)
    with pytest.raises(HostRefused):
        add_odoo(plain, request("b", url=PRIVATE), by_caller=True)


def test_a_caller_does_not_get_a_secret_sent_elsewhere(settings: MakeSettings) -> None:
    guarded = settings(fbs_allowed_hosts="odoo.example.com,93.184.216.0/24", fbs_secret_references="env:SHOP_*")
    add_odoo(guarded, request(headers=f"X-Token: {TOKEN}"))
    for fields in ({}, {"password": "mine"}, {"headers": "X: y"}):
        with pytest.raises(UsageError, match="needs the secret again"):
            edit_odoo(guarded, edit(url=PUBLIC, **fields), by_caller=True)
    assert edit_odoo(guarded, edit(url=PUBLIC, password="mine", headers=""), by_caller=True)["url"] == PUBLIC
    with pytest.raises(HostRefused, match="not allowed by its name"):
        edit_odoo(guarded, edit(password="env:SHOP_SECRET"), by_caller=True)
    with pytest.raises(SecretError, match="cannot be used"):
        add_odoo(guarded, request("b", password="env:HOME"), by_caller=True)
    assert add_odoo(guarded, request("b", password="env:SHOP_SECRET"), by_caller=True)["secret"] == "reference"


def test_a_test_says_what_the_user_may_read(plain: Settings, second: OdooServer) -> None:
    add_odoo(plain, request(url=second.url))
    result = inline("test_odoo", {"name": "shop"}, plain)
    assert result["source"] == {"url": second.url, "database": "live", "series": "19.0"}
    assert (result["protocol"], result["user"], result["origin"]) == ("odoorpc, web session", "reader", "database")
    sections = {each["name"]: (each["status"], each.get("needs", "")) for each in result["sections"]}
    assert sections["views"] == ("denied", "Administration / Settings")
    assert sections["schedules"] == ("denied", "Administration / Settings")
    assert sections["modules"] == ("partial", "Administration / Settings")
    assert sections["models"] == sections["fields"] == sections["dashboards"] == ("complete", "")
    assert not result["complete"]
    assert 0 < result["call_ms"] < 60_000
    edit_odoo(plain, edit(password="wrong"))
    with pytest.raises(OdooLoginRefused) as refused:
        inline("test_odoo", {"name": "shop"}, plain)
    assert "fbs odoo edit shop" in refused.value.hint


def test_an_api_key_is_used_by_json2(plain: Settings) -> None:
    with OdooServer(RecordingTransport(few_models())) as server:
        add_odoo(plain, request(url=server.url, password=None, user=None, api_key="a" * 40))
        assert inline("test_odoo", {"name": "shop"}, plain)["protocol"] == "JSON-2"
        open_transport(find_odoo(plain, "shop")).close()


def test_a_running_worker_reads_one_that_is_added(
    plain: Settings, start_worker: StartWorker, second: OdooServer, target: DatabaseConfig, redis_url: str
) -> None:
    worker = start_worker(plain)
    with Client(settings=plain) as client:
        with pytest.raises(FBSError, match="known: none"):
            client.setup(config_of(target, odoo="second")).wait(60)
        client.odoo.add(name="second", url=second.url, db="live", user="reader", password=SECRET)
        assert client.odoo.test("second").wait(60)["source"]["url"] == second.url
        assert client.setup(config_of(target, odoo="second")).wait(60)["refresh"]["source"]["url"] == second.url
        with OdooServer(RecordingTransport(few_models()), database="moved", users=(READER,)) as third:
            client.odoo.edit("second", url=third.url, db="moved")
            moved = client.refresh("shop", odoo_moved=True).wait(60)
        assert moved["source"]["database"] == "moved"
        assert [each["solutions"] for each in client.odoo.list()["connections"]] == [["shop"]]
        with pytest.raises(OdooConnectionConflict):
            client.odoo.remove("second")
    with redis.Redis.from_url(redis_url) as raw:
        kept = b"\n".join(everything_in(raw)).decode(errors="replace")
    assert third.url in kept
    assert SECRET not in kept + worker.log.read_text()
