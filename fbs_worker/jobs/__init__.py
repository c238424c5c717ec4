"""Celery jobs: the application, job records in Redis, the outbox, deduplication, queues and probes."""
