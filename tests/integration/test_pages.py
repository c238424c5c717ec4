"""Content of the pages with a real solution, without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import lxml.html
import pytest

from fbs_worker.client.client import Client
from fbs_worker.jobs.model import JobState
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.web.pages.reference import prose
from tests.conftest import MakeSettings
from tests.support.api_server import WRITER
from tests.support.site import NAME, Site, Visitor, checked, links, make_site, visitor, words
from tests.support.solutions import RECORDING, config_of, inline, run

BASE = f"/solutions/{NAME}/"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def site(
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with make_site(postgres, redis_server, folder, odoo_url=f"recording:{RECORDING}") as made:
        yield made


@pytest.fixture(scope="module")
def look(site: Site) -> Visitor:
    """A visitor with read access."""
    return visitor(site.settings)


@pytest.fixture(scope="module")
def user(look: Visitor) -> Visitor:
    """One with write access."""
    return Visitor(app=look.app, token=WRITER)


@pytest.fixture
def jobs(site: Site) -> Iterator[JobStore]:
    with closing(JobStore(site.settings.fbs_redis_url, ttl=600)) as store:
        yield store


def test_all_solutions(look: Visitor) -> None:
    page = look.get("/")
    result = words(page)
    assert "1 solution in " in result
    assert "1 active" in result
    assert "No worker is running" in result
    assert "fbs worker" in result
    assert "120 models" in result
    assert "recording:odoo19.json.xz Odoo 19.0, default" in result
    assert "65 modules, 18 workflows, 60 BI features" in result
    assert BASE in links(page)


def test_a_solution_in_full_detail(look: Visitor) -> None:
    result = words(look.get(BASE))
    assert f"{NAME} active hr in " in result
    for part in ("120 models", "Refreshed on demand only", "fbs schedule set shop --every 6h", "PostgreSQL 18"):
        assert part in result
    assert "hr_employee business 0" in result
    assert "hr_hr_job mirrored 0" in result
    assert "1 added, 1 changed, 1 removed" in result


def test_paths_without_their_slash_are_the_same(look: Visitor) -> None:
    for path in (BASE, f"{BASE}catalogue/", f"{BASE}models/hr.job/", f"{BASE}changes/", f"{BASE}tables/", "/jobs/"):
        one, other = (
            re.sub(r"((an?|\d+) \w+ ago|just now)", "", words(look.get(at))) for at in (path.rstrip("/"), path)
        )
        assert one == other


def test_the_catalogue_by_pages(look: Visitor) -> None:
    page = look.get(f"{BASE}catalogue/")
    first = links(page, f"{BASE}models/")
    assert len(first) == 100
    (following,) = [link for link in links(page, "?") if "cursor=" in link]
    page = look.get(f"{BASE}catalogue/{following}")
    second = links(page, f"{BASE}models/")
    assert len(second) == 20
    assert not set(first) & set(second)
    assert "First page" in words(page)


@pytest.mark.parametrize(("kind", "count"), [("module", 65), ("workflow", 18), ("bi_feature", 60)])
def test_the_catalogue_by_types(look: Visitor, kind: str, count: int) -> None:
    folder = "features/?name=" if kind == "bi_feature" else f"{kind}s/"
    assert len(links(look.get(f"{BASE}catalogue/?type={kind}"), BASE + folder)) == count


def test_a_search(look: Visitor) -> None:
    page = look.get(f"{BASE}catalogue/?q=hr+jo")
    found = links(page, BASE)
    assert f"{BASE}models/hr.job/" in found
    assert any(link.startswith(f"{BASE}models/") and "?field=" in link for link in found)
    assert "Search All Modules Models Fields" in words(page)
    only = look.get(f"{BASE}catalogue/?q=hr+jo&type=workflow")
    assert links(only, f"{BASE}models/") == []
    assert "No results" in words(look.get(f"{BASE}catalogue/?q=zzzz"))


@pytest.mark.parametrize("query", ["q=" + "x" * 5_000, "q=%27%22%3Cscript%3E", "q=%ff", "type=none", "q=a&type=none"])
def test_any_search_is_answered(look: Visitor, query: str) -> None:
    look.get(f"{BASE}catalogue/?{query}")


@pytest.mark.parametrize("path", ["catalogue/?q=%00", "models/%00/"])
def test_a_nul_is_no_address(look: Visitor, path: str) -> None:
    answer = look.ask("GET", BASE + path)
    assert (answer.status_code, "NUL" in answer.text) == (422, True)


def test_a_cursor_that_is_none(look: Visitor) -> None:
    assert "cursor" in words(look.get(f"{BASE}catalogue/?cursor=x", status=422))


def test_a_model(look: Visitor) -> None:
    page = look.get(f"{BASE}models/hr.job/")
    result = words(page)
    assert "Job Position hr.job · version" in result
    assert "stored in a table" in result
    assert "department_id" in result
    assert f"{BASE}models/hr.department/" in links(page)  # it refers to it
    assert f"{BASE}models/hr.employee/" in links(page)  # which refers to it
    assert "2 versions" in result


def test_fields_that_match(look: Visitor) -> None:
    every = words(look.get(f"{BASE}models/hr.job/"))
    some = words(look.get(f"{BASE}models/hr.job/?field=department"))
    assert "company_id" in every
    assert re.search(r"\b[12] of \d+ fields", some)
    assert "company_id" not in some.partition("Fields Only")[2]
    assert re.search(r"\d fields\. All", words(look.get(f"{BASE}models/hr.job/?kind=required&module=hr")))
    assert "No fields match" in words(look.get(f"{BASE}models/hr.job/?field=zzz"))


def test_a_workflow(look: Visitor) -> None:
    page = look.get(f"{BASE}workflows/hr.leave/")
    (picture,) = page.xpath("//div[contains(concat(' ', @class, ' '), ' diagram ')]/svg")
    assert picture.get("aria-label") == "States of hr.leave and the buttons between them"
    assert [name.text for name in picture.xpath(".//*[@class='name']")][:2] == ["To Approve", "Refused"]
    result = words(page)
    assert "Refuse action_refuse every state Refused derived from its name" in result
    assert "Time Off: Cancel invalid leaves" in result
    assert f"{BASE}models/hr.leave/" in links(page)


def test_a_workflow_of_stages(look: Visitor) -> None:
    result = words(look.get(f"{BASE}workflows/hr.applicant/"))
    assert "In any stage" in result
    assert "Its stages are records of another model" in result


def test_every_workflow_module_and_feature_has_a_page(look: Visitor) -> None:
    for kind in ("workflow", "bi_feature"):
        page = look.get(f"{BASE}catalogue/?type={kind}")
        for link in links(page, f"{BASE}features/" if kind == "bi_feature" else f"{BASE}{kind}s/")[:13]:
            look.get(link)
    result = words(look.get(f"{BASE}modules/hr/"))
    assert "hr.employee" in result
    assert "defines it" in result
    modules = look.get(f"{BASE}catalogue/?type=module")
    for link in links(modules, f"{BASE}modules/")[:8]:
        look.get(link)


def test_a_removed_discovery_is_marked(look: Visitor) -> None:
    assert "removed from Odoo" in words(look.get(f"{BASE}workflows/gone.model/"))


@pytest.mark.parametrize(
    "path",
    [
        "models/none/",
        "workflows/none/",
        "modules/none/",
        "features/?name=none",
        "features/",
        "models/%3Cscript%3E/",
    ],
)
def test_what_is_not_there(look: Visitor, path: str) -> None:
    assert "has no " in words(look.get(BASE + path, status=404))


def test_changes_between_two_refreshes(look: Visitor) -> None:
    page = look.get(f"{BASE}changes/")
    result = words(page)
    assert "1 added 1 changed 1 removed" in result
    assert "fields.name" in result
    assert f"{BASE}models/hr.job/" in links(page)
    reads = [option.get("value") for option in page.xpath("//select[@id='to']/option")]
    assert len(reads) == 2
    assert words(look.get(f"{BASE}changes/?from={reads[1]}&to={reads[0]}")) == result
    swapped = words(look.get(f"{BASE}changes/?from={reads[0]}&to={reads[1]}"))
    assert "1 added 1 changed 1 removed" in swapped
    since_the_beginning = words(look.get(f"{BASE}changes/?from=0&to={reads[0]}"))
    assert "263 added" in since_the_beginning
    assert "What the first refresh found" in since_the_beginning
    assert "What the first refresh found" not in result
    assert "No changes between these two" in words(look.get(f"{BASE}changes/?from={reads[0]}&to={reads[0]}"))
    look.get(f"{BASE}changes/?from=x", status=422)
    look.get(f"{BASE}changes/?to=-1", status=422)


def test_the_table_diagram(look: Visitor) -> None:
    page = look.get(f"{BASE}tables/")
    (picture,) = page.xpath("//div[contains(concat(' ', @class, ' '), ' diagram ')]/svg")
    assert "hr_employee" in picture.text_content()
    result = words(page)
    assert "3 business tables" in result
    assert "department_id integer foreign key → hr_department" in result


def test_the_states_of_jobs(look: Visitor, jobs: JobStore) -> None:
    jobs.create("waiting-1", action="refresh", solution=NAME, domain="hr")
    jobs.create("running-1", action="setup", solution=NAME, domain="hr")
    claim = jobs.start("running-1", action="setup", solution=NAME, domain="hr", worker="fbs@here")
    jobs.progress("running-1", claim.attempt, kind="step", step="fields", total=8, message="reading fields")
    jobs.progress("running-1", claim.attempt, kind="progress", step="fields", current=2, total=8, message="hr.job")

    page = look.get("/jobs/")
    result = words(page)
    assert "setup running-" in result
    assert "25 %" in result
    assert "waiting for a worker" in result
    assert {(bar.get("value"), bar.get("max")) for bar in page.iter("progress")} == {("25", "100"), (None, None)}
    assert "running-" not in words(look.get("/jobs/?state=queued"))
    assert "No jobs are lost" in words(look.get("/jobs/?state=lost"))

    page = look.get("/jobs/running-1/")
    result = words(page)
    assert "setup shop running" in result
    assert "2 of 8 in the step fields" in result
    assert page.get_element_by_id("job").get("hx-trigger") == "every 1s"
    assert page.xpath("//noscript/meta[@http-equiv='refresh']")
    assert words(look.get("/jobs/waiting-1/")).count("waiting for a worker") == 2
    assert "refresh waiting-" in words(look.get(BASE))

    jobs.mark_succeeded("running-1", claim.attempt, {"label": SCRIPT})
    page = look.get("/jobs/running-1/")
    assert page.get_element_by_id("job").get("hx-trigger") is None
    assert not page.xpath("//meta[@http-equiv='refresh']")
    assert SCRIPT in words(page)
    jobs.request_cancel("waiting-1")


def test_a_job_that_failed_says_what_to_do(look: Visitor, jobs: JobStore) -> None:
    jobs.create("failed-1", action="refresh", solution=NAME, domain="hr")
    claim = jobs.start("failed-1", action="refresh", solution=NAME, domain="hr")
    error = {"code": "odoo_unreachable", "message": f"Odoo is away {SCRIPT}.", "hint": "Start it.", "retryable": True}
    jobs.mark_failed("failed-1", claim.attempt, error)
    result = words(look.get("/jobs/failed-1/"))
    assert f"Odoo is away {SCRIPT}. Start it." in result


def test_a_job_that_is_not_there(look: Visitor) -> None:
    assert "There is no job" in words(look.get("/jobs/none/", status=404))


def test_buttons_enqueue_jobs(user: Visitor, jobs: JobStore) -> None:
    page = user.get(BASE)
    for words_, action in (("Refresh", "refresh"), ("Plan a migration", "migrate")):
        answer = user.press(page, words_)
        assert answer.status_code == 303
        place = answer.headers["Location"]
        record = jobs.get(place.split("/")[2])
        assert (record.action, record.solution, record.state) == (action, NAME, JobState.QUEUED)
        cancelled = user.press(user.get(place), "Cancel")
        assert cancelled.headers["Location"] == place
        assert jobs.get(record.id).state is JobState.CANCELLED
        assert "Cancel" not in [button.text for button in user.get(place).iter("button")]


def finished(jobs: JobStore, job_id: str, result: dict[str, Any], *, action: str = "migrate") -> str:
    """A job of this action that has this result; its page."""
    jobs.create(job_id, action=action, solution=NAME, domain="hr")
    claim = jobs.start(job_id, action=action, solution=NAME, domain="hr")
    jobs.mark_succeeded(job_id, claim.attempt, result)
    return f"/jobs/{job_id}/"


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The fields of what is enqueued; each job is cancelled."""
    fields: list[dict[str, Any]] = []
    enqueue = Client.enqueue

    def remember(self: Client, request: Any) -> Any:
        fields.append({"action": request.task, **request.model_dump(exclude_defaults=True, mode="json")})
        handle = enqueue(self, request)
        handle.cancel()
        return handle

    monkeypatch.setattr(Client, "enqueue", remember)
    return fields


