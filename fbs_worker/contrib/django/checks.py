"""What `manage.py check` tells of FBS_CONFIG. Nothing is connected to: whether servers answer, `fbs health` tells.

fbs_worker.E001   FBS_CONFIG, or a setting in the environment, is not valid
fbs_worker.E002   a value is not what it should be: an address, a prefix, a key
fbs_worker.W001   something that jobs need is not set
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
"""The prefixes, and whether each may be empty."""


def check_configuration(**_given: Any) -> list[checks.CheckMessage]:
    """The check, as Django calls it."""
    try:
        settings = fbs_settings()
    except FBSError as exc:
        return [checks.Error(exc.message, hint=exc.hint, id=NOT_VALID)]
    wrong = [checks.Error(exc.message, hint=exc.hint, id=WRONG_VALUE) for exc in _wrong(settings)]
    missing = [checks.Warning(words, hint=hint, id=NOT_SET) for words, hint in _missing(settings)]
    return [*wrong, *missing]


def _wrong(settings: Settings) -> Iterator[FBSError]:
    from fbs_worker.core.redis import check_url
    from fbs_worker.core.vault import Vault
    from fbs_worker.jobs.broker import Broker
    from fbs_worker.solutions.registry import home_database

    looks: list[tuple[bool, Callable[[], object]]] = [
        (bool(settings.fbs_redis_url), lambda: check_url(settings.fbs_redis_url)),
        (bool(settings.fbs_broker_url), lambda: Broker.from_settings(settings)),
        (bool(settings.fbs_database_url), lambda: home_database(settings)),
        (True, lambda: Vault.from_text(settings.fbs_secret_keys.get_secret_value())),
        (True, lambda: _check_prefixes(settings)),
    ]
    for is_set, look in looks:
        try:
            if is_set:
                look()
        except FBSError as exc:
            yield exc


def _check_prefixes(settings: Settings) -> None:
    from fbs_worker.core.identifiers import check_prefix

    for name, may_be_empty in _PREFIXES.items():
        value = getattr(settings, f"fbs_{name}")
        try:
            if value or not may_be_empty:
                check_prefix(value)
        except ValueError as exc:
            raise SettingsError(f"{name} is not valid: {exc}.", hint=f"Correct {name} of FBS_CONFIG.") from None


def _missing(settings: Settings) -> Iterator[tuple[str, str]]:
    if not settings.fbs_redis_url:
        yield (
            "FBS_REDIS_URL is not set: no job can be enqueued.",
            "Set redis_url in FBS_CONFIG, or start one with `fbs up`.",
        )
    if not settings.fbs_database_url:
        yield (
            "No home database is set: no solution can be found.",
            "Set database_url in FBS_CONFIG, or start one with `fbs up`.",
        )
    if not settings.fbs_secret_keys.get_secret_value():
        yield (
            "No keys are set: a database's password can only be a reference, such as env:NAME.",
            "Set secret_keys in FBS_CONFIG to the same keys as the workers'; `fbs new-key` makes one.",
        )
