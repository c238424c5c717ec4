"""The Celery application under its public address: `celery -A fbs_worker.app worker|inspect|…`."""

from fbs_worker.jobs.app import app

__all__ = ["app"]
