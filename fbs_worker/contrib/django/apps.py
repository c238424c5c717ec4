"""The application, as Django loads it."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

from fbs_worker.client.service import IntegrationService
from fbs_worker.contrib.django.checks import check_configuration
from fbs_worker.contrib.django.conf import fbs_settings


class FBSWorkerConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """The application; services made in this process take their settings from FBS_CONFIG."""

    name = "fbs_worker.contrib.django"
    label = "fbs_worker"
    verbose_name = "fbs-worker"

    def ready(self) -> None:
        """Register the checks, and where services find their settings."""
        checks.register(check_configuration)
        IntegrationService.set_settings_source(fbs_settings)
