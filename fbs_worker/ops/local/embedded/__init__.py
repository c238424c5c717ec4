"""PostgreSQL and Redis from wheels, for a machine that has neither.

Both run as ordinary processes in a session of their own, so that Ctrl-C in a terminal does not reach them; they
outlive the process that started them until `stop` is called. Starting one on a folder whose server still runs finds
that server.
"""

from fbs_worker.ops.local.embedded.postgres import EmbeddedPostgres
from fbs_worker.ops.local.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedPostgres", "EmbeddedRedis"]
