"""System checks of FBS_CONFIG for `manage.py check`. They open no connections; `fbs health` does.

fbs_worker.E001   FBS_CONFIG, or a setting in the environment, is not valid
fbs_worker.E002   the format of a URL, a prefix or a key is not valid
fbs_worker.W001   a setting that jobs need is missing
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from django.core import checks

from fbs_worker.contrib.django.conf import fbs_settings
from fbs_worker.core.errors import FBSError, SettingsError
from fbs_worker.core.settings import Settings

NOT_VALID: Final = "fbs_worker.E001"
WRONG_VALUE: Final = "fbs_worker.E002"
NOT_SET: Final = "fbs_worker.W001"

_PREFIXES: Final = {"table_prefix": False, "business_prefix": True}
"""The prefixes, and whether each is optional."""


def check_configuration(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Check FBS_CONFIG.

    Args:
        **_kwargs: the arguments that Django passes to each check; ignored.

    Returns:
        The errors and warnings.
    """
    try:
        settings = fbs_settings()
    except FBSError as exc:
        return [checks.Error(exc.message, hint=exc.hint, id=NOT_VALID)]
    invalid = [checks.Error(exc.message, hint=exc.hint, id=WRONG_VALUE) for exc in _invalid(settings)]
    missing = [checks.Warning(message, hint=hint, id=NOT_SET) for message, hint in _missing(settings)]
    return [*invalid, *missing]


def _invalid(settings: Settings) -> Iterator[FBSError]:
    from fbs_worker.core.redis import check_url
    from fbs_worker.core.vault import Vault
    from fbs_worker.jobs.broker import Broker
    from fbs_worker.solutions.registry import home_database

    validators: list[tuple[bool, Callable[[], object]]] = [
        (bool(settings.fbs_redis_url), lambda: check_url(settings.fbs_redis_url)),
        (bool(settings.fbs_broker_url), lambda: Broker.from_settings(settings)),
        (bool(settings.fbs_database_url), lambda: home_database(settings)),
        (True, lambda: Vault.from_text(settings.fbs_secret_keys.get_secret_value())),
        (True, lambda: _check_prefixes(settings)),
    ]
    for is_set, validate in validators:
        try:
            if is_set:
                validate()
        except FBSError as exc:
            yield exc


def _check_prefixes(settings: Settings) -> None:
    from fbs_worker.core.identifiers import check_prefix

    for name, optional in _PREFIXES.items():
        value = getattr(settings, f"fbs_{name}")
        try:
            if value or not optional:
                check_prefix(value)
        except ValueError as exc:
            raise SettingsError(f"{name} is not valid: {exc}.", hint=f"Correct {name} of FBS_CONFIG.") from None


def _missing(settings: Settings) -> Iterator[tuple[str, str]]:
    if not settings.fbs_redis_url:
        yield (
            "No Redis is set: jobs cannot be enqueued.",
            "Set redis_url in FBS_CONFIG, or start one with `fbs up`.",
        )
    if not settings.fbs_database_url:
        yield (
            "No home database is set: solutions cannot be looked up.",
            "Set database_url in FBS_CONFIG, or start one with `fbs up`.",
        )
    if not settings.fbs_secret_keys.get_secret_value():
        yield (
            "No encryption keys are set: a database's password can only be a reference, such as env:NAME.",
            "Set secret_keys in FBS_CONFIG to the workers' keys; `fbs new-key` makes one.",
        )