def test_a_schedule_is_set_paused_and_removed(look: Visitor, user: Visitor) -> None:
    page = user.get(BASE)

    def send(**fields: str) -> str:
        nonlocal page
        forms = [form for form in page.forms if form.action.endswith("/schedule")]
        form = forms["only" in fields]
        answer = user.ask(
            "POST", form.action, data={**{name: text or "" for name, text in form.fields.items()}, **fields}
        )
        if answer.status_code != 303:
            return words(checked(answer))
        page = user.get(BASE)
        return words(page).partition("Schedule of refreshes and syncs ")[2]

    assert "Next run" in send(every="6h")
    assert "No beat runs" in send(every="6h")
    assert send(then="pause").startswith("Refreshed every 6h, paused Every")
    assert "Next run" in send(then="resume")
    assert "either an interval or a cron expression" in send(cron="0 3 * * *")
    assert send(every="", cron="0 3 * * *", timezone="Europe/Berlin").startswith(
        "Refreshed 0 3 * * * (Europe/Berlin) Next"
    )
    assert "is not an interval" in send(every="often", cron="", timezone="")
    assert "Records copied every 5m Next run" in send(only="sync", every="5m")
    assert "Records copied every 5m, paused" in send(only="sync", then="pause")
    assert send(then="remove").startswith("Refreshed on demand only")
    assert "Records copied on demand only" in send(only="sync", then="remove")
    reader = look.get(BASE)
    assert not [form for form in reader.forms if form.action.endswith("/schedule")]


