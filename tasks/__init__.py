"""The Celery jobs."""
