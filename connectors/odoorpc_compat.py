"""Adapter for odoorpc, of which the connector below its documented `ODOO` class is used.

`UPSTREAM` declares every symbol that the connector relies on, and why; the contract tests resolve each in the installed
version (`tests/unit/test_upstream_contract.py`). No other module imports odoorpc.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from odoorpc import rpc

TRIED: Final = ("odoorpc>=0.10.1,<0.11",)

UPSTREAM: Final[Mapping[str, str]] = {
    "odoorpc.rpc:ConnectorJSONRPC": "builds JSON-RPC requests; takes an opener as urllib.request has it",
    "odoorpc.rpc:ConnectorJSONRPC.ssl": "overridden: whether URLs begin with https (its TLS twin ignores deserialize)",
    "odoorpc.rpc:ConnectorJSONRPC.proxy_json": "sends a request to a path; answers undecoded without deserialize",
    "odoorpc.rpc.jsonrpclib:logger": "logs the parameters of each request at DEBUG, passwords among them",
}


class JSONRPCConnector(rpc.ConnectorJSONRPC):  # type: ignore[misc]  # odoorpc has no types
    """odoorpc's connector, returning responses undecoded.

    Args:
        host: the server's host.
        port: its port.
        secure: use https.
        version: Odoo's series.
        timeout: maximum seconds of one call.
        opener: sends the requests: `open(request, timeout=…)`.
    """

    def __init__(self, host: str, *, port: int, secure: bool, version: str, timeout: float, opener: Any) -> None:
        self._secure = secure
        super().__init__(host, port=port, timeout=timeout, version=version, deserialize=False, opener=opener)

    @property
    def ssl(self) -> bool:
        return self._secure

    def post(self, path: str, parameters: dict[str, Any]) -> Any:
        """Send a request.

        Args:
            path: path with leading slash.
            parameters: JSON-RPC's `params`.

        Returns:
            The return value of the opener.
        """
        return self.proxy_json(path, parameters)


def silence_parameters() -> None:
    """Drop odoorpc's DEBUG records, whatever the level: they hold the parameters of requests, keys among them."""
    logging.getLogger("odoorpc.rpc.jsonrpclib").addFilter(_above_debug)


def _above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
