"""What an error that Odoo reports means: from the name and text in its answer to an error of ours (pure).

Odoo names the Python class of what it raised (`data.name` over JSON-RPC, `name` over JSON-2) and gives its text. The
text is one of a person's language, may hold paths of the server and, from a server that echoes what it was sent, even
a secret: so it is cut to one line, paths and known secrets are taken out, and the server's trace is never read.

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
"""Characters of a server's own text that a message may hold."""

_PATH: Final = re.compile(r"(?<![\w.:/])/(?:[\w.+@-]+/)+[\w.+@-]*")
_GROUP_LINE: Final = re.compile(r"^\s*[-•]\s+(?P<group>\S.*?)\s*$", re.MULTILINE)
_MISSING_OBJECT: Final = re.compile(r"Object (?P<model>\S+) doesn't exist")
_PASSING: Final = frozenset(
    {
        "OperationalError",
        "InterfaceError",
        "PoolError",
        "SerializationFailure",
        "DeadlockDetected",
        "LockNotAvailable",
        "QueryCanceled",
        "AdminShutdown",
        "CannotConnectNow",
        "TooManyConnections",
    }
)
"""Classes of psycopg2's errors that say that PostgreSQL could not serve Odoo just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What was being done when Odoo reported an error.

    Attributes:
        url: the server's URL.
        database: the Odoo database.
        user: the login, as far as one was given.
        secrets: what may never come out.
        model: the model that was called; empty for a log-in.
        method: its method.
    """

    url: str
    database: str
    user: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    model: str = ""
    method: str = ""

    @property
    def call(self) -> str:
        """`model.method`, or `the log-in`."""
        return f"{self.model}.{self.method}" if self.model else "the log-in"


def one_line(text: Any, secrets: Sequence[str] = ()) -> str:
    """A server's text made fit for a message: one line of bounded length, without paths and known secrets."""
    told = str(text)
    for secret in filter(None, secrets):
        # as it is, and as it stands in JSON, in Python and in a URL
        for form in {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}:
            told = told.replace(form, "***")
    line = _PATH.sub("…", " ".join(told.split()))
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1].rstrip() + "…"


def groups_of(text: str) -> list[str]:
    """The groups that an AccessError's text lists, one per line after a dash; none where it lists none."""
    return sorted({match["group"] for match in _GROUP_LINE.finditer(text)})


def odoo_error(name: str, text: str, context: CallContext) -> FBSError:
    """The error of ours for one that Odoo reports.

    Args:
        name: the dotted name of the class that Odoo raised, e.g. `odoo.exceptions.AccessError`.
        text: its text.
        context: what was being done.
    """
    module, _, kind = name.rpartition(".")
    if kind in ("AccessDenied", "Unauthorized"):
        return login_refused(context, text)
    if kind == "SessionExpiredException":
        return OdooLoginRefused(
            f"The session on {context.url} has expired.", hint="Try again; a new log-in did not last either."
        )
    if kind == "AccessError":
        return database_missing(context) if not context.model else access_denied(groups_of(text), context)
    if module.startswith("psycopg2") and kind in _PASSING:
        return database_missing(context) if _names_missing_database(text, context) else _postgres_busy(context)
    if _says_missing(kind, text, context):
        return model_missing(context)
    return OdooCallFailed(
        f"Odoo failed in {context.call}: {one_line(text, context.secrets) or kind}",
        hint="Look into the Odoo server's log for the whole story.",
        model=context.model,
        method=context.method,
    )


def login_refused(context: CallContext, text: str = "") -> OdooLoginRefused:
    """Wrong user, password or key, an expired key, or too many attempts; Odoo's text tells where it says more."""
    who = f" for user {context.user}" if context.user else ""
    told = one_line(text, context.secrets).rstrip(".")
    why = f": {told}" if told and told.lower() != "access denied" else ""
    return OdooLoginRefused(
        f"Odoo refused the log-in to database {context.database}{who}{why}.",
        hint="Check ODOO_USER and ODOO_PASSWORD; an API key belongs in ODOO_API_KEY, and it may have expired.",
    )


def second_factor_needed(context: CallContext) -> OdooLoginRefused:
    """The password is right, but the user has two-factor authentication."""
    return OdooLoginRefused(
        f"User {context.user} of database {context.database} needs a second factor to log in.",
        hint="Make an API key (in Odoo: Preferences, Account Security) and set ODOO_API_KEY in the password's place.",
    )


def database_missing(context: CallContext) -> OdooDatabaseMissing:
    """The server has no such database, or does not show it."""
    return OdooDatabaseMissing(
        f"{context.url} has no database {context.database}.",
        hint="Set ODOO_DB to one of the names on the server's page /web/database/selector, or ask its administrator.",
    )


def access_denied(groups: Sequence[str], context: CallContext) -> OdooAccessDenied:
    """The user lacks a right, which one of the groups would give."""
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
    """The server has no such model, or the model no such method."""
    return OdooModelMissing(
        f"This Odoo has no model {context.model}, or it has no method {context.method}.",
        hint="The model belongs to a module that is not installed, or to another version of Odoo.",
        model=context.model,
        method=context.method,
    )


def _postgres_busy(context: CallContext) -> OdooServerError:
    return OdooServerError(
        f"{context.url} has trouble with its own database.", hint="Try again; if it stays so, look into Odoo's log."
    )


def _names_missing_database(text: str, context: CallContext) -> bool:
    """Whether PostgreSQL says that there is no such database, in whatever language it speaks.

    It says the same of a database that is there but full or closed for now: those are told by their English words.
    """
    if "FATAL" not in text or "connections" in text:
        return "does not exist" in text
    return context.database in text.partition("FATAL")[2]


def _says_missing(kind: str, text: str, context: CallContext) -> bool:
    if not context.model:
        return False
    if kind == "NotFound":
        return True
    if kind == "KeyError":
        return text.strip("'\"") == context.model
    if kind == "AttributeError":
        return context.method in text
    found = _MISSING_OBJECT.match(text)
    return found is not None and found["model"] == context.model
