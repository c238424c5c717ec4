"""Application configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

from fbs_worker.client.service import IntegrationService
from fbs_worker.contrib.django.checks import check_configuration
from fbs_worker.contrib.django.conf import fbs_settings


class FBSWorkerConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """Application configuration: services that are created in this process take their settings from FBS_CONFIG."""

    name = "fbs_worker.contrib.django"
    label = "fbs_worker"
    verbose_name = "fbs-worker"

    def ready(self) -> None:
        """Register the system check, and FBS_CONFIG as the services' settings."""
        checks.register(check_configuration)
        IntegrationService.set_settings_source(fbs_settings)
