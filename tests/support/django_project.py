"""The Django project of the tests: its command line as a process, and Django set up in this process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import django
from django.test import Client as Browser
from django.test import override_settings

from fbs_worker.client.service import IntegrationService, process_settings
from fbs_worker.contrib.django.conf import fbs_settings
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import Settings
from tests.support import preloaded
from tests.support.processes import environment

MANAGE: Final = Path(__file__).parents[2] / "examples" / "django_project" / "manage.py"
DJANGO: Final = ("django.core.management", "django.views.debug")
"""What a command of Django's imports."""

_SETTINGS: Final = "examples.django_project.rentals.settings"


@cache
def _set_up() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = _SETTINGS
    django.setup()
    assert IntegrationService.__dict__["_source"].__func__ is fbs_settings  # that is what being ready means
    IntegrationService.set_settings_source(process_settings)


@contextmanager
def django_here(**config: Any) -> Iterator[Browser]:
    """Django in this process, with this FBS_CONFIG; afterwards services are as they were without it."""
    _set_up()
    IntegrationService.set_settings_source(fbs_settings)
    try:
        with override_settings(FBS_CONFIG=config):
            yield Browser()
    finally:
        IntegrationService.set_settings_source(process_settings)


def config_for(settings: Settings, **more: Any) -> dict[str, Any]:
    """FBS_CONFIG for a project that works with these servers."""
    place = DatabaseConfig.from_url(settings.fbs_database_url)
    return {
        "redis_url": settings.fbs_redis_url,
        "database_url": settings.fbs_database_url,
        "secret_keys": settings.fbs_secret_keys.get_secret_value(),
        "business_prefix": "rental_",
        "default_database_config": {"host": place.host, "port": place.port, "user": place.user},
        **more,
    }


@dataclass(frozen=True, kw_only=True)
class Manage:
    """`manage.py test_discovery` of the project, as a process.

    Attributes:
        settings: of Redis, the home database and the keys, which it finds in its environment.
        folder: where it runs.
    """

    settings: Settings
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Its whole environment."""
        place = DatabaseConfig.from_url(self.settings.fbs_database_url)
        return environment(self.settings) | {
            "RENTALS_DATABASE_HOST": place.host,
            "RENTALS_DATABASE_PORT": str(place.port),
            "RENTALS_DATABASE_USER": place.user,
            "DJANGO_SETTINGS_MODULE": "rentals.settings",
            "PYTHONWARNINGS": "error",
        }

    def __call__(
        self, action: str, *arguments: str, code: int = 0, piped: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run an action to its end and see that it ends with this exit code and without a trace."""
        words = ("test_discovery", "--action", action, *arguments)
        given: dict[str, Any] = {"env": self.environment, "cwd": self.folder, "module": str(MANAGE), "needs": DJANGO}
        result = preloaded.run(words, piped=piped, **given)
        assert result.returncode == code, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr
        return result

    def json(self, action: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        """An action's JSON output, which is all of stdout."""
        result: dict[str, Any] = json.loads(self(action, *arguments, "--output-format", "json", code=code).stdout)
        return result
