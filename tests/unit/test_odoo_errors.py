"""What failures mean: those of the libraries below, and those that Odoo reports."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import urllib3.exceptions as u3

from fbs_worker.connectors.base import parse_series
from fbs_worker.connectors.http import FAULTS, fault_of
from fbs_worker.connectors.odoo_errors import MAX_TEXT, CallContext, groups_of, odoo_error, one_line
from fbs_worker.core.errors import (
    FBSError,
    OdooAccessDenied,
    OdooAnswerCutShort,
    OdooBadAnswer,
    OdooCallFailed,
    OdooDatabaseMissing,
    OdooLoginRefused,
    OdooModelMissing,
    OdooServerError,
    OdooTimeout,
    OdooUnreachable,
)
from fbs_worker.core.odoo_address import parse_url

LOG_IN = CallContext(url="http://odoo:8069", database="live", user="admin", secrets=("s3cret",))
CALL = CallContext(
    url="http://odoo:8069",
    database="live",
    user="admin",
    secrets=("s3cret",),
    model="ir.model",
    method="search_read",
)
GROUPS_TEXT = (
    "You are not allowed to access 'View' (ir.ui.view) records.\n\nThis operation is allowed for the following groups:\n"
    "\t- Website/Editor and Designer\n\t- Role / Administrator\n\nContact your administrator to request access."
)
NO_DATABASE = 'connection to server on socket "/run/pg/.s.PGSQL.5432" failed: FATAL:  database "live" does not exist\n'


def subclasses(root: type[BaseException]) -> Iterator[type[BaseException]]:
    for kind in root.__subclasses__():
        yield kind
        yield from subclasses(kind)


@pytest.mark.parametrize("kind", sorted(set(subclasses(u3.HTTPError)), key=repr))
def test_every_error_of_urllib3_has_a_meaning_of_its_own(kind: type[BaseException]) -> None:
    """`HTTPError` itself is the last resort: no class that urllib3 has may need it."""
    listed = next(ancestor for ancestor in kind.__mro__ if ancestor in FAULTS)
    assert listed is not u3.HTTPError, f"connectors.http.FAULTS says nothing about {kind.__name__}"


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (TimeoutError(), OdooTimeout),
        (u3.ConnectTimeoutError("no"), OdooTimeout),
        (u3.ReadTimeoutError(None, "/", "no"), OdooTimeout),  # type: ignore[arg-type]
        (u3.IncompleteRead(1, 2), OdooAnswerCutShort),
        (http.client.IncompleteRead(b""), OdooAnswerCutShort),
        (http.client.RemoteDisconnected(""), OdooUnreachable),
        (ConnectionResetError(), OdooUnreachable),
        (BrokenPipeError(), OdooUnreachable),
        (ConnectionRefusedError(), OdooUnreachable),
        (socket.gaierror(), OdooUnreachable),
        (ssl.SSLCertVerificationError(), OdooUnreachable),
        (ssl.SSLError(), OdooUnreachable),
        (OSError(), OdooUnreachable),
        (http.client.BadStatusLine("x"), OdooBadAnswer),
        (http.client.LineTooLong("header"), OdooBadAnswer),
        (u3.DecodeError("no gzip"), OdooBadAnswer),
    ],
)
def test_failures_below_http(exc: BaseException, expected: type[FBSError]) -> None:
    assert fault_of(exc).error is expected


@pytest.mark.parametrize(
    ("name", "text", "context", "expected"),
    [
        ("odoo.exceptions.AccessDenied", "Access Denied", LOG_IN, OdooLoginRefused),
        ("odoo.exceptions.AccessDenied", "Access Denied", CALL, OdooLoginRefused),
        ("werkzeug.exceptions.Unauthorized", "Invalid apikey", CALL, OdooLoginRefused),
        ("odoo.http.SessionExpiredException", "Session expired", CALL, OdooLoginRefused),
        ("odoo.exceptions.AccessError", "Database not found.", LOG_IN, OdooDatabaseMissing),
        ("odoo.exceptions.AccessError", GROUPS_TEXT, CALL, OdooAccessDenied),
        ("psycopg2.OperationalError", NO_DATABASE, LOG_IN, OdooDatabaseMissing),
        ("psycopg2.OperationalError", "FATAL:  Datenbank »live« existiert nicht", LOG_IN, OdooDatabaseMissing),
        ("psycopg2.OperationalError", "Connection refused", LOG_IN, OdooServerError),
        ("psycopg2.OperationalError", "FATAL:  sorry, too many clients already", CALL, OdooServerError),
        ("psycopg2.OperationalError", 'FATAL:  too many connections for database "live"', CALL, OdooServerError),
        ("psycopg2.errors.SerializationFailure", "could not serialize access", CALL, OdooServerError),
        ("psycopg2.pool.PoolError", "The Connection Pool Is Full", CALL, OdooServerError),
        ("psycopg2.errors.UndefinedColumn", "column x does not exist", CALL, OdooCallFailed),
        ("werkzeug.exceptions.NotFound", "404 Not Found", CALL, OdooModelMissing),
        ("odoo.exceptions.UserError", "Object ir.model doesn't exist", CALL, OdooModelMissing),
        ("odoo.exceptions.UserError", "Object other.model doesn't exist", CALL, OdooCallFailed),
        ("builtins.KeyError", "'ir.model'", CALL, OdooModelMissing),
        ("builtins.KeyError", "'something'", CALL, OdooCallFailed),
        ("builtins.AttributeError", "The method 'ir.model.search_read' does not exist", CALL, OdooModelMissing),
        ("builtins.AttributeError", "type object 'ir.model' has no attribute 'search_read'", CALL, OdooModelMissing),
        ("builtins.AttributeError", "'NoneType' object has no attribute 'x'", CALL, OdooCallFailed),
        ("builtins.ValueError", "Invalid field 'x' on 'ir.model'", CALL, OdooCallFailed),
        ("", "", CALL, OdooCallFailed),
    ],
)
def test_errors_that_odoo_reports(name: str, text: str, context: CallContext, expected: type[FBSError]) -> None:
    error = odoo_error(name, text, context)
    assert type(error) is expected
    assert error.hint
    assert ".s.PGSQL" not in error.message


def test_an_access_error_names_its_groups() -> None:
    error = odoo_error("odoo.exceptions.AccessError", GROUPS_TEXT, CALL)
    assert error.context["groups"] == ["Role / Administrator", "Website/Editor and Designer"]
    assert error.message == "The Odoo user may not call ir.model.search_read."


def test_no_groups_are_made_up() -> None:
    assert groups_of("You are not allowed.\n\nNo group currently allows this operation.\n\nContact - someone.") == []


def test_too_many_attempts_are_named() -> None:
    error = odoo_error("odoo.exceptions.AccessDenied", "Too many login failures, please wait a bit.", LOG_IN)
    assert "Too many login failures" in error.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\n  two\t three", "one two three"),
        ("password s3cret, again s3cret", "password ***, again ***"),
        ('in "/var/run/postgresql/.s.PGSQL.5432" it', 'in "…" it'),
        ("see /opt/odoo/addons/x.py now", "see … now"),
        ("and/or, 1/2, http://host/path/x", "and/or, 1/2, http://host/path/x"),
        ("x" * 300, "x" * (MAX_TEXT - 1) + "…"),
    ],
)
def test_a_servers_text_becomes_one_line(text: str, expected: str) -> None:
    assert one_line(text, ("s3cret", "")) == expected


@pytest.mark.parametrize("secret", ['a "quoted" one', "back\\slash", "two  spaces", "a/b?c&d", "it's", "schlüssel"])
def test_a_secret_is_found_in_json_python_and_urls(secret: str) -> None:
    for form in (secret, json.dumps(secret), repr(secret), quote(secret, safe="")):
        assert "***" in one_line(f"got {form}!", (secret,))


def test_a_context_shows_no_secret() -> None:
    assert "s3cret" not in repr(CALL)


@pytest.mark.parametrize(
    ("text", "url", "secure"),
    [
        ("http://localhost:8069", "http://localhost:8069", False),
        ("  HTTP://LocalHost:8069/  ", "http://localhost:8069", False),
        ("https://odoo.example.com", "https://odoo.example.com", True),
        ("https://odoo.example.com:443/", "https://odoo.example.com", True),
        ("https://odoo.example.com:8443", "https://odoo.example.com:8443", True),
        ("http://my_odoo", "http://my_odoo", False),
        ("http://[::1]:8069", "http://[::1]:8069", False),
        ("http://bücher.example", "http://xn--bcher-kva.example", False),
    ],
)
def test_urls(text: str, url: str, secure: bool) -> None:
    address = parse_url(text)
    assert address.url == url
    assert address.secure is secure


@pytest.mark.parametrize(
    ("version", "series", "major"),
    [
        ("19.0", "19.0", (19, 0)),
        ("19.0+e-20260101", "19.0", (19, 0)),
        ("saas~18.2+e", "18.2", (18, 2)),
        ("saas-18.3", "18.3", (18, 3)),
        ("14.0-20240101", "14.0", (14, 0)),
    ],
)
def test_series(version: str, series: str, major: tuple[int, int]) -> None:
    assert parse_series(version) == (series, major)


@pytest.mark.parametrize("version", ["", "master", "19"])
def test_text_without_a_series(version: str) -> None:
    with pytest.raises(ValueError):
        parse_series(version)
