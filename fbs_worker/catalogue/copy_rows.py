"""Encode discoveries as rows in COPY's binary format, with JSON that jsonb accepts.

Pure, except that it drains an iterator. The binary format needs no escaping, so no name or label can break it. Sources:
PostgreSQL's documentation of COPY for the layout, `jsonb_recv` for jsonb (a version byte 1, then the JSON text). Text
is UTF-8, the encoding of the connection.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from fbs_worker.catalogue.model import Discovery, DiscoveryType, Skipped
from fbs_worker.catalogue.versioning import FIRST_VERSION

MAX_NAME: Final = 100
MAX_VERSION: Final = 20
MAX_DOMAIN: Final = 100

CHUNK_BYTES: Final = 256 * 1024
"""Minimum size of a chunk passed to the driver."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_NULL = struct.pack("!i", -1)
_ROW = struct.Struct("!hii")  # six columns; the first is four bytes long: the row's number
_LENGTH = struct.Struct("!i")
_JSONB = b"\x01"

_NUL_ESCAPED = b"\\u0000"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def to_json(value: Any) -> bytes:
    """Encode a value as JSON text that jsonb accepts, with sorted keys.

    NUL and lone surrogates, which PostgreSQL cannot store, become U+FFFD; NaN and infinities become null.
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a lone surrogate, an integer above 64 bits, a mapping that is no dict
        return json.dumps(_storable(value), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    if _NUL_ESCAPED in text:  # or an escaped backslash before "u0000": harmless, only slower
        return orjson.dumps(_storable(value), option=orjson.OPT_SORT_KEYS)
    return text


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store a text: no NUL, no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return "".join(_REPLACEMENT if char == "\0" or "\ud800" <= char <= "\udfff" else char for char in value)
    if isinstance(value, Mapping):
        return {_storable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(_storable, value), key=str)
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def misfit(discovery: Discovery, domain: str, types: frozenset[DiscoveryType]) -> str:
    """Check whether a discovery fits its row.

    Args:
        discovery: the discovery.
        domain: the snapshot's domain.
        types: the snapshot's types.

    Returns:
        The reason why it does not fit; empty when it does.
    """
    name, version = discovery.name, discovery.version or ""
    if not name:
        return "it has no name"
    if len(name) > MAX_NAME:
        return f"its name has {len(name)} characters; at most {MAX_NAME} fit"
    if len(version) > MAX_VERSION:
        return f"its version {version[:60]!r} has {len(version)} characters; at most {MAX_VERSION} fit"
    if not (is_storable(name) and is_storable(version)):
        return "its name or version has characters that PostgreSQL cannot store"
    if discovery.domain != domain:
        return f"it is of the domain {discovery.domain[:MAX_DOMAIN]!r}, not {domain!r}"
    if discovery.discovery_type not in types:
        return f"the snapshot is not of the type {str(discovery.discovery_type)!r}"
    return ""


class RowStream(io.RawIOBase):
    """File-like source for COPY … FROM STDIN (FORMAT binary) that encodes discoveries on demand.

    An error of the iterator ends the stream; `raise_error` raises it afterwards. (Raised in `read`, the driver would
    send its text to the server's log and lose its class.)

    Args:
        discoveries: drained while the driver reads.
        domain: the snapshot's domain.
        types: the snapshot's types.

    Attributes:
        rows: number of encoded rows.
        skipped: the discoveries that do not fit.
    """

    def __init__(self, discoveries: Iterable[Discovery], *, domain: str, types: frozenset[DiscoveryType]) -> None:
        super().__init__()
        self.rows = 0
        self.skipped: list[Skipped] = []
        self._domain = domain
        self._types = types
        self._chunks = self._encode(discoveries)
        self._error: BaseException | None = None

    def readable(self) -> bool:
        """Always true."""
        return True

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 -- the driver accepts chunks of any size
        """The next chunk; empty at the end of the stream."""
        try:
            return next(self._chunks, b"")
        except BaseException as exc:  # noqa: BLE001 -- raised again by raise_error
            self._error = exc
            return b""

    def raise_error(self) -> None:
        """Raise the error of the iterator, if any."""
        if self._error is not None:
            raise self._error

    def _encode(self, discoveries: Iterable[Discovery]) -> Iterator[bytes]:
        parts, size = [_HEADER], 0
        for discovery in discoveries:
            reason = misfit(discovery, self._domain, self._types)
            if reason:
                skip = Skipped(discovery_type=discovery.discovery_type, name=discovery.name, reason=reason)
                self.skipped.append(skip)
                continue
            row = encode_row(self.rows, discovery)
            self.rows += 1
            parts.append(row)
            size += len(row)
            if size >= CHUNK_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
        yield b"".join((*parts, _TRAILER))


def encode_row(number: int, discovery: Discovery) -> bytes:
    """Encode a row of the temporary table: number, type, name, own version, metadata, schema_definition."""
    version = discovery.version
    if version is None and discovery.discovery_type is DiscoveryType.MODULE:
        version = FIRST_VERSION
    schema = discovery.schema_definition
    return b"".join(
        (
            _ROW.pack(6, 4, number),
            _field(discovery.discovery_type.encode()),
            _field(discovery.name.encode()),
            _NULL if version is None else _field(version.encode()),
            _field(_JSONB + to_json(discovery.metadata)),
            _NULL if schema is None else _field(_JSONB + to_json(schema)),
        )
    )


def _field(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data
