"""Requests from other sites and other machines."""

from __future__ import annotations

import pytest

from fbs_worker.core.sockets import is_loopback
from fbs_worker.web.api.csrf import check_local, check_origin
from fbs_worker.web.api.errors import CrossSite, NotLocal

HOST = "127.0.0.1:8000"


def headers(**given: str) -> dict[bytes, bytes]:
    named = {"host": HOST, **given}
    return {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in named.items()}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "::ffff:127.0.0.1", "localhost", "LOCALHOST.", "fbs.localhost"])  # fmt: skip
def test_loopback_addresses(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example", "notlocalhost", "127.0.0.1.example", "1270.0.0.1"])  # fmt: skip
def test_other_addresses(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "[::1]:8000", "[::1]", "fbs.localhost"]
)
def test_without_a_token_local_requests_are_accepted(host: str) -> None:
    check_local(headers(host=host), "127.0.0.1")
    check_local(headers(host=host), None)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example", "10.0.0.1:8000", "[fd00::1]:8000"])  # fmt: skip
def test_a_rebound_name_is_rejected(host: str) -> None:
    with pytest.raises(NotLocal):
        check_local(headers(host=host), "127.0.0.1")


@pytest.mark.parametrize("client", ["10.0.0.1", "fd00::1", "testclient"])
def test_without_a_token_remote_requests_are_rejected(client: str) -> None:
    with pytest.raises(NotLocal):
        check_local(headers(), client)


@pytest.mark.parametrize("header", ["forwarded", "x_forwarded_for", "x_real_ip"])
def test_without_a_token_proxied_requests_are_rejected(header: str) -> None:
    with pytest.raises(NotLocal, match="proxy"):
        check_local(headers(**{header: "10.0.0.1"}), "127.0.0.1")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin"},
        {"origin": "http://127.0.0.1:8000", "sec_fetch_site": "same-origin"},
        {"origin": "https://fbs.example", "host": "fbs.example"},
        {"origin": "https://FBS.example", "host": "fbs.EXAMPLE:443"},
        {"origin": "http://[::1]:8000", "host": "[::1]:8000"},
    ],
)
def test_programs_and_own_pages_pass(method: str, given: dict[str, str]) -> None:
    check_origin(headers(**given), method, page=False)


@pytest.mark.parametrize(
    "given",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:bad"},
        {"origin": "https://127.0.0.1", "host": "127.0.0.1:80"},
        {"origin": "http://evil.example", "sec_fetch_site": "same-origin"},
    ],
)
@pytest.mark.parametrize("page", [True, False])
def test_cross_site_writes_are_rejected(given: dict[str, str], page: bool) -> None:
    with pytest.raises(CrossSite):
        check_origin(headers(**given), "POST", page=page)


def test_cross_site_reads_are_rejected() -> None:
    with pytest.raises(CrossSite):
        check_origin(headers(sec_fetch_site="cross-site", sec_fetch_mode="no-cors"), "GET", page=True)
    with pytest.raises(CrossSite):
        check_origin(headers(sec_fetch_site="cross-site", sec_fetch_mode="navigate"), "GET", page=False)


def test_cross_site_navigation_to_a_page_passes() -> None:
    check_origin(headers(sec_fetch_site="cross-site", sec_fetch_mode="navigate"), "GET", page=True)
