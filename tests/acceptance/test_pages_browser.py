"""The pages as a person sees them, in Chromium: each in both colour schemes, wide and on a phone, live and without JavaScript."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from fbs_worker.client.client import Client
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.solutions.odoo_connections import add_odoo
from fbs_worker.solutions.odoo_requests import OdooAddRequest
from tests.support.api_server import READER, WRITER, ApiServer, api_server
from tests.support.browser import ARTEFACTS, NO_BROWSER, chromium, until
from tests.support.copied import fill_jobs
from tests.support.job_worker import job_worker
from tests.support.odoo_server import OdooServer
from tests.support.site import NAME, Site, make_site
from tests.support.solutions import RECORDING, few_models, run
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)]

BASE = f"/solutions/{NAME}/"
PAGES = {
    "solutions": "/",
    "solution": BASE,
    "catalogue": f"{BASE}catalogue/",
    "modules": f"{BASE}catalogue/?type=module",
    "search": f"{BASE}catalogue/?q=job+dep",
    "nothing-found": f"{BASE}catalogue/?q=zzzz",
    "model": f"{BASE}models/hr.employee/",
    "module": f"{BASE}modules/hr/",
    "feature": f"{BASE}features/?name=hr_holidays.hr_leave_report_graph",
    "workflow": f"{BASE}workflows/hr.expense/",
    "stages": f"{BASE}workflows/hr.applicant/",
    "changes": f"{BASE}changes/",
    "tables": f"{BASE}tables/",
    "records": f"{BASE}records/",
    "rows": f"{BASE}records/hr_hr_job/",
    "record": f"{BASE}records/hr_hr_job/?odoo_id=7",
    "jobs": "/jobs/",
    "odoo": "/odoo/",
    "odoo-connection": "/odoo/shop/",
    "not-there": "/solutions/none/",
    "connection": "/odoo/default/",
    "setup": "/setup/",
    "reference": "/docs/",
}
SIZES = {"wide": (1280, 900), "phone": (390, 844)}
LOOKS = ((False, "wide"), (True, "wide"), (True, "phone"))

_LEAST_CONTRAST = 4.5
"""Of text on what is behind it (WCAG 2.2, level AA)."""

_CONTRASTS = """
const canvas = document.createElement('canvas'), pen = canvas.getContext('2d', {willReadFrequently: true});
canvas.width = canvas.height = 1;
const rgba = text => {
  pen.clearRect(0, 0, 1, 1); pen.fillStyle = text; pen.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const behind = element => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.unshift(rgba(getComputedStyle(at).backgroundColor));
  return layers.reduce((below, top) => over(top, below), rgba(getComputedStyle(document.body).backgroundColor));
};
const light = color => color.slice(0, 3).map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const poor = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.closest('svg') || !element.checkVisibility() || element.closest('.unseen, noscript')) continue;
  const below = behind(element), style = getComputedStyle(element);
  const ink = rgba(style.color); ink[3] *= parseFloat(style.opacity);
  const [a, b] = [light(over(ink, below)), light(below)].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < arguments[0]) poor.push([element.tagName, element.className, element.textContent.trim().slice(0, 40), contrast]);
}
return poor;
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The pages, and the browser that shows them.

    Attributes:
        browser: Chromium.
        server: a real API.
        site: what there is to see.
        folder: for files of a test.
    """

    browser: WebDriver
    server: ApiServer
    site: Site
    folder: Path

    def get(self, path: str) -> None:
        """Go to a page."""
        self.browser.get(self.server.url + path)

    def log_in(self, token: str = WRITER, *, following: str = "/") -> None:
        """Log in on the page that asks for it."""
        self.get(following)
        self.one("#token").send_keys(token, Keys.ENTER)
        self.until(lambda: self.path == following)

    @property
    def path(self) -> str:
        """Where the browser is."""
        return urlsplit(self.browser.current_url).path

    def one(self, selector: str) -> Any:
        """The element."""
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def words(self, selector: str = "main") -> str:
        """What an element shows."""
        text = self.browser.execute_script("return document.querySelector(arguments[0])?.innerText || ''", selector)
        return " ".join(str(text).split())

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is so; a page may go while it is looked at."""
        return until(self.browser, condition)

    def until_shown(self, words: str, selector: str = "main") -> None:
        """Wait until an element shows some words."""
        self.until(lambda: words in self.one(selector).text)

    def key(self, key: str) -> None:
        """Press a key, wherever the focus is."""
        ActionChains(self.browser).send_keys(key).perform()

    def look(self, *, dark: bool = False, size: str = "wide") -> None:
        """Choose a colour scheme and a size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        width, height = SIZES[size]
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)

    def command(self, name: str, **given: Any) -> None:
        """Call a method of the Chrome DevTools protocol."""
        self.browser.execute_cdp_cmd(name, given)

    def picture(self, name: str) -> None:
        """Save a screenshot, for manual review."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        assert self.browser.save_screenshot(str(ARTEFACTS / f"pages-{name}.png"))

    def check(self) -> None:
        """See that nothing hangs over the side, nothing is hard to read, and nothing was complained of."""
        width, room = self.browser.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert width <= room, f"{self.browser.current_url} is {width} px wide where {room} are"
        assert self.browser.execute_script(_CONTRASTS, _LEAST_CONTRAST) == [], self.browser.current_url
        self.check_quiet()

    def check_accessible(self) -> None:
        """See that axe has nothing serious to say, with the first folded parts open: all of them take it a minute."""
        unfold = "[...document.querySelectorAll('details')].slice(0, 8).forEach(one => one.open = true)"
        self.browser.execute_script(unfold)
        self.browser.set_script_timeout(PATIENCE)
        self.browser.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text())
        findings = self.browser.execute_async_script(
            "axe.run({resultTypes: ['violations']}).then(found => arguments[0](found.violations))"
        )
        serious = [each for each in findings if each["impact"] in {"serious", "critical"}]
        assert not serious, [(each["help"], each["nodes"][0]["html"]) for each in serious]

    def check_quiet(self) -> None:
        """Check that the browser logged no errors and sent no requests to other hosts."""
        lines = [line for line in self.browser.get_log("browser") if line["level"] in {"SEVERE", "WARNING"}]  # type: ignore[no-untyped-call]
        assert [line["message"] for line in lines if not {"404", "422"} & {*line["message"].split()}] == []
        for entry in self.browser.get_log("performance"):  # type: ignore[no-untyped-call]
            result = json.loads(entry["message"])["message"]
            if result["method"] == "Network.requestWillBeSent":
                address = result["params"]["request"]["url"]
                assert address.startswith((self.server.url + "/", "data:")), address


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def site(
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("browsed")
    given = {"odoo_url": f"recording:{RECORDING}", "fbs_allowed_hosts": f"127.0.0.1:*,{postgres.config().host}"}
    with (
        make_site(postgres, redis_server, folder, **given) as made,
        job_worker(made.settings, log=folder / "worker.log"),
    ):
        shop = OdooAddRequest(name="shop", url=f"recording:{few_models()}")
        add_odoo(made.settings, shop)
        fill_jobs(made.target)
        yield made


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(site.settings, log=tmp_path_factory.mktemp("api") / "api.log") as running:
        yield running


@pytest.fixture
def seen(browser: WebDriver, server: ApiServer, site: Site, tmp_path: Path) -> Iterator[Seen]:
    found = Seen(browser=browser, server=server, site=site, folder=tmp_path)
    browser.delete_all_cookies()
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # type: ignore[no-untyped-call]  # what other tests left
    found.look()
    yield found
    found.command("Emulation.setScriptExecutionDisabled", value=False)


def test_somebody_logs_in_and_out(seen: Seen) -> None:
    for dark, size in LOOKS:
        seen.look(dark=dark, size=size)
        seen.get(BASE)
        assert seen.path == "/login"
        seen.check()
    seen.one("#token").send_keys("fbs_wrong", Keys.ENTER)
    seen.until(lambda: "This token is not known" in seen.words())
    assert seen.browser.get_log("browser")  # type: ignore[no-untyped-call]  # Chromium logs the 401
    seen.picture("login-dark-phone")
    seen.look()
    seen.one("#token").send_keys(READER, Keys.ENTER)
    seen.until(lambda: seen.path == BASE)
    assert "Refresh" not in [button.text for button in seen.browser.find_elements(By.TAG_NAME, "button")]
    seen.one(".who button").click()
    seen.until(lambda: seen.path in {"/login", "/login/"})
    seen.picture("login-light-wide")
    seen.get("/")
    assert seen.path == "/login"


def test_every_page_in_both_colour_schemes_wide_and_on_a_phone(seen: Seen) -> None:
    with Client(settings=seen.site.settings) as client:
        client.migrate(NAME, plan_only=True, mirror=["hr.department"]).wait(PATIENCE)
        (plan, *_) = client.jobs(1)
        failed = client.refresh("none")
        seen.until(lambda: failed.status().state.finished)
    seen.log_in()
    pages = {**PAGES, "plan": f"/jobs/{plan.id}/", "failed": f"/jobs/{failed.id}/"}
    for name, path in pages.items():
        seen.get(path)
        for dark, size in LOOKS:
            seen.look(dark=dark, size=size)
            seen.check()
            seen.picture(f"{name}-{'dark' if dark else 'light'}-{size}")
        seen.check_accessible()


def test_a_job_is_followed_live(seen: Seen) -> None:
    seen.log_in()
    gate = seen.folder / "gate"
    with Client(settings=seen.site.settings) as client:
        job = client._enqueue("test.steps", {"gate": str(gate)}, solution=NAME, domain="hr")
    seen.get("/jobs/")
    seen.until(lambda: "50 %" in seen.words("#jobs"))
    seen.check()
    seen.picture("jobs-running")
    seen.get(f"/jobs/{job.id}/")
    seen.until(lambda: "2 of 4 in the step fields" in seen.words())
    seen.check()
    seen.picture("job-running")
    seen.browser.execute_script("window.same = true; document.querySelector('#cancel').focus()")
    shown = seen.words("#job time")
    seen.until(lambda: seen.words("#job time") != shown)  # it was shown anew
    assert seen.browser.execute_script("return document.activeElement.id") == "cancel"
    gate.touch()
    seen.until(lambda: "succeeded" in seen.words("h1 + .pill"))
    assert seen.browser.execute_script("return window.same")  # without loading the page again
    assert not seen.browser.find_elements(By.CSS_SELECTOR, "#job[hx-get]")
    seen.picture("job-succeeded")
    seen.check()


def test_buttons_refresh_and_cancel(seen: Seen) -> None:
    seen.log_in(following=BASE)
    seen.one("button.main").click()
    seen.until(lambda: seen.path.startswith("/jobs/"))
    seen.until(lambda: "succeeded" in seen.words("h1 + .pill"))
    assert "unchanged" in seen.words()
    seen.get(BASE)
    seen.one(f"form[action='{BASE}plan'] button").click()
    seen.until(lambda: "No changes" in seen.words())
    with Client(settings=seen.site.settings) as client:
        job = client._enqueue("test.steps", {"gate": str(seen.folder / "never")}, solution=NAME, domain="hr")
    seen.get(f"/jobs/{job.id}/")
    seen.until(lambda: "50 %" in seen.words())
    seen.one("#cancel").click()
    seen.until(lambda: "cancelled" in seen.words("h1 + .pill"))
    seen.check()


def test_a_plan_is_looked_at_and_applied(seen: Seen) -> None:
    run(seen.site.target, "ALTER TABLE hr_department ALTER COLUMN name TYPE varchar(50)")
    seen.log_in(following=BASE)
    seen.one(f"form[action='{BASE}plan'] button").click()
    seen.until_shown("Revert what was changed by hand")
    seen.one("#restore").click()
    seen.one(".ticks button").click()
    seen.until_shown("Apply 1 statement")
    planned = seen.path
    apply = "form[action$='/apply'] button"
    seen.one(apply).click()
    assert seen.path == planned, "the browser asks for the tick"
    seen.one("#allow-DRIFT").click()
    for dark, size in LOOKS:
        seen.look(dark=dark, size=size)
        seen.check()
        seen.picture(f"apply-{'dark' if dark else 'light'}-{size}")
    seen.one(apply).click()
    seen.until_shown("1 statement in")
    assert seen.path != planned
    seen.get(planned)
    seen.one("#allow-DRIFT").click()
    seen.one(apply).click()
    seen.until_shown("none: the tables matched already")
    seen.check()


def test_a_solution_is_set_up(seen: Seen) -> None:
    seen.log_in(following="/setup/")
    target = seen.site.target
    for name, value in {"solution_name": "no name", "database_name": target.name, "database_host": target.host}.items():
        seen.one(f"#{name}").send_keys(value, Keys.TAB)
    seen.until_shown("Name: wrong", "#checks")
    seen.one("#solution_name").clear()
    for name, value in {"solution_name": "browsed", "domain": "generic", "database_user": target.user}.items():
        seen.one(f"#{name}").send_keys(value, Keys.TAB)
    seen.one("#business_prefix").send_keys("browsed_", Keys.TAB)
    seen.until_shown("No table is in the way", "#checks")
    for dark, size in LOOKS:
        seen.look(dark=dark, size=size)
        seen.check()
        seen.picture(f"setup-{'dark' if dark else 'light'}-{size}")
    seen.one("button.main").click()
    seen.until(lambda: "succeeded" in seen.words("h1 + .pill"))
    with Client(settings=seen.site.settings) as client:
        client.drop("browsed", with_data=True).wait(PATIENCE)


def test_a_search_finds_while_one_types(seen: Seen) -> None:
    seen.log_in(following=f"{BASE}catalogue/")
    seen.browser.execute_script("window.same = true")
    seen.one("#q").send_keys("department_id")
    seen.until(lambda: "of hr.job" in seen.words("#results"))
    assert "q=department_id" in seen.browser.current_url
    assert seen.browser.execute_script("return window.same && document.activeElement.id") == "q"
    seen.picture("search-live")
    seen.get(f"{BASE}models/hr.employee/")
    seen.browser.execute_script("window.same = true")
    kind = Select(seen.one("#kind"))
    kind.select_by_visible_text("required")
    seen.until(lambda: "fields. All" in seen.words("#field-rows"))
    assert "kind=required" in seen.browser.current_url
    kind.select_by_visible_text("all")
    seen.one("#field").send_keys("hr.job")
    seen.until(lambda: "job_id" in seen.words("#field-rows") and "Active" not in seen.words("#field-rows"))
    assert seen.browser.execute_script("return window.same")
    seen.check()


def test_a_diagram_is_zoomed_and_moved(seen: Seen) -> None:
    seen.log_in(following=f"{BASE}workflows/hr.expense/")
    region, width = seen.one(".diagram"), "return document.querySelector('.diagram svg').getBoundingClientRect().width"
    natural = seen.browser.execute_script(width)
    region.send_keys("+" * 5)
    assert seen.browser.execute_script(width) == pytest.approx(natural * 1.25**5, rel=0.01)
    assert seen.words(".zoom output") == "305 %"
    left = "return document.querySelector('.diagram').scrollLeft"
    before = seen.browser.execute_script(left)
    ActionChains(seen.browser).move_to_element(region).click_and_hold().move_by_offset(-40, 0).release().perform()
    assert seen.browser.execute_script(left) == pytest.approx(before + 40, abs=2)
    seen.one(".zoom button[aria-label='Fit the width']").click()
    assert seen.browser.execute_script(width) <= region.size["width"]
    region.send_keys("0")
    assert seen.words(".zoom output") == "100 %"
    seen.check()


def test_the_keyboard_is_enough(seen: Seen) -> None:
    seen.log_in()
    seen.key(Keys.TAB)
    assert seen.browser.execute_script("return document.activeElement.className") == "skip"
    assert seen.browser.execute_script("return document.activeElement.getBoundingClientRect().top >= 0")
    seen.key(Keys.ENTER)
    reached = []
    seen.key(Keys.TAB)
    while seen.browser.execute_script("return document.activeElement !== document.body"):
        words, outline = seen.browser.execute_script(
            "const at = document.activeElement; return [at.textContent.trim(), getComputedStyle(at).outlineStyle]"
        )
        assert outline == "solid", words
        reached.append(words)
        seen.key(Keys.TAB)
    assert NAME in reached


def test_without_javascript_everything_works_but_the_live_parts(seen: Seen) -> None:
    seen.command("Emulation.setScriptExecutionDisabled", value=True)
    seen.get(BASE)
    seen.one("#token").send_keys(WRITER, Keys.ENTER)
    seen.until(lambda: seen.path == BASE)
    for path in PAGES.values():
        seen.get(path)
        assert seen.one("h1").text
    seen.get(f"{BASE}catalogue/")
    seen.one("#q").send_keys("hr job", Keys.ENTER)
    seen.until(lambda: "q=hr+job" in seen.browser.current_url)
    seen.until_shown("All", "#results")
    assert "hr.job" in seen.one("#results").text
    seen.one("a[href$='type=workflow']").click()
    seen.until_shown("No results", "#results")
    seen.get(f"{BASE}changes/")
    seen.one("main form button").click()
    seen.until(lambda: "to=" in seen.browser.current_url)
    seen.until_shown("hr.job")
    seen.get(BASE)
    seen.one("button.main").click()
    seen.until_shown("succeeded")  # the page loads itself again
    assert seen.path.startswith("/jobs/")
    seen.picture("job-without-javascript")
    seen.check_quiet()


def test_an_odoo_is_added_and_tested(seen: Seen) -> None:
    with OdooServer(RecordingTransport(few_models())) as odoo:
        seen.log_in(following="/odoo/")
        for field, text in (
            ("name", "typed"),
            ("url", odoo.url),
            ("db", "live"),
            ("user", "admin"),
            ("password", "no"),
        ):
            seen.one(f"#{field}").send_keys(text)
        seen.one("#headers").send_keys("not a header")
        seen.one("button[value=test]").click()
        seen.until_shown("headers is not valid", "[role=alert]")
        assert seen.one("#url").get_attribute("value") == odoo.url
        assert seen.one("#password").get_attribute("value") == ""
        seen.one("#headers").clear()
        seen.one("#password").send_keys("admin-password")
        seen.one("button[value=test]").click()
        seen.until_shown("Odoo 19.0")
        seen.until_shown("all 8 sections")
        seen.check()
        seen.picture("odoo-tested")