def test_models_are_mirrored_from_the_catalogue(look: Visitor, user: Visitor, enqueued: list[dict[str, Any]]) -> None:
    planned = {"action": "fbs.migrate", "solution_name": NAME, "plan_only": True}
    assert user.press(user.get(f"{BASE}models/hr.leave/"), "Mirror this model").status_code == 303
    page = user.get(f"{BASE}models/hr.job/")
    assert "Mirrored in hr_hr_job" in words(page)
    assert user.press(page, "Stop mirroring").status_code == 303
    page = user.get(f"{BASE}catalogue/")
    assert not page.xpath("//input[@value='hr.job']"), "mirrored already"
    (form,) = [form for form in page.forms if form.action == f"{BASE}plan"]
    data = {**dict(form.fields), "mirror": ["hr.leave", "hr.employee"]}
    assert user.ask("POST", form.action, data=data).status_code == 303
    assert enqueued == [
        {**planned, "mirror": ["hr.leave"]},
        {**planned, "unmirror": ["hr.job"]},
        {**planned, "mirror": ["hr.employee", "hr.leave"]},
    ]
    assert not look.get(f"{BASE}catalogue/").xpath("//input[@type='checkbox']")


def test_a_plan_is_applied_with_its_hazards_ticked(
    site: Site, look: Visitor, user: Visitor, jobs: JobStore, enqueued: list[dict[str, Any]]
) -> None:
    table = 'ALTER TABLE "hr_department" ALTER COLUMN name TYPE varchar({})'
    run(site.target, table.format(50))
    planned = inline("migrate", {"solution_name": NAME, "plan_only": True, "restore": True}, site.settings)
    run(site.target, table.format(100))
    assert planned["needs"] == ["DRIFT"]
    path = finished(jobs, "plan-1", planned)
    assert "--restore --allow DRIFT" in words(look.get(path))

    page = user.get(path)
    assert "migrate shop succeeded" in words(page)
    assert [box.get("value") for box in page.xpath("//input[@name='allow']")] == ["DRIFT"]
    answer = user.press(page, "Apply 1 statement to shop")
    assert (answer.status_code, "Not allowed: DRIFT" in words(checked(answer))) == (409, True)
    (form,) = [form for form in page.forms if form.action.endswith("/apply")]
    data = {**dict(form.fields), "allow": ["DRIFT", "unheard of"]}
    answer = user.ask("POST", form.action, data=data)
    assert answer.headers["Location"].startswith("/jobs/")
    assert enqueued == [
        {
            "action": "fbs.migrate",
            "solution_name": NAME,
            "fingerprint": planned["fingerprint"],
            "allow": ["DRIFT"],
            "restore": True,
        }
    ]


