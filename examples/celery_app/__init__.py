"""A Celery application that enqueues jobs of fbs-worker."""
