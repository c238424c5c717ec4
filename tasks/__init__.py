"""Celery tasks: thin wrappers with typed keywords, and the functions that they call."""
