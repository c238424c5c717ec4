"""The Celery configuration: queues, routes, time limits and time-outs."""

from __future__ import annotations

from typing import Any, Final

from kombu.entity import Exchange, Queue

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.broker import Broker

DISCOVERY_QUEUE: Final = "fbs.discovery"
SCHEMA_QUEUE: Final = "fbs.schema"
RECORDS_QUEUE: Final = "fbs.records"
QUEUES: Final = (DISCOVERY_QUEUE, SCHEMA_QUEUE, RECORDS_QUEUE)

CELERY_QUEUE: Final = "celery"
"""Celery's default queue. A worker consumes it only on request (`--queues`): other applications on the same Redis send
their tasks to it, and a worker drops messages of tasks that it has not registered."""

ROUTES: Final = {
    "fbs.discover": {"queue": DISCOVERY_QUEUE},
    "fbs.refresh": {"queue": DISCOVERY_QUEUE},
    "fbs.refresh_due": {"queue": DISCOVERY_QUEUE},
    "fbs.test_odoo": {"queue": DISCOVERY_QUEUE},
    "fbs.setup": {"queue": SCHEMA_QUEUE},
    "fbs.migrate": {"queue": SCHEMA_QUEUE},
    "fbs.drop": {"queue": SCHEMA_QUEUE},
    "fbs.sync": {"queue": RECORDS_QUEUE},
    "fbs.sync_table": {"queue": RECORDS_QUEUE},
}
"""Discoveries, changes of tables and copies of records have a queue each, so that each can have its own workers."""

TASK_MODULES: Final = (
    "fbs_worker.tasks.discover",
    "fbs_worker.tasks.drop",
    "fbs_worker.tasks.migrate",
    "fbs_worker.tasks.probe",
    "fbs_worker.tasks.record",
    "fbs_worker.tasks.refresh",
    "fbs_worker.tasks.schedule",
    "fbs_worker.tasks.setup",
    "fbs_worker.tasks.sync",
    "fbs_worker.tasks.odoo",
)
"""The modules of the tasks. They are not imported here: the worker imports them when it starts."""

_RETRY: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
"""Connection retries of a producer; without a bound kombu retries for ever."""

_TIME_LIMIT_GRACE: Final = 30
"""Seconds between the soft time limit, when a job cleans up, and the hard one, when its process is killed."""


def configuration(settings: Settings) -> dict[str, Any]:
    """Return the Celery configuration for the settings.

    Messages are acknowledged late, so Redis redelivers an unacknowledged message after the visibility timeout. A job
    that runs longer would be redelivered while it runs
    (https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout).

    Args:
        settings: the settings.

    Raises:
        SettingsError: FBS_REDIS_URL is not set, or the time limit is not below the visibility timeout.
    """
    broker = Broker.from_settings(settings)
    limit = settings.fbs_job_time_limit
    hard_limit = limit + max(1, min(_TIME_LIMIT_GRACE, limit // 10))
    visibility_timeout = settings.fbs_visibility_timeout
    if hard_limit >= visibility_timeout:
        raise SettingsError(
            f"The time limit of a job ({hard_limit} s) is not below FBS_VISIBILITY_TIMEOUT ({visibility_timeout} s).",
            hint=f"Set FBS_VISIBILITY_TIMEOUT above {hard_limit}, or lower FBS_JOB_TIME_LIMIT.",
        )
    return {
        "broker_url": broker.url,
        "broker_connection_timeout": queue.CONNECT_SECONDS,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a running worker reconnects without limit
        "broker_transport_options": _transport_options(broker, settings),
        "broker_use_ssl": broker.tls or None,
        "result_backend": queue.without_options(settings.fbs_redis_url),
        "redis_backend_use_ssl": queue.tls_options(settings.fbs_redis_url) or None,
        "result_expires": settings.fbs_job_ttl,
        "redis_socket_connect_timeout": queue.CONNECT_SECONDS,
        "redis_socket_timeout": queue.ANSWER_SECONDS,
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": 30,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "include": list(TASK_MODULES),
        "task_queues": [_queue(name) for name in QUEUES],
        "task_default_queue": DISCOVERY_QUEUE,
        "task_routes": ROUTES,
        "task_publish_retry_policy": _RETRY,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "task_soft_time_limit": limit,
        "task_time_limit": hard_limit,
        "task_send_sent_event": True,
        "worker_send_task_events": True,  # for Flower
        "worker_prefetch_multiplier": 1,
        "worker_consumer": "fbs_worker.jobs.celery_compat.unreadable:TolerantConsumer",
        "worker_lost_wait": 2.0,  # seconds to wait for the result of a process that died
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "timezone": "UTC",
    }


def in_process_configuration() -> dict[str, Any]:
    """Return the Celery configuration of an application that applies tasks in its own process."""
    return {
        "broker_url": "memory://",
        "accept_content": ["json"],
        "task_serializer": "json",
        "include": list(TASK_MODULES),
        "task_store_eager_result": False,
        "task_eager_propagates": True,
    }


def _transport_options(broker: Broker, settings: Settings) -> dict[str, Any]:
    if broker.kind == "amqp":
        return {
            **_RETRY,
            "confirm_publish": True,  # wait for RabbitMQ's publisher confirm
            "connect_timeout": queue.CONNECT_SECONDS,
            "write_timeout": queue.ANSWER_SECONDS,
        }
    return {
        **_RETRY,
        **queue.SOCKET_OPTIONS,
        **broker.options,
        "visibility_timeout": settings.fbs_visibility_timeout,
    }


def _queue(name: str) -> Any:
    return Queue(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]  # Kombu has half its types
