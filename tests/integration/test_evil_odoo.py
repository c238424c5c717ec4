"""An evil or broken Odoo ends in one error or one skipped view, in bounded time and memory."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import pytest

from tests.support.evil_odoo import VIEWS, read_evil

pytestmark = pytest.mark.faults

PEAK_MB = 400
SECONDS = 20
"""Of processor time: a plain read takes one or two."""
HARMLESS = {"cycle", "number-as-name", "brackets"}
"""Views that need no more than usual, once read with care."""


def _compressed(layers: int) -> Iterator[bytes]:
    if layers == 0:
        for _ in range(1_000):
            yield b"\0" * 1_000_000
        return
    packer = zlib.compressobj(1, wbits=31)
    for piece in _compressed(layers - 1):
        yield packer.compress(piece)
    yield packer.flush()


def _pages(column: Any) -> Callable[[str], Iterator[bytes]]:
    """Valid pages of a table that has no end."""
    numbers = count(1)

    def page(path: str) -> Iterator[bytes]:
        if not path.endswith("/web_search_read"):
            yield b"[]"
            return
        rest = json.dumps({"name": column}).encode()[1:]
        yield b'{"records":[' + b",".join(b'{"id":%d,' % next(numbers) + rest for _ in range(20_000)) + b"]}"

    return page


def _endless(piece: bytes, before: bytes = b"") -> Iterator[bytes]:
    yield before
    while True:
        yield piece


ANSWERS: dict[str, tuple[str, Any]] = {
    "gzip": ("gzip", lambda _: _compressed(1)),
    "gzip of gzip": ("gzip, gzip", lambda _: _compressed(2)),
    "endless": ("identity", lambda _: _endless(b" " * 65_536)),
    "lists": ("identity", lambda _: iter([b"[" + b"[]," * 30_000_000 + b"[]]"])),
    "nested": ("identity", lambda _: iter([b"[" * 90_000_000])),
    "bytes": ("identity", lambda _: iter([b"\xff" * 90_000_000])),
    "pages of text": ("identity", _pages("x" * 4_000)),
    "pages of lists": ("identity", _pages([[]] * 60)),
}


@contextmanager
def evil_server(answer: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Tests want no log."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/web/"):
                encoding, pieces = (
                    "identity",
                    [json.dumps({"jsonrpc": "2.0", "result": {"server_version": "19.0"}}).encode()],
                )
            else:
                encoding, make = ANSWERS[answer]
                pieces = make(self.path)
            self.send_response(200)
            for name, value in (("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")):
                self.send_header(name, value)
            self.send_header("Content-Encoding", encoding)
            self.end_headers()
            try:
                for piece in filter(None, pieces):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True  # the client has enough

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_bounded_in_bytes_values_and_time(answer: str) -> None:
    with evil_server(answer) as url:
        outcome = read_evil("url", url)
    assert outcome["error"] == "odoo_bad_answer", outcome
    assert outcome["hint"]
    assert outcome["peak"] < PEAK_MB
    assert outcome["seconds"] < SECONDS


@pytest.fixture(scope="module")
def read_views() -> dict[str, Any]:
    return read_evil("views")


@pytest.mark.parametrize("case", VIEWS)
def test_a_view_beyond_the_bounds_is_skipped_and_named(read_views: dict[str, Any], case: str) -> None:
    outcome = read_views[case]
    assert outcome["discoveries"] > 700, "the rest is read"
    views = outcome["sections"]["views"]
    if case in HARMLESS:
        assert views["status"] == "complete"
    else:
        assert views["status"] == "partial"
        assert "evil (90" in views["detail"]
    assert outcome["seconds"] < SECONDS
    assert read_views["peak"] < PEAK_MB
