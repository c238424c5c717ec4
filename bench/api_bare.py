"""A bare FastAPI application that sends prepared bytes: `python -m bench.api_bare FOLDER`.

It runs under uvicorn with one process, like `fbs api`, and prints its port once it accepts requests.
It serves the files of the folder: `GET /<name>/<number>` sends the file `<name>-<number>`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import closing
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response


def make_app(folder: Path) -> FastAPI:
    """Return the application."""
    bodies = {file.name: file.read_bytes() for file in folder.iterdir()}
    app = FastAPI()

    @app.get("/{name}/{number}")
    async def send(name: str, number: int) -> Response:
        return Response(bodies[f"{name}-{number}"], media_type="application/json")

    return app


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(sockets[0].getsockname()[1] if sockets else 0, flush=True)


def main(folder: str) -> None:
    """Serve until SIGTERM."""
    config = uvicorn.Config(make_app(Path(folder)), log_config=None, access_log=False, server_header=False, ws="none")
    with closing(socket.create_server(("127.0.0.1", 0), backlog=512)) as taken:
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asyncio.run(_Server(config).serve(sockets=[taken]))


if __name__ == "__main__":
    main(sys.argv[1])
