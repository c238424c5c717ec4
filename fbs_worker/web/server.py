"""Serve the API with uvicorn in this process, for `fbs api`."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Final

from fastapi import FastAPI

from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import LOOPBACK, is_loopback, listener_of, url_of
from fbs_worker.jobs.app import make_app
from fbs_worker.web.app import create_app
from fbs_worker.web.uvicorn_compat import LOGGER, AppServer

SHUTDOWN_SECONDS: Final = 5
"""Grace period of running requests on shutdown; long polls and event streams end at once."""

_IDLE_SECONDS: Final = 30


def run_api(settings: Settings, *, on_ready: Callable[[str], None], listen_fd: int | None = None) -> None:
    """Serve the API until SIGTERM, SIGINT or SIGHUP.

    Args:
        settings: the settings.
        on_ready: called with the server's URL once it accepts requests.
        listen_fd: the file descriptor of a socket that listens already; None to open one.

    Raises:
        SettingsError: the address is not local and no token is configured, the server cannot listen there, or another
            setting is not valid.
    """
    address = settings.fbs_api_address or LOOPBACK
    if not settings.fbs_api_tokens.get_secret_value().strip() and not is_loopback(address):
        raise SettingsError(
            f"The API would be reachable from other machines on {address}, but no token is set.",
            hint="Set FBS_API_TOKENS (`fbs new-token` makes one), or listen on 127.0.0.1.",
        )
    app = create_app(settings)
    make_app(settings, results=False).log.setup(loglevel="INFO", redirect_stdouts=False)
    logging.getLogger(LOGGER).setLevel(logging.WARNING)  # `fbs api` reports start and end
    with closing(_listen(settings, listen_fd)) as listener:
        asyncio.run(_serve(app, settings, listener, on_ready))


async def _serve(app: FastAPI, settings: Settings, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    proxies = [part.strip() for part in settings.fbs_api_proxies.split(",") if part.strip()]
    server = AppServer(
        app,
        on_ready=lambda: on_ready(_url(listener)),
        proxies=proxies,
        root_path=settings.fbs_root_path.rstrip("/"),
        idle_seconds=_IDLE_SECONDS,
        shutdown_seconds=SHUTDOWN_SECONDS,
    )
    loop = asyncio.get_running_loop()

    def shut_down() -> None:
        app.state.closing.set()
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, shut_down)
    await server.serve_on(listener)


def _listen(settings: Settings, inherited: int | None) -> socket.socket:
    listener = listener_of("api", settings, inherited=inherited)
    # accepted sockets inherit it: asyncio sets it only on sockets of its own, and without it each response would wait
    # for the client's delayed acknowledgement (40 ms)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return url_of(host, port)