def test_only_a_plan_is_applied(site: Site, user: Visitor, jobs: JobStore, enqueued: list[dict[str, Any]]) -> None:
    plan = inline("migrate", {"solution_name": NAME, "plan_only": True}, site.settings)
    token = next(form for form in user.get(BASE).forms).fields["form_token"]
    for job_id, action in (("empty-1", "migrate"), ("refreshed-1", "refresh")):
        path = finished(jobs, job_id, plan, action=action)
        answer = user.ask("POST", f"{path}apply", data={"form_token": token})
        assert (answer.status_code, "no plan" in words(checked(answer))) == (422, True)
    assert not enqueued


def test_the_last_migration_is_undone(user: Visitor, jobs: JobStore, enqueued: list[dict[str, Any]]) -> None:
    applied = {"run": "20260102", "executed": 1, "kept": ["fbs_retired_x"], "seconds": 2.0}
    result: dict[str, Any] = {"solution": NAME, "steps": [], "notes": [], "undoes": None, "applied": applied}
    page = user.get(finished(jobs, "applied-1", result))
    assert "1 statement in 2.0 s Archived in fbs_retired_x" in words(page)
    assert user.press(page, "Plan an undo").status_code == 303
    assert enqueued == [{"action": "fbs.migrate", "solution_name": NAME, "plan_only": True, "undo": True}]


