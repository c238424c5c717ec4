"""A Django project that uses fbs-worker: every action of its command, its views, the service; one real worker."""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from pydantic import SecretStr

from fbs_worker.cli.app import EXIT_INTERRUPTED
from fbs_worker.client.client import Client
from fbs_worker.client.service import IntegrationService
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    JobError,
    JobFailed,
    RefusedError,
)
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.programs import Program
from fbs_worker.ops.local.state import database_url
from tests.support import preloaded
from tests.support.django_project import DJANGO, MANAGE, Manage, config_for, django_here
from tests.support.servers import fresh_database, redis_database
from tests.support.solutions import PASSWORD, config_of, few_models, run, tables_of

NOWHERE = "postgresql://me:a-secret-of-the-address@127.0.0.1:1/nowhere"


@pytest.fixture(scope="module")
def place(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[Settings]:
    """Settings whose worker runs and reads the recorded Odoo."""
    with redis_database(redis_server.url) as url, fresh_database(postgres) as home:
        settings = Settings(
            odoo_url=f"recording:{few_models()}",
            fbs_redis_url=url,
            fbs_database_url=database_url(home),
            fbs_secret_keys=SecretStr(Fernet.generate_key().decode()),
            fbs_home=run_folder / "django-home",
        )
        with Program.start("worker", "--concurrency=2", settings=settings, log=run_folder / "django-worker.log"):
            yield settings


@pytest.fixture(scope="module")
def shop(place: Settings, postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """The database of the solution `shop`, which is set up; tests leave it as it is."""
    with fresh_database(postgres) as database, IntegrationService(place) as service:
        assert service.setup_solution(config_of(database, business_prefix="rental_"))["changed"]
        yield database
        service.drop_solution("shop")


@pytest.fixture
def manage(place: Settings, tmp_path: Path) -> Manage:
    """The project's command line; it knows no Odoo, that is the worker's."""
    return Manage(settings=place.model_copy(update={"odoo_url": ""}), folder=tmp_path)


@pytest.fixture
def browser(place: Settings) -> Iterator[Browser]:
    """A client of the project's views."""
    with django_here(**config_for(place)) as browser:
        yield browser


def called(action: str, **options: Any) -> tuple[str, str]:
    """Output of the command when called by `call_command`."""
    out, err = io.StringIO(), io.StringIO()
    call_command("test_discovery", action=action, stdout=out, stderr=err, no_color=True, **options)
    return out.getvalue(), err.getvalue()


def test_a_solution_s_life(manage: Manage, target: DatabaseConfig) -> None:
    name = f"life_{secrets.token_hex(3)}"
    of_it = ("--solution-name", name)
    ended = manage(
        *("setup", *of_it, "--domain", "rental", "--database-name", target.name, "--database-password", "-"),
        *("--business-prefix", "mine_", "--refresh-discoveries", "--mirror", "sale.order"),
        piped=f"{PASSWORD}\n",
    )
    assert ended.stdout.startswith(f"The solution {name} is set up in {target.address()}.")
    assert f"setup {name}: " in ended.stderr  # how it went on
    assert {"fbs_discoveries", "mine_lease", "mine_sale_order"} <= set(tables_of(target))
    result = manage.json("status", *of_it)
    assert (result["overall_status"], result["config"]["domain"]) == ("active", "rental")
    assert result["discoveries"]["model"] > 10
    assert name in manage("list").stdout
    refreshed = manage.json("refresh", *of_it)
    assert refreshed["solution"] == name
    assert refreshed["job"]
    run(target, "DROP TABLE mine_payment")
    assert f"The tables of {name} match their definition now" in manage("migrate", *of_it).stdout
    assert "mine_payment" in tables_of(target)
    with Client(settings=manage.settings) as client:
        client.drop(name).wait(60)


def test_connections_to_odoo(manage: Manage) -> None:
    of_it = ("--name", "second")
    given = ("--url", f"recording:{few_models()}", "--lang", "en_US")
    assert "is added" in manage("odoo-add", *of_it, *given).stdout
    assert [each["name"] for each in manage.json("odoo-list")["connections"]] == ["second"]
    assert manage.json("odoo-test", *of_it)["source"]["series"] == "19.0"
    assert manage.json("odoo-edit", *of_it, "--timeout", "9")["timeout"] == 9
    plain = manage("odoo-edit", *of_it, "--password", PASSWORD, code=EXIT_USAGE).stderr
    assert "A plain text is not accepted for --password" in plain
    assert PASSWORD not in plain
    assert "is removed" in manage("odoo-remove", *of_it).stdout
    assert "name is missing" in manage("odoo-remove", code=EXIT_USAGE).stderr


def test_discovering(manage: Manage, target: DatabaseConfig) -> None:
    result = manage.json("discover", "--domain", "hr", "--database-name", target.name, "--table-prefix", "mine_")
    assert result["domain"] == "hr"
    assert result["report"]["added"]
    assert "mine_discoveries" in tables_of(target)


def test_an_error_is_two_lines(manage: Manage) -> None:
    words = ("--domain", "nowhere", "--database-name", "x", "--database-password", PASSWORD)
    ended = manage("discover", *words, "--output-format", "json", code=EXIT_USAGE)
    assert json.loads(ended.stdout)["error"]["code"] == "usage"
    first, second = ended.stderr.splitlines()
    assert first == "CommandError: There is no domain 'nowhere'."
    assert second.startswith("hint: ")
    assert PASSWORD not in ended.stdout + ended.stderr


def test_a_wrong_option_is_a_matter_of_usage(manage: Manage) -> None:
    assert "invalid choice: 'explode'" in manage("explode", code=EXIT_USAGE).stderr


def test_a_closed_pipe_ends_it_silently(manage: Manage) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    errors = manage.folder / "errors"
    with os.fdopen(writer, "wb") as closed, errors.open("wb") as said:
        files = {0: closed.fileno(), 1: closed.fileno(), 2: said.fileno()}
        words = ("test_discovery", "--action", "list")
        ended = preloaded.fork(
            words, files, env=manage.environment, cwd=manage.folder, module=str(MANAGE), needs=DJANGO
        )
        assert ended.wait() == 0
    assert errors.read_text() == ""


@pytest.mark.usefixtures("shop", "browser")
def test_a_program_calls_the_command() -> None:
    out, err = called("status", solution_name="shop", output_format="json")
    assert json.loads(out)["solution"] == "shop"
    assert err == ""
    assert "The solution shop is active." in called("status", solution_name="shop")[0]
    listed = json.loads(called("list", output_format="json")[0])["solutions"]
    assert "shop" in [one["solution"] for one in listed]
    assert json.loads(called("migrate", solution_name="shop", plan=True, output_format="json")[0])["steps"] == []
    assert "There is nothing to change" in called("migrate", solution_name="shop", plan=True)[0]


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize(
    ("action", "given", "code", "error"),
    [
        ("status", {}, EXIT_USAGE, "usage"),
        ("status", {"solution_name": "missing"}, EXIT_USAGE, "solution_not_found"),
        ("discover", {}, EXIT_USAGE, "usage"),
        ("discover", {"domain": "hr", "odoo": "nowhere"}, EXIT_USAGE, "job_failed"),
        ("setup", {"solution_name": "x", "domain": "hr"}, EXIT_USAGE, "usage"),
        ("setup", {"solution_name": "x", "domain": "hr", "database_name": "nowhere"}, EXIT_FAILED, "job_failed"),
        ("refresh", {"solution_name": "missing"}, EXIT_USAGE, "solution_not_found"),
        ("migrate", {"solution_name": "missing"}, EXIT_USAGE, "solution_not_found"),
        ("migrate", {"solution_name": "missing", "allow": ["EVERYTHING"]}, EXIT_USAGE, "usage"),
    ],
)
def test_what_goes_wrong(action: str, given: dict[str, Any], code: int, error: str) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"^[^\n]+\nhint: [^\n]+$") as caught:
        call_command("test_discovery", action=action, stdout=out, output_format="json", verbosity=0, **given)
    assert caught.value.returncode == code
    assert json.loads(out.getvalue())["error"]["code"] == error


@pytest.mark.usefixtures("shop", "browser")
def test_options_that_an_action_does_not_use_are_named() -> None:
    _, err = called("status", solution_name="shop", domain="hr", database_name="x")
    assert err == "--database-name, --domain: ignored by --action status.\n"


@pytest.mark.usefixtures("browser")
def test_ctrl_c_ends_it_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(IntegrationService, "list_solutions", interrupted)
    with pytest.raises(CommandError, match="Interrupted") as caught:
        called("list")
    assert caught.value.returncode == EXIT_INTERRUPTED


@pytest.mark.usefixtures("browser")
def test_rejected_operations(target: DatabaseConfig) -> None:
    run(target, "CREATE TABLE rental_employee (id integer)")
    with pytest.raises(CommandError, match="rental_employee") as caught:
        called("setup", solution_name="foreign", domain="hr", database_name=target.name)
    assert caught.value.returncode == EXIT_REFUSED


def test_the_project_s_settings_count_more_than_the_environment(
    place: Settings, target: DatabaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FBS_BUSINESS_PREFIX", "of_the_environment_")
    monkeypatch.setenv("FBS_DEFAULT_DATABASE_HOST", "nowhere.invalid")
    with django_here(**config_for(place)):
        out, _ = called(
            "setup", solution_name="mine", domain="hr", database_name=target.name, refresh_discoveries=False
        )
    assert "Odoo was not read" in out
    assert "rental_employee" in tables_of(target)
    IntegrationService(place).drop_solution("mine")


def test_a_solution_whose_database_is_away(place: Settings, postgres: EmbeddedPostgres) -> None:
    with IntegrationService(place) as service:
        with fresh_database(postgres) as database:
            service.setup_solution(config_of(database, "away", refresh_discoveries=False))
        with django_here(**config_for(place)):
            out = io.StringIO()
            with pytest.raises(CommandError, match="hint: ") as caught:
                call_command("test_discovery", action="status", solution_name="away", stdout=out)
        assert caught.value.returncode == EXIT_UNREACHABLE
        assert "The solution away is unreachable" in out.getvalue()


@pytest.mark.usefixtures("shop")
def test_migrations_that_are_switched_off(place: Settings) -> None:
    with django_here(**config_for(place, enable_migrations=False)):
        with pytest.raises(CommandError, match="switched off") as caught:
            called("migrate", solution_name="shop")
        assert caught.value.returncode == EXIT_REFUSED
        with pytest.raises(RefusedError, match="switched off"):
            IntegrationService().migrate_solution_schema(solution_name="shop")


def test_tables_that_may_not_be_made(place: Settings, target: DatabaseConfig) -> None:
    with django_here(**config_for(place, auto_create_tables=False)), pytest.raises(JobFailed) as caught:
        IntegrationService().setup_solution(config_of(target, "careful", refresh_discoveries=False))
    assert "FBS_AUTO_CREATE_TABLES is false" in caught.value.message
    assert caught.value.context["error"]["context"]["statements"]
    assert tables_of(target) == []


def test_the_default_database(place: Settings, target: DatabaseConfig) -> None:
    database = {"name": target.name, "host": target.host, "port": target.port, "user": target.user}
    with django_here(**config_for(place, default_database_config=database)):
        called("setup", solution_name="there", domain="hr", refresh_discoveries=False)
        assert "rental_employee" in tables_of(target)
        IntegrationService().drop_solution("there")


def test_the_command_reports_wrong_settings(place: Settings) -> None:
    with django_here(**config_for(place, table_prefx="fbs_")), pytest.raises(CommandError) as caught:
        called("list")
    assert str(caught.value) == "FBS_CONFIG has an unknown key: 'table_prefx'.\nhint: Did you mean 'table_prefix'?"
    assert caught.value.returncode == EXIT_USAGE


def test_the_views(browser: Browser, target: DatabaseConfig) -> None:
    name = f"seen_{secrets.token_hex(3)}"
    config = {
        "solution_name": name,
        "domain": "hr",
        "database_config": {"name": target.name, "password": PASSWORD},
        "refresh_discoveries": False,
    }
    made = browser.post("/solutions/", json.dumps(config), content_type="application/json")
    assert made.status_code == 201
    assert "rental_employee" in made.json()["created"]
    assert name in [one["solution"] for one in browser.get("/solutions/").json()["solutions"]]
    refreshed = browser.post(f"/solutions/{name}/refresh/").json()
    assert refreshed["report"]["added"]
    status = browser.get(f"/solutions/{name}/")
    assert status.json()["overall_status"] == "active"
    assert PASSWORD not in (made.content + status.content).decode()
    IntegrationService().drop_solution(solution_name=name)
    gone = browser.get(f"/solutions/{name}/")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "solution_not_found")


def test_the_views_report_errors(browser: Browser) -> None:
    wrong = browser.post("/solutions/", json.dumps({"domain": "hr"}), content_type="application/json")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "usage")
    missing = browser.post("/solutions/missing/refresh/")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "solution_not_found")


