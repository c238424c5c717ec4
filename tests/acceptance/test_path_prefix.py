"""API, pages and dashboard below a path of a real nginx."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from fbs_worker.client.client import Client
from tests.conftest import MakeSettings
from tests.support.api_server import WRITER, api_server, bearer
from tests.support.dashboard import dashboard
from tests.support.nginx import PROGRAM, nginx
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed: apt-get install nginx-light")

ADDRESS = re.compile(r"""(?:href|src|action|hx-get|hx-post)=["']([^"'#]+)""")


@pytest.mark.parametrize(("root_path", "kept"), [("/tools/fbs", False), ("/tools/fbs/", True), ("", False)])
def test_api_and_pages(settings: MakeSettings, tmp_path: Path, root_path: str, *, kept: bool) -> None:
    own = settings(fbs_root_path=root_path, fbs_api_proxies="127.0.0.0/8")
    with Client(settings=own) as client:
        job = client.discover(domain="hr")  # there is no worker
    with api_server(own, log=tmp_path / "api.log") as api:
        passed = f"proxy_pass {api.url}{'' if kept else '/'};"
        header = (
            "" if root_path else "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Prefix /tools/fbs;"
        )
        with (
            nginx(tmp_path, f"location /tools/fbs/ {{ {passed} {header} }}") as front,
            httpx.Client(base_url=f"{front}/tools/fbs", timeout=PATIENCE, follow_redirects=True) as browser,
        ):
            form = browser.get("/jobs/?state=queued")
            assert form.url.path == "/tools/fbs/login"
            following = {"token": WRITER, "next": form.url.params["next"]}
            page = browser.post("/login/", data=following, headers={"Origin": front})
            assert (page.status_code, str(page.url)) == (200, f"{front}/tools/fbs/jobs/?state=queued")
            assert [cookie.path for cookie in browser.cookies.jar] == ["/tools/fbs/"]
            seen: set[str] = set()
            for path in ("/", f"/jobs/{job.id}/"):
                page = browser.get(path)
                seen |= {urljoin(str(page.url), found.replace("&amp;", "&")) for found in ADDRESS.findall(page.text)}
            assert {urlsplit(address).path.split("/")[1] for address in seen} == {"tools"}
            assert f"{front}/tools/fbs/jobs/{job.id}/cancel" in seen
            for address in seen:
                if not address.endswith(("/cancel", "/logout/")):  # POST
                    assert browser.get(address).status_code == 200, address
            answer = browser.get(f"/api/v1/jobs/{job.id}/", headers=bearer(WRITER)).json()
            assert answer["links"]["self"] == f"/tools/fbs/api/v1/jobs/{job.id}/"
            refused = browser.get(answer["links"]["self"].removeprefix("/tools/fbs"))
            assert (refused.status_code, refused.json()["instance"]) == (401, answer["links"]["self"])
            missing = browser.get("/api/v1/jobs/none/", headers=bearer(WRITER)).json()
            assert missing["instance"] == "/tools/fbs/api/v1/jobs/none/"
            document = browser.get("/api/v1/openapi.json", headers=bearer(WRITER)).json()
            assert document["servers"] == [{"url": "/tools/fbs"}]
            token = re.search(r'name="form_token" value="([^"]+)"', page.text)
            assert token
            out = browser.post("/logout/", data={"form_token": token[1]}, headers={"Origin": front})
            assert out.url.path == "/tools/fbs/login"
            assert not browser.cookies
        # a prefix is only believed from a proxy
        with api_server(settings(), log=tmp_path / "other.log") as other:
            direct = other.ask("GET", "/jobs/", token="", headers={"X-Forwarded-Prefix": "/evil"})
            assert direct.headers["location"].startswith("/login")


@pytest.mark.parametrize("kept", [True, False])
def test_the_dashboard(settings: MakeSettings, tmp_path: Path, *, kept: bool) -> None:
    with dashboard(settings(fbs_flower_root_path="/flower"), log=tmp_path / "flower.log") as board:
        passed = f"proxy_pass {board.url}{'' if kept else '/'};"
        with (
            nginx(tmp_path, f"location /flower/ {{ {passed} }}") as front,
            httpx.Client(
                base_url=front, headers={"Authorization": board.authorization}, timeout=PATIENCE, follow_redirects=True
            ) as browser,
        ):
            page = browser.get("/flower/")
            assert page.status_code == 200
            seen = {found for found in ADDRESS.findall(page.text) if found.startswith("/")}
            assert {address.split("/")[1] for address in seen} == {"flower"}
            for address in seen:
                assert browser.get(address).status_code == 200, address
            assert httpx.get(f"{front}/flower/api/workers").status_code == 401