def test_a_failed_job_is_repeated(user: Visitor, jobs: JobStore, enqueued: list[dict[str, Any]]) -> None:
    client: Client = user.app.state.client
    for job in (client.refresh(NAME, full=True), client.migrate(NAME, mirror=["hr.leave"], fingerprint="0" * 16)):
        again = user.press(user.get(f"/jobs/{job.id}/"), "Retry").headers["Location"].split("/")[2]
        assert jobs.request(again) == jobs.request(job.id)
        jobs.request_cancel(again)
    assert user.press(user.get(f"/jobs/{job.id}/"), "Plan again").status_code == 303
    assert enqueued[2:] == [{"action": "fbs.migrate", "solution_name": NAME, "plan_only": True, "mirror": ["hr.leave"]}]
    jobs.create("strange-1", action="migrate", solution=NAME, domain="hr", variant="apply")
    jobs.request_cancel("strange-1")
    for button in ("Retry", "Plan again"):
        answer = user.press(user.get("/jobs/strange-1/"), button)
        assert "arguments of this job are not kept" in words(checked(answer))


def test_jobs_by_solution_with_their_duration_and_log(site: Site, jobs: JobStore) -> None:
    jobs.create("other-1", action="refresh", solution="other", domain="hr")
    claim = jobs.start("other-1", action="refresh", solution="other", domain="hr")
    jobs.progress("other-1", claim.attempt, kind="message", step="fields", message=SCRIPT)
    jobs.mark_succeeded("other-1", claim.attempt, {})
    user = visitor(site.settings.model_copy(update={"fbs_flower_url": "http://127.0.0.1:5555/"}))
    page = lxml.html.document_fromstring(user.ask("GET", "/jobs/?solution=other&state=succeeded").text)
    assert re.search(r"other succeeded \d+ ms", words(page))
    assert f"{NAME} " not in words(page).partition("Duration")[2]
    assert page.xpath("//option[@selected]")[0].text == "other"
    assert "No jobs of none are lost" in words(visitor(site.settings).get("/jobs/?solution=none&state=lost"))
    page = lxml.html.document_fromstring(user.ask("GET", "/jobs/other-1/").text)
    assert "http://127.0.0.1:5555/task/other-1" in [link.get("href") for link in page.iter("a")]
    assert SCRIPT in " ".join(page.get_element_by_id("log").itertext())


