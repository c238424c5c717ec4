"""Everything that a Redis database holds, to search it for what must not be there."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any


def everything_in(raw: Any) -> Iterator[bytes]:
    """Every key and value, and again what can be read of it as base 64: so a message's body travels."""
    for key in raw.scan_iter():
        yield key
        match raw.type(key):
            case b"string":
                values = [raw.get(key)]
            case b"list":
                values = raw.lrange(key, 0, -1)
            case b"hash":
                values = [part for pair in raw.hgetall(key).items() for part in pair]
            case b"zset":
                values = raw.zrange(key, 0, -1)
            case b"set":
                values = raw.smembers(key)
            case b"stream":
                values = [part for _, entry in raw.xrange(key) for pair in entry.items() for part in pair]
            case b"none":  # it went in between
                values = []
            case kind:
                raise AssertionError(f"{kind!r} is not looked into")
        for value in values:
            yield value
            for encoded in re.findall(rb"[A-Za-z0-9+/]{16,}={0,2}", value):
                yield base64.b64decode(encoded[: len(encoded) // 4 * 4])
