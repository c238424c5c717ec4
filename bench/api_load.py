"""Asks an HTTP server over a few connections at once, each sending its next request when the last is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice


async def _one(port: int, requests: Iterator[bytes], until: float) -> list[float]:
    """The seconds of each answer of one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    times: list[float] = []
    try:
        while time.perf_counter() < until:
            begun = time.perf_counter()
            writer.write(next(requests))
            await _answer(reader)
            times.append(time.perf_counter() - begun)
    finally:
        writer.close()
        await writer.wait_closed()
    return times


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:"))
    body = await reader.readexactly(length)
    if status.split()[1] != b"200":
        raise RuntimeError(f"the server answered {status.decode()}: {body[:500].decode()}")
    return body


def load(port: int, paths: Sequence[str], *, seconds: float, connections: int, token: str = "") -> list[float]:
    """Ask for some time.

    Args:
        port: of the server, on this machine.
        paths: what to ask for, in turns, over and over; each connection begins elsewhere.
        seconds: for how long.
        connections: how many at once.
        token: sent along, if any.

    Returns:
        How long each answer took, in seconds.
    """
    requests = [_request(port, path, token) for path in paths]

    async def all_of_them() -> list[float]:
        until = time.perf_counter() + seconds
        starts = [len(requests) * number // connections for number in range(connections)]
        asking = (_one(port, islice(cycle(requests), start, None), until) for start in starts)
        return [one for times in await asyncio.gather(*asking) for one in times]

    return asyncio.run(all_of_them())


def get(port: int, path: str, token: str = "") -> bytes:
    """One answer."""

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        try:
            writer.write(_request(port, path, token))
            return await _answer(reader)
        finally:
            writer.close()
            await writer.wait_closed()

    return asyncio.run(ask())


def _request(port: int, path: str, token: str) -> bytes:
    right = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{right}\r\n".encode()