def test_the_home_database_is_away(place: Settings) -> None:
    with django_here(**config_for(place, database_url=NOWHERE)) as browser:
        answer = browser.get("/solutions/")
    assert answer.status_code == 503
    assert "a-secret-of-the-address" not in answer.content.decode()


def test_the_service_drops_and_migrates(place: Settings, target: DatabaseConfig) -> None:
    service = IntegrationService(place)
    service.setup_solution(solution_name="brief", domain="hr", database_config=dict(target), refresh_discoveries=False)
    assert service.migrate_solution_schema(solution_name="brief", plan_only=True)["steps"] == []
    assert service.drop_solution(solution_name="brief", dry_run=True)["dropped"]
    done = service.drop_solution(solution_name="brief")
    assert done["job"]
    assert "employee" not in tables_of(target)


def test_a_job_that_fails_says_which_and_why(place: Settings) -> None:
    with pytest.raises(JobFailed, match="'nowhere'") as caught, IntegrationService(place) as service:
        service.discover(domain="hr", odoo="nowhere")
    with Client(settings=place) as client:
        assert client.job(caught.value.context["job"]).status().error == caught.value.context["error"]


def test_waiting_ends_and_the_job_goes_on(place: Settings, redis_url: str) -> None:
    away = place.model_copy(update={"fbs_redis_url": redis_url})  # no worker listens there
    with pytest.raises(JobError, match="has not finished: it is queued") as caught:
        IntegrationService(away, timeout=60).discover(domain="hr", timeout=0.1)
    assert caught.value.exit_code == EXIT_FAILED
    with Client(settings=away) as client:
        assert not client.job(caught.value.context["job"]).status().state.finished


@pytest.mark.usefixtures("shop")
def test_calls_within_with_share_a_connection(place: Settings) -> None:
    with IntegrationService(place) as service:
        first = service.discover(domain="hr")
        second = service.refresh_solution_discoveries("shop", full=True)
    assert first["found"]["model"]
    assert second["solution"] == "shop"
    service.close()  # once more does no harm
