"""Small Odoos 19 in one process, each on a port of its own, that answer late: models with made-up records.

They know what a sync asks: version and log-in, `res.users`, `fields_get`, `search_read`, `read`, `search`,
`search_count` and `formatted_read_group`, with the domains that go with them. Record N of a model is made when it is
asked for; the last few of each model are changed all the time (`hot`). Requests are counted.

    python -m bench.records_server '{"models": {"made.a": 1000}, "servers": 50, "latency": 0.2}'

prints the ports as a JSON list; for each line that it reads, `{"seconds": 5, "number": 0}` or `{}`, it lets that server
(without a number: all) answer so late, and prints the counts of calls by server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from typing import Any, Final

import orjson

FIELDS: Final = {
    "name": {"type": "char", "label": "Name"},
    "ref": {"type": "char", "label": "Reference"},
    "amount": {"type": "float", "label": "Amount"},
    "quantity": {"type": "integer", "label": "Quantity"},
    "active": {"type": "boolean", "label": "Active"},
    "date": {"type": "date", "label": "Date"},
    "note": {"type": "text", "label": "Note"},
    "user_id": {"type": "many2one", "label": "User", "relation": "res.users"},
    "create_date": {"type": "datetime", "label": "Created"},
    "write_date": {"type": "datetime", "label": "Changed"},
}
"""The stored fields of each model."""

_VERSION: Final = {"server_version": "19.0", "server_version_info": [19, 0, 0, "final", 0, ""], "server_serie": "19.0"}
_OLD: Final = "2025-01-01 00:00:00"
_USER: Final = {
    "id": 2,
    "login": "made",
    "company_id": 1,
    "company_ids": [1],
    "group_ids": [1],
    "create_date": _OLD,
    "write_date": _OLD,
    "active": True,
}


class Made:
    """One Odoo.

    Args:
        models: model → number of records.
        hot: so many of the last records of each model are always just changed.
        latency: seconds before an answer.
    """

    def __init__(self, models: Mapping[str, int], *, hot: int = 0, latency: float = 0.0) -> None:
        self._models = models
        self._hot = hot
        self.calls: Counter[str] = Counter()
        self.latency = latency

    def answer(self, model: str, method: str, args: Sequence[Any], asked: Mapping[str, Any]) -> Any:
        """The result of a call."""
        self.calls[method] += 1
        if method == "context_get":
            return {"uid": 2, "lang": "en_US", "tz": "UTC"}
        if method == "fields_get":
            return {"id": {"type": "integer"}, **FIELDS}
        rows = [_USER] if model == "res.users" else None
        if method == "read":
            ids = args[0] if args else asked["ids"]
            return [row for row in rows or (self._row(model, number) for number in ids) if row["id"] in set(ids)]
        numbers = self._matching(model, asked.get("domain") or asked.get("args") or [])
        if method == "search_count":
            return len(numbers)
        if method == "formatted_read_group":
            return [self._group(model, numbers, asked.get("aggregates") or [])]
        numbers = numbers[: asked.get("limit") or None]
        if method == "search":
            return list(numbers)
        if method == "search_read":
            return rows if rows is not None else [self._row(model, number) for number in numbers]
        return []

    def _matching(self, model: str, domain: Sequence[Any]) -> Sequence[int]:
        first, last = 1, self._models.get(model, 0)
        ids: set[int] | None = None
        for term in domain:
            if not isinstance(term, list):
                continue
            name, operator, value = term
            if name == "id" and operator == "in":
                ids = set(value)
            elif name == "id":
                first = max(first, value + (operator == ">")) if operator in (">", ">=", "=") else first
                last = min(last, value - (operator == "<")) if operator in ("<", "<=", "=") else last
            elif name == "write_date" and operator in (">", ">=") and value > _OLD:
                first = max(first, self._models.get(model, 0) - self._hot + 1)
        numbers = range(first, last + 1)
        return numbers if ids is None else sorted(ids.intersection(numbers))

    def _date(self, model: str, number: int) -> str:
        is_hot = number > self._models.get(model, 0) - self._hot
        return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S") if is_hot else _OLD

    def _row(self, model: str, number: int) -> dict[str, Any]:
        return {
            "id": number,
            "name": f"Record {number}",
            "ref": f"R{number:08d}",
            "amount": number / 8,
            "quantity": number % 100,
            "active": number % 20 > 0,
            "date": "2026-01-02",
            "note": f"Some words about the record with the number {number}",
            "user_id": 2,
            "create_date": _OLD,
            "write_date": self._date(model, number),
        }

    def _group(self, model: str, numbers: Sequence[int], aggregates: Sequence[str]) -> dict[str, Any]:
        values: dict[str, Any] = {
            "__count": len(numbers),
            "id:max": max(numbers, default=False),
            "id:min": min(numbers, default=False),
            "id:sum": sum(numbers),
        }
        if any("array_agg" in name for name in aggregates):
            values["id:array_agg"] = list(numbers)
            values["write_date:array_agg"] = [self._date(model, number) for number in numbers]
        return {name: values.get(name, False) for name in ("__count", *aggregates)}


async def _serve(made: Made, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, kept alive."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            lines = (line.partition(":") for line in head.lower().split("\r\n"))
            length = next((int(value) for name, _, value in lines if name == "content-length"), 0)
            body = orjson.loads(await reader.readexactly(length) or b"{}")
            await asyncio.sleep(made.latency)
            cookie = ""
            if path.endswith("/authenticate"):
                result: Any = {"uid": 2, "db": "made", "username": "made"}
                cookie = "Set-Cookie: session_id=made; Path=/\r\n"
            elif path.endswith("/call_kw"):
                asked = body["params"]
                result = made.answer(
                    asked["model"], asked["method"], asked.get("args") or [], asked.get("kwargs") or {}
                )
            else:
                result = _VERSION
            content = orjson.dumps({"jsonrpc": "2.0", "id": body.get("id"), "result": result})
            answer = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
                f"Date: {formatdate(usegmt=True)}\r\n{cookie}\r\n"
            )
            writer.write(answer.encode() + content)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(given: Mapping[str, Any]) -> None:
    """Serve until standard input ends."""
    odoos, ports = [], []
    for _ in range(given.get("servers", 1)):
        made = Made(given["models"], hot=given.get("hot", 0), latency=given.get("latency", 0.0))
        server = await asyncio.start_server(partial(_serve, made), "127.0.0.1", 0)
        odoos.append(made)
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        chosen = odoos if asked.get("number") is None else [odoos[asked["number"]]]
        for made in chosen:
            made.latency = asked.get("seconds", made.latency)
        print(json.dumps([made.calls for made in odoos]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
