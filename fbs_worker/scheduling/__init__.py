"""Schedules of solutions and Celery beat's scheduler."""
