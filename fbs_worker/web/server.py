"""Serves the API from this process: what `fbs api` runs."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI

from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import LOOPBACK, is_loopback, listen_error, url_of
from fbs_worker.jobs.app import make_app
from fbs_worker.web.app import create_app

END_SECONDS: Final = 5
"""How long requests may go on after the server was told to end; what streams or waits ends at once."""

_IDLE_SECONDS: Final = 30
_BACKLOG: Final = 512


def run_api(settings: Settings, *, tell: Callable[[str], None]) -> None:
    """Serve the API until this process is told to stop (SIGTERM, SIGINT, SIGHUP).

    Args:
        settings: what it works with.
        tell: is told its address once it takes requests.

    Raises:
        SettingsError: it has no tokens and would be reachable from elsewhere, cannot listen where it should, or
            another setting is not valid.
    """
    address = settings.fbs_api_address or LOOPBACK
    if not settings.fbs_api_tokens.get_secret_value().strip() and not is_loopback(address):
        raise SettingsError(
            f"The API would answer others on {address}, but no token is set.",
            hint="Set FBS_API_TOKENS (`fbs new-token` makes one), or listen on 127.0.0.1.",
        )
    app = create_app(settings)
    make_app(settings, results=False).log.setup(loglevel="INFO", redirect_stdouts=False)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # each start and end of it is told by us
    with closing(_listen(address, settings.fbs_api_port)) as taken:
        asyncio.run(_serve(app, settings, taken, tell))


async def _serve(app: FastAPI, settings: Settings, taken: socket.socket, tell: Callable[[str], None]) -> None:
    proxies = [part.strip() for part in settings.fbs_api_proxies.split(",") if part.strip()]
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=END_SECONDS,
    )
    server = _Server(config, ready=lambda: tell(_url(taken)))
    loop = asyncio.get_running_loop()

    def end() -> None:
        app.state.closing.set()
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end)
    await server.serve(sockets=[taken])


class _Server(uvicorn.Server):
    """Uvicorn's server; it says when it takes requests, and leaves signals to us.

    Args:
        config: uvicorn's.
        ready: is called when it takes requests.
    """

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        taken = socket.create_server((address.strip("[]"), port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as exc:
        raise listen_error("The API", address, port, exc, setting="FBS_API") from exc
    # what is accepted has it, too: asyncio sees to that only for sockets of its own making, and each answer would wait
    # for the other side's delayed acknowledgement (40 ms)
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return taken


def _url(taken: socket.socket) -> str:
    host, port = taken.getsockname()[:2]
    return url_of(host, port)
