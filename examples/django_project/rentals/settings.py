"""The project's settings. Redis, the home database and the keys are in the environment, as for the worker."""

from __future__ import annotations

import os

SECRET_KEY = "of an example that is never served"
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = ["fbs_worker.contrib.django"]
ROOT_URLCONF = f"{__package__}.urls"
DATABASES: dict[str, dict[str, str]] = {}  # what fbs-worker keeps is not in the project's own database
USE_TZ = False
TIME_ZONE = None

FBS_CONFIG = {
    "table_prefix": "fbs_",
    "business_prefix": "rental_",
    "auto_create_tables": True,
    "enable_migrations": True,
    "default_database_config": {
        "host": os.environ.get("RENTALS_DATABASE_HOST"),
        "port": os.environ.get("RENTALS_DATABASE_PORT"),
        "user": os.environ.get("RENTALS_DATABASE_USER"),
    },
}
