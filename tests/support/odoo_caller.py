"""A process that calls an Odoo from many threads, each through a limiter of its own, as workers do.

    python -m tests.support.odoo_caller '{"redis": "redis://…", "odoo": "http://…", "threads": 6, "calls": 8, …}'

It prints how the calls ended: `{"answered": 40, "odoo_server_error": 3}`.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import IO, Any

from pydantic import SecretStr

from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.limiter import LEASE_SECONDS, OdooLimiter
from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import OdooConnection
from tests.support.preloaded import Forked, start
from tests.support.processes import ROOT


def start_caller(**given: Any) -> tuple[Forked, IO[str]]:
    """Start the process; what it prints can be read."""
    return start(json.dumps(given), env=os.environ, cwd=ROOT, module="tests.support.odoo_caller")


def call(
    *, redis: str, odoo: str, calls: int, max_calls: int, timeout: float = 60.0, lease: float = LEASE_SECONDS, **_: int
) -> Counter[str]:
    """Call so many times, whatever comes."""
    limiter = OdooLimiter(redis, odoo, max_calls=max_calls, max_failures=10_000, pause=1.0, lease_seconds=lease)
    connection = OdooConnection(
        url=odoo, db="live", user="admin", password=SecretStr("admin-password"), timeout=timeout
    )
    ended: Counter[str] = Counter()
    try:
        with closing(open_transport(connection, limiter=limiter)) as transport:
            for _number in range(calls):
                try:
                    transport.call("ir.model", "search_read", domain=[], fields=["model"])
                    ended["answered"] += 1
                except FBSError as exc:
                    ended[exc.code] += 1
    except FBSError as exc:
        ended[f"opening: {exc.code}"] += 1
    return ended


def main() -> None:
    """Call from several threads."""
    given = json.loads(sys.argv[1])
    with ThreadPoolExecutor(given["threads"]) as pool:
        ended = [pool.submit(call, **given) for _ in range(given["threads"])]
    print(json.dumps(sum((one.result() for one in ended), Counter[str]())))


if __name__ == "__main__":
    main()
