"""Names, prefixes, hosts and ports as validated types for pydantic models."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

DEFAULT_TABLE_PREFIX: Final = "fbs_"

MAX_IDENTIFIER_BYTES: Final = 63
"""PostgreSQL's NAMEDATALEN - 1: the server truncates longer names silently."""

_PREFIX = re.compile(r"[a-z_][a-z0-9_]*")
_DOMAIN = re.compile(r"[a-z][a-z0-9_-]*")
_SOLUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MODEL = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z0-9_]+)*")
_ODOO = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
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


def _optional_prefix(value: str) -> str:
    return check_prefix(value) if value else value


def check_identifier(value: str) -> str:
    if not value or _CONTROL.search(value) or len(value.encode()) > MAX_IDENTIFIER_BYTES:
        raise ValueError(f"use 1 to {MAX_IDENTIFIER_BYTES} bytes without control characters")
    return value


def _host(value: str) -> str:
    if not value or _CONTROL.search(value):
        raise ValueError("use a host name, an address or the folder of a Unix socket")
    if value.startswith("/"):
        return value
    if re.search(r"[\s,/@]", value):
        raise ValueError("use one host name, address or absolute folder, without a port or a scheme")
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


def _matching(pattern: re.Pattern[str], max_length: int, message: str) -> AfterValidator:
    def check(value: str) -> str:
        if len(value) > max_length or not pattern.fullmatch(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def sorted_models(value: object) -> object:
    """Sort and deduplicate a list of model names, so that equal requests compare equal."""
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value):
        return tuple(sorted(set(value)))
    raise ValueError("use a list of model names, e.g. sale.order")


Identifier = Annotated[str, AfterValidator(check_identifier)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, BeforeValidator(_port), AfterValidator(_port_range)]
Prefix = Annotated[str, AfterValidator(check_prefix)]
OptionalPrefix = Annotated[str, AfterValidator(_optional_prefix)]
DomainName = Annotated[str, _matching(_DOMAIN, 100, "use lower-case letters, digits, _ and -, at most 100 characters")]
SolutionName = Annotated[
    str, _matching(_SOLUTION, 100, "use letters, digits, _, . and -, a letter or digit first, at most 100")
]
OdooName = Annotated[str, _matching(_ODOO, 100, "use letters, digits, _ and -, at most 100 characters")]
ModelName = Annotated[str, _matching(_MODEL, 100, "use names such as sale.order, at most 100 characters each")]
