"""fbs-worker: reads what an Odoo server can do into PostgreSQL, as Celery jobs."""

__version__ = "0.1.0"
