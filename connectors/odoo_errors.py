"""Translate errors reported by Odoo into FBSErrors (pure).

Odoo reports the Python class of an exception (`data.name` over JSON-RPC, `name` over JSON-2) and its text. The text is
localised, may contain paths of the server and, from a server that echoes requests, even secrets. It is cut to one
line without paths and known secrets; the server's traceback is ignored.

Sources: `odoo/http.py` (serialize_exception, SessionExpiredException), `odoo/service/model.py` (unknown model and
method), `odoo/addons/base/models/ir_model.py` (the text of an AccessError), each of 14.0 and 19.0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from fbs_worker.core.errors import (
    FBSError,
    OdooAccessDenied,
    OdooCallFailed,
    OdooDatabaseMissing,
    OdooLoginRefused,
    OdooModelMissing,
    OdooServerError,
)

MAX_TEXT: Final = 200
"""Maximum characters of a server's text in a message."""

_PATH: Final = re.compile(r"(?<![\w.:/])/(?:[\w.+@-]+/)+[\w.+@-]*")
_GROUP_LINE: Final = re.compile(r"^\s*[-•]\s+(?P<group>\S.*?)\s*$", re.MULTILINE)
_MISSING_OBJECT: Final = re.compile(r"Object (?P<model>\S+) doesn't exist")
_LANGUAGE: Final = re.compile(r"(?<=Invalid language code: )[\w@.-]{1,32}")
_TRANSIENT: Final = frozenset(
    {
        *("OperationalError", "InterfaceError", "PoolError", "SerializationFailure", "DeadlockDetected"),
        *("LockNotAvailable", "QueryCanceled", "AdminShutdown", "CannotConnectNow", "TooManyConnections"),
    }
)
"""Error classes of psycopg2 for a temporary failure of Odoo's PostgreSQL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """The call that failed.

    Attributes:
        url: the server's URL.
        database: the Odoo database.
        user: the login, where there is one.
        secrets: values to redact.
        model: the called model; empty for a login.
        method: the called method.
    """

    url: str
    database: str
    user: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    model: str = ""
    method: str = ""

    @property
    def call(self) -> str:
        """`model.method`, or `the login`."""
        return f"{self.model}.{self.method}" if self.model else "the login"


def one_line(text: Any, secrets: Sequence[str] = ()) -> str:
    """Redact a server's text for a message: one line of bounded length, without paths and known secrets."""
    redacted = str(text)
    for secret in filter(None, secrets):
        # plain, and as written in JSON, in Python and in a URL
        for form in {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}:
            redacted = redacted.replace(form, "***")
    line = _PATH.sub("…", " ".join(redacted.split()))
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1].rstrip() + "…"


def groups_of(text: str) -> list[str]:
    """The groups listed in the text of an AccessError, one per line after a dash."""
    return sorted({match["group"] for match in _GROUP_LINE.finditer(text)})


def odoo_error(name: str, text: str, context: CallContext) -> FBSError:
    """Translate an error reported by Odoo.

    Args:
        name: dotted name of the exception's class, e.g. `odoo.exceptions.AccessError`.
        text: its text.
        context: the call that failed.

    Returns:
        The error to raise.
    """
    module, _, kind = name.rpartition(".")
    if kind in ("AccessDenied", "Unauthorized"):
        return login_refused(context, text)
    if kind == "SessionExpiredException":
        return OdooLoginRefused(
            f"The session on {context.url} has expired.", hint="Try again; the session expired again after a new login."
        )
    if kind == "AccessError":
        return database_missing(context) if not context.model else access_denied(groups_of(text), context)
    if module.startswith("psycopg2") and kind in _TRANSIENT:
        return database_missing(context) if _names_missing_database(text, context) else _postgres_busy(context)
    if language := _LANGUAGE.search(text):
        return OdooCallFailed(
            f"The language {language[0]} is not installed in database {context.database}.",
            hint="Install it in Odoo (Settings, Languages), or set ODOO_LANG to an installed one, e.g. en_US.",
            model=context.model,
            method=context.method,
        )
    if _is_missing(kind, text, context):
        return model_missing(context)
    return OdooCallFailed(
        f"Odoo failed in {context.call}: {one_line(text, context.secrets) or kind}",
        hint="Check the log of the Odoo server for the traceback.",
        model=context.model,
        method=context.method,
    )


def login_refused(context: CallContext, text: str = "") -> OdooLoginRefused:
    """The error for a rejected login: wrong or expired credentials, or too many attempts."""
    who = f" for user {context.user}" if context.user else ""
    reason = one_line(text, context.secrets).rstrip(".")
    why = f": {reason}" if reason and reason.lower() != "access denied" else ""
    return OdooLoginRefused(
        f"Odoo rejected the login to database {context.database}{who}{why}.",
        hint="Check ODOO_USER and ODOO_PASSWORD, or ODOO_API_KEY for an API key, which may have expired.",
    )


def second_factor_needed(context: CallContext) -> OdooLoginRefused:
    """The error for a valid password of a user with two-factor authentication."""
    return OdooLoginRefused(
        f"User {context.user} of database {context.database} needs a second factor to log in.",
        hint="Create an API key (in Odoo: Preferences, Account Security) and set ODOO_API_KEY instead of the password.",
    )


def database_missing(context: CallContext) -> OdooDatabaseMissing:
    """The error for a database that the server does not have, or hides."""
    return OdooDatabaseMissing(
        f"{context.url} has no database {context.database}.",
        hint="Set ODOO_DB to one of the names on the server's page /web/database/selector, or ask its administrator.",
    )


def access_denied(groups: Sequence[str], context: CallContext) -> OdooAccessDenied:
    """The error for a missing right, with the groups that grant it."""
    groups = [one_line(group, context.secrets) for group in groups]
    hint = (
        f"Give the user one of these groups: {', '.join(groups)}."
        if groups
        else "Ask an administrator of that Odoo for the right."
    )
    return OdooAccessDenied(
        f"The Odoo user may not call {context.call}.",
        hint=hint,
        model=context.model,
        method=context.method,
        groups=groups,
    )


def model_missing(context: CallContext) -> OdooModelMissing:
    """The error for a model or method that the server does not have."""
    return OdooModelMissing(
        f"This Odoo has no model {context.model}, or it has no method {context.method}.",
        hint="The model belongs to a module that is not installed, or to another version of Odoo.",
        model=context.model,
        method=context.method,
    )


def _postgres_busy(context: CallContext) -> OdooServerError:
    return OdooServerError(
        f"{context.url} cannot use its own database at present.", hint="Try again; if it persists, check Odoo's log."
    )


def _names_missing_database(text: str, context: CallContext) -> bool:
    """Whether PostgreSQL reports a missing database, in any language.

    It reports an existing database without free connections alike; that one is recognised by the English text.
    """
    if "FATAL" not in text or "connections" in text:
        return "does not exist" in text
    return context.database in text.partition("FATAL")[2]


def _is_missing(kind: str, text: str, context: CallContext) -> bool:
    if not context.model:
        return False
    if kind == "NotFound":
        return True
    if kind == "KeyError":
        return text.strip("'\"") == context.model
    if kind == "AttributeError":
        return context.method in text
    match = _MISSING_OBJECT.match(text)
    return match is not None and match["model"] == context.model
