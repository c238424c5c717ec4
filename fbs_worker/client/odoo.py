"""Connections to Odoo, as `Client.odoo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fbs_worker.client.handle import JobHandle
    from fbs_worker.core.settings import Settings
    from fbs_worker.solutions.requests import Request


class Enqueues(Protocol):
    """What enqueues jobs: `Client`."""

    def enqueue(self, request: Request) -> JobHandle:
        """Enqueue a job."""


class OdooConnections:
    """The connections to Odoo: those of the environment, and those kept in the home database.

    All but `test` run in this process; no worker is needed. Secrets are never returned.

    Args:
        settings: the home database, and the keys that encrypt secrets.
        client: enqueues tests.
    """

    def __init__(self, settings: Settings, client: Enqueues) -> None:
        self._settings = settings
        self._client = client

    def list(self) -> dict[str, Any]:
        """List the connections: the JSON of `fbs odoo list`.

        Raises:
            DatabaseError: the home database answered with an error.
            DatabaseUnreachable: the home database does not answer.
        """
        from fbs_worker.solutions.odoo_connections import list_odoo

        return list_odoo(self._settings)

    def add(self, name: str, **fields: Any) -> dict[str, Any]:
        """Keep a connection in the home database; workers use it from their next job on. Odoo is not asked.

        Args:
            name: its name.
            **fields: the others of `OdooAddRequest`: `url`, `db`, `user`, `password` or `api_key`, `protocol`,
                `headers`, `lang`, `timeout`.

        Returns:
            The connection, as in `list`.

        Raises:
            UsageError: a field is missing or not valid.
            SecretError: FBS_SECRET_KEYS is not set, and the secret is no reference.
            OdooConnectionConflict: a connection of that name is stored already.
            DatabaseError: the home database answered with an error.
            DatabaseUnreachable: the home database does not answer.
        """
        from fbs_worker.solutions.odoo_connections import add_odoo
        from fbs_worker.solutions.odoo_requests import OdooAddRequest

        return add_odoo(self._settings, OdooAddRequest(name=name, **fields))

    def edit(self, name: str, **fields: Any) -> dict[str, Any]:
        """Change a connection of the home database: only what is given; arguments, result and errors as for `add`.

        Raises:
            OdooConnectionNotFound: no connection has that name.
            OdooConnectionConflict: it is one of the environment.
        """
        from fbs_worker.solutions.odoo_connections import edit_odoo
        from fbs_worker.solutions.odoo_requests import OdooEditRequest

        return edit_odoo(self._settings, OdooEditRequest(name=name, **fields))

    def remove(self, name: str) -> dict[str, Any]:
        """Remove a connection that no solution uses from the home database.

        Raises:
            OdooConnectionNotFound: no connection has that name.
            OdooConnectionConflict: it is one of the environment, or solutions use it.
            DatabaseError: the home database answered with an error.
            DatabaseUnreachable: the home database does not answer.
        """
        from fbs_worker.solutions.odoo_connections import remove_odoo

        return remove_odoo(self._settings, name)

    def test(self, name: str = "default") -> JobHandle:
        """Enqueue a test: a worker logs in, and finds what the user may read. Its result is that of `fbs odoo test`.

        Raises:
            UsageError: the name is not valid.
            QueueUnreachable: Redis does not answer.
        """
        from fbs_worker.solutions.odoo_requests import OdooTestRequest

        return self._client.enqueue(OdooTestRequest(name=name))
