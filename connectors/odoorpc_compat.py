"""Adapter for odoorpc, of which the connector below its documented `ODOO` class is used.

`UPSTREAM` declares every symbol that the connector relies on, and why; the contract tests resolve each in the installed
version (`tests/unit/test_upstream_contract.py`). No other module imports odoorpc.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Any, Final, cast
from urllib.request import Request

from odoorpc import rpc

from fbs_worker.connectors.http import Answer, OdooHTTP

TRIED: Final = ("odoorpc>=0.10.1,<0.11",)

UPSTREAM: Final[Mapping[str, str]] = {
    "odoorpc.rpc:ConnectorJSONRPC": "builds JSON-RPC requests; takes an opener as urllib.request has it",
    "odoorpc.rpc:ConnectorJSONRPC.ssl": "overridden: whether URLs begin with https (its TLS twin ignores deserialize)",
    "odoorpc.rpc:ConnectorJSONRPC.proxy_json": "sends a request to a path; answers undecoded without deserialize",
    "odoorpc.rpc.jsonrpclib:logger": "logs the parameters of each request at DEBUG, passwords among them",
}


class JSONRPCConnector(rpc.ConnectorJSONRPC):  # type: ignore[misc]  # odoorpc has no types
    """odoorpc's connector, sending through `OdooHTTP` and returning responses undecoded.

    Args:
        http: connection to the server.
        version: Odoo's series.
    """

    def __init__(self, http: OdooHTTP, *, version: str) -> None:
        # its DEBUG records hold the parameters of requests, keys among them
        logging.getLogger("odoorpc.rpc.jsonrpclib").addFilter(_above_debug)
        self._http = http
        self._cookies = CookieJar()
        address = http.address
        super().__init__(address.netloc_host, port=address.port, version=version, deserialize=False, opener=self)

    @property
    def ssl(self) -> bool:
        return self._http.address.secure

    @property
    def cookies(self) -> tuple[str, ...]:
        """The values of the stored cookies; secret, as they grant the session."""
        return tuple(cookie.value for cookie in self._cookies if cookie.value)

    def post(self, path: str, parameters: dict[str, Any]) -> Answer:
        """Send a request.

        Args:
            path: path with leading slash.
            parameters: JSON-RPC's `params`.

        Returns:
            The response, whatever its status.

        Raises:
            FBSError: as for `OdooHTTP.request`.
        """
        return cast("Answer", self.proxy_json(path, parameters))

    def open(self, request: Request, timeout: float | None = None) -> Answer:  # noqa: ARG002  the connection has one
        """Send a prepared request, in the interface of `urllib.request.OpenerDirector.open`; stores cookies."""
        self._cookies.add_cookie_header(request)
        answer = self._http.request(
            request.get_method(),
            request.selector,
            body=cast("bytes", request.data),
            headers=dict(request.header_items()),
        )
        self._cookies.extract_cookies(cast("Any", answer), request)
        return answer


def _above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
