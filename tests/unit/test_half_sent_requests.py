"""Requests that do not arrive in time, sent to a server in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fbs_worker.web.uvicorn_compat import AppServer, TimedProtocol

pytestmark = pytest.mark.faults

SECONDS = 0.5
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(TimedProtocol, "request_seconds", SECONDS)
    ready = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        server = AppServer(_slow_app, on_ready=ready.set, proxies=(), idle_seconds=30, shutdown_seconds=1)
        thread = threading.Thread(target=asyncio.run, args=(server.serve_on(listener),))
        thread.start()
        assert ready.wait(10)
        yield listener.getsockname()[:2]
        server.stop()
        thread.join()


async def _slow_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer after more time than a request may take to arrive."""
    if scope["type"] == "lifespan":
        for answer in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{answer}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(SECONDS * 2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def _answer(client: socket.socket) -> bytes:
    client.settimeout(10)
    answer = b""
    while not answer.endswith(b"ok"):
        answer += client.recv(1000)
    return answer


def _closed_after(client: socket.socket) -> float:
    began = time.monotonic()
    client.settimeout(20)
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(100) == b""
    return time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET[:-2], POST, POST + b"abc"])
def test_a_half_sent_request_ends(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address) as client:
        client.sendall(sent)
        assert _closed_after(client) < 10


def test_one_that_comes_byte_by_byte_ends(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client, pytest.raises(ConnectionError):  # noqa: PT012 -- the time is unknown
        for byte in GET[:-2] * 10:
            client.sendall(bytes([byte]))
            time.sleep(SECONDS / 20)


def test_many_end_and_others_are_answered(address: tuple[str, int]) -> None:
    clients = [socket.create_connection(address) for _ in range(200)]
    for client in clients:
        client.sendall(GET[:-2])
    with socket.create_connection(address) as other:
        for request in (GET, POST + b"abcd", GET):
            other.sendall(request)
            assert _answer(other).startswith(b"HTTP/1.1 200")
    for client in clients:
        assert _closed_after(client) < 10
        client.close()


def test_an_answer_may_take_longer_and_a_connection_be_used_again(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        for request in (GET, POST + b"abcd", GET):
            client.sendall(request[:9])
            time.sleep(SECONDS / 2)
            client.sendall(request[9:])
            assert _answer(client).startswith(b"HTTP/1.1 200")
            time.sleep(SECONDS)
        client.sendall(GET[:-2])
        assert _closed_after(client) < 10
