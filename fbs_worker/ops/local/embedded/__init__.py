"""Embedded servers: PostgreSQL and Redis from wheels.

They run as ordinary processes in their own session, which Ctrl-C in a terminal does not reach, and outlive the process
that started them until `stop` is called. Starting a server on a folder whose server still runs returns that server.
"""

from fbs_worker.ops.local.embedded.postgres import EmbeddedPostgres
from fbs_worker.ops.local.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedPostgres", "EmbeddedRedis"]