def test_whatever_odoo_calls_things_is_shown_as_it_is(
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with make_site(postgres, redis_server, tmp_path_factory.mktemp("nasty")) as made:
        nasty = "\"'></svg><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}"
        run(
            made.target,
            "UPDATE fbs_discoveries SET metadata = jsonb_set(metadata, '{title}', to_jsonb($nasty$" + nasty + "$nasty$::text))",
            "UPDATE fbs_discoveries SET schema_definition = regexp_replace(schema_definition::text,"
            ' \'"(label|button|condition|value|name|defined_by|filter)": "[^"]*"\','
            " '\"\\1\": ' || replace(to_json($nasty$" + nasty + "$nasty$::text)::text, '\\', '\\\\'), 'g')::jsonb"
            " WHERE schema_definition IS NOT NULL",
            "UPDATE fbs_discoveries SET name = $nasty$" + nasty + "$nasty$"
            " WHERE discovery_type IN ('workflow', 'model') AND name = 'hr.leave'",
        )  # fmt: skip
        user = visitor(made.settings)
        for path in ("catalogue/?type=workflow", "catalogue/?q=alert", "models/hr.job/", "workflows/hr.expense/"):
            page = user.get(BASE + path)
            assert nasty in page.text_content(), path
        for page in (user.get(f"{BASE}catalogue/?q=alert"), user.get(f"{BASE}catalogue/?type=bi_feature")):
            for link in links(page, BASE)[:12]:
                user.get(link)
        user.get("/")


def test_empty_pages_have_hints(settings: MakeSettings) -> None:
    user = visitor(settings(), token="")
    result = words(user.get("/"))
    assert "No solutions yet" in result
    assert "fbs setup --solution-name" in result
    assert "No jobs yet" in words(user.get("/jobs/"))
    assert "There is no solution 'none'" in words(user.get("/solutions/none/", status=404))


def test_a_solution_without_a_refresh(settings: MakeSettings, site: Site) -> None:
    made = settings(fbs_business_prefix="own_")
    inline("setup", {**config_of(site.target, "fresh", domain="generic", table_prefix="own_"), "refresh_discoveries": False}, made)  # fmt: skip
    user = visitor(made, token="")
    result = words(user.get("/solutions/fresh/"))
    assert "No refresh yet. fbs refresh fresh" in result
    assert "fbs refresh fresh" in words(user.get("/solutions/fresh/catalogue/"))
    assert "fbs refresh fresh" in words(user.get("/solutions/fresh/changes/"))
    assert "not discovered yet" in words(user.get("/"))


def test_a_database_that_is_away(settings: MakeSettings) -> None:
    user = visitor(settings(fbs_database_url="postgresql://me:hunter2@127.0.0.1:1/none"), token="")
    result = words(user.get("/", status=503))
    assert "127.0.0.1:1" in result
    assert "hunter2" not in result
    assert "hunter2" not in words(user.get("/solutions/shop/", status=503))


def test_a_missing_home_database_is_reported(settings: MakeSettings) -> None:
    assert "fbs up" in words(visitor(settings(fbs_database_url=""), token="").get("/", status=422))


def test_an_unexpected_exception_is_an_error_page(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    user = visitor(site.settings)

    def broken() -> None:
        raise ZeroDivisionError("with a secret in it: hunter2")

    monkeypatch.setattr(user.app.state.databases, "overview", broken)
    page = user.get("/", status=500)
    assert "this is a bug in fbs-worker" in words(page)
    assert "hunter2" not in page.text_content()
    assert "the page / failed" in caplog.text


def test_the_pages_are_no_part_of_the_document(look: Visitor) -> None:
    paths = look.app.openapi()["paths"]
    assert all(path.startswith("/api/") or path == "/metrics" for path in paths)


def test_the_reference_has_every_operation(look: Visitor) -> None:
    page, document = look.get("/docs/"), look.app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            text = " ".join(" ".join(page.get_element_by_id(operation["operationId"]).itertext()).split())
            assert text.startswith(f"{method.upper()} {path} {operation['summary']}")
            for parameter in operation.get("parameters", ()):
                assert parameter["name"] in text
    text = " ".join(page.get_element_by_id("set_up").itertext())
    for part in (
        "database_config.sslmode",
        "host_refused",
        "curl -X POST http://",
        '"domain":"rental"',
        "Scope: write",
    ):
        assert part in text


def test_a_description_is_escaped() -> None:
    assert prose("a `<b>` **c**\n\n<i>") == "<p>a <code>&lt;b&gt;</code> <strong>c</strong></p><p>&lt;i&gt;</p>"


def test_unknown_paths(look: Visitor) -> None:
    assert "This page does not exist" in words(look.get("/nothing/here", status=404))
    assert look.ask("GET", "/api/v1/nothing", headers={"Authorization": "none"}).status_code == 401
