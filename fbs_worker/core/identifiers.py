"""Names, prefixes, hosts and ports as validated types for pydantic models."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.odoo_address import parse_url, with_scheme

DEFAULT_TABLE_PREFIX: Final = "fbs_"

MAX_IDENTIFIER_BYTES: Final = 63
"""PostgreSQL's NAMEDATALEN - 1: the server truncates longer names silently."""

_PREFIX = re.compile(r"[a-z_][a-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORT_RANGE: Final = "use a number from 1 to 65535"


def check_prefix(value: str) -> str:
    """Validate a prefix of table names.

    Args:
        value: lower-case letters, digits and `_`, not beginning with a digit, at most 20 characters.

    Raises:
        ValueError: the prefix is not valid.
    """
    if not _PREFIX.fullmatch(value) or len(value) > 20:
        raise ValueError("use lower-case letters, digits and _, no digit first, at most 20 characters")
    return value


def quoted(name: object) -> str:
    """Quote an identifier."""
    return '"' + str(name).replace('"', '""') + '"'


def _optional_prefix(value: str) -> str:
    return check_prefix(value) if value else value


def check_identifier(value: str) -> str:
    if not value or _CONTROL.search(value) or len(value.encode()) > MAX_IDENTIFIER_BYTES:
        raise ValueError(f"use 1 to {MAX_IDENTIFIER_BYTES} bytes without control characters")
    return value


def _hosts(value: str) -> str:
    if "," not in value or value.startswith("/"):
        return _host(value)
    for part in value.split(","):
        host = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:/\[\]]+)(:[0-9]{1,5})?", part)
        if not host:
            raise ValueError("use host names or addresses with commas, each as host or host:port")
        _host(host[1])
        if host[2]:
            _port_range(int(host[2][1:]))
    return value


def _host(value: str) -> str:
    if not value or len(value) > 255 or _CONTROL.search(value):
        raise ValueError("use a host name, an address or the folder of a Unix socket")
    if value.startswith("/") and "," not in value:
        return value
    if re.search(r"[\s,/@]", value):
        raise ValueError("use one host name, address or absolute folder, without a port or a scheme")
    return value


def _libpq_text(value: str) -> str:
    if not value or len(value) > 255 or _CONTROL.search(value):
        raise ValueError("use 1 to 255 characters without control characters")
    return value


def _odoo_url(value: str) -> str:
    """The address as it is compared and shown; the errors of `parse_url` say what is wrong with it."""
    if value.lower().startswith("recording:"):
        return value
    try:
        return parse_url(value).url
    except SettingsError as exc:
        raise UsageError(exc.message, hint=exc.hint, field="url") from None


def _optional_login(value: str) -> str:
    value = value.strip()
    if len(value) > 255 or _CONTROL.search(value):
        raise ValueError("use at most 255 characters without control characters")
    return value


def _port(value: object) -> object:
    """Ports come as text from dictionaries and forms."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,6}\s*", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(_PORT_RANGE)  # noqa: TRY004 -- pydantic collects ValueError only
    return value


def _port_range(value: int) -> int:
    if not 1 <= value <= 65535:
        raise ValueError(_PORT_RANGE)
    return value


def _text(pattern: str, max_length: int, message: str, example: str) -> tuple[AfterValidator, WithJsonSchema]:
    """A check with words for people, and the JSON schema that says the same."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if len(value) > max_length or not compiled.fullmatch(value):
            raise ValueError(message)
        return value

    return AfterValidator(check), _schema(pattern, max_length, example)


def _schema(pattern: str, max_length: int, *examples: str) -> WithJsonSchema:
    shown: dict[str, Any] = {"examples": list(examples)} if examples else {}
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "maxLength": max_length, **shown})


_PLAIN: Final = _schema(r"[^\x00-\x1f\x7f]+", MAX_IDENTIFIER_BYTES)

Identifier = Annotated[str, AfterValidator(check_identifier), _PLAIN]
OptionalIdentifier = Annotated[str, AfterValidator(lambda value: check_identifier(value) if value else value), _PLAIN]
Hosts = Annotated[str, AfterValidator(_hosts), _schema(r"[^\s@\x00-\x1f\x7f]+", 255)]
LibpqText = Annotated[str, AfterValidator(_libpq_text), _schema(r"[^\x00-\x1f\x7f]+", 255)]
Port = Annotated[
    int,
    BeforeValidator(_port),
    AfterValidator(_port_range),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": "^[0-9]{1,5}$", "description": "the same as text"},
            ]
        }
    ),
]
Prefix = Annotated[str, AfterValidator(check_prefix), _schema(_PREFIX.pattern, 20, "fbs_")]
OptionalPrefix = Annotated[str, AfterValidator(_optional_prefix), _schema(f"({_PREFIX.pattern})?", 20, "rental_")]
DomainName = Annotated[
    str,
    *_text(r"[a-z][a-z0-9_-]*", 100, "use lower-case letters, digits, _ and -, at most 100 characters", "rental"),
]
SolutionName = Annotated[
    str,
    *_text(
        r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        100,
        "use letters, digits, _, . and -, a letter or digit first, at most 100",
        "fayvad_rentals",
    ),
]
OdooName = Annotated[
    str,
    *_text(r"[A-Za-z0-9][A-Za-z0-9_-]*", 100, "use letters, digits, _ and -, at most 100 characters", "default"),
]
OdooURL = Annotated[
    str, BeforeValidator(with_scheme), AfterValidator(_odoo_url), _schema(r"(https?://|recording:)[^\s@]+", 2_000)
]
OptionalLogin = Annotated[str, AfterValidator(_optional_login), _schema(r"[^\x00-\x1f\x7f]*", 255)]
Language = Annotated[
    str, *_text(r"[a-z]{2,3}(_[A-Z0-9]{2,3})?(@[A-Za-z]+)?", 20, "use a code of Odoo, e.g. en_US or de_DE", "en_US")
]
ModelName = Annotated[
    str,
    *_text(
        r"[a-z_][a-z0-9_]*(\.[a-z0-9_]+)*",
        100,
        "use names such as sale.order, at most 100 characters each",
        "sale.order",
    ),
]
ModelNames = Annotated[tuple[ModelName, ...], AfterValidator(lambda names: tuple(sorted(set(names))))]
ModulePattern = Annotated[
    str,
    *_text(r"[A-Za-z0-9_*?\[\]!-]+", 100, "use names of modules, with * for any characters, e.g. x_*", "x_*"),
]
ModulePatterns = Annotated[tuple[ModulePattern, ...], AfterValidator(lambda names: tuple(sorted(set(names))))]
Fingerprint = Annotated[str, *_text("[0-9a-f]{16}", 16, "it has 16 hexadecimal digits", "0123456789abcdef")]
Rename = Annotated[
    str,
    *_text(r"[^=]+\.[^=.]+=[^=]+", 200, "it does not have the form table.old=new", "lease.notes=remarks"),
]
