"""Convert FBS_CONFIG, the dictionary in a Django project's settings, to the settings of fbs-worker.

Its keys are the settings' names in lower case without `FBS_`: `redis_url`, `table_prefix`, `odoo_url`, `odoo` (further
servers, a dictionary by name). `default_database_config` is a group of `host`, `port`, `user` and `password`.
FBS_CONFIG overrides the environment; a value of None counts as missing.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, Final

from django.conf import settings as django_settings
from pydantic import ValidationError

from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import Settings, load_settings
from fbs_worker.ops.local.state import effective_settings

NAME: Final = "FBS_CONFIG"

_PREFIX: Final = "fbs_"
_DATABASE: Final = "default_database_config"
_DATABASE_FIELD: Final = "fbs_default_database_"
_ODOO: Final = "odoo"


def fbs_settings() -> Settings:
    """Read the project's current settings of fbs-worker.

    Returns:
        FBS_CONFIG over the environment; Redis, home database and keys default to those of a running `fbs up`.

    Raises:
        SettingsError: a key is unknown, or a value not valid; the message does not quote values.
    """
    return effective_settings(settings_of(getattr(django_settings, NAME, {})))


def settings_of(config: object) -> Settings:
    """Convert a dictionary to settings, over the environment.

    Args:
        config: the value of FBS_CONFIG.

    Raises:
        SettingsError: a key is unknown, or a value not valid; the message does not quote values.
    """
    fields = _fields(config)
    from_environment = load_settings()  # first, so that its errors name the environment variables
    if not fields:
        return from_environment
    try:
        return Settings(**fields)
    except ValidationError as exc:
        raise _not_valid(exc) from None


def keys() -> dict[str, str]:
    """Map the keys of FBS_CONFIG, except `default_database_config`, to the fields of the settings."""
    return {name.removeprefix(_PREFIX): name for name in Settings.model_fields if not name.startswith(_DATABASE_FIELD)}


def _fields(config: object) -> dict[str, Any]:
    known = keys()
    values = _checked(config, NAME, (*known, _DATABASE))
    database = _checked(values.pop(_DATABASE, {}), _label(_DATABASE), _database_keys())
    return {known[key]: value for key, value in values.items()} | {
        f"{_DATABASE_FIELD}{key}": value for key, value in database.items()
    }


def _database_keys() -> tuple[str, ...]:
    fields = (name for name in Settings.model_fields if name.startswith(_DATABASE_FIELD))
    return tuple(name.removeprefix(_DATABASE_FIELD) for name in fields)


def _checked(config: object, label: str, known: Collection[str]) -> dict[str, Any]:
    """Reject unknown keys, drop values of None."""
    if not isinstance(config, Mapping):
        raise SettingsError(f"{label} is not a dictionary.", hint=f"Known keys are: {', '.join(sorted(known))}.")
    for key in config:
        if key not in known:
            raise SettingsError(f"{label} has an unknown key: {key!r}.", hint=_suggestion(str(key), known))
    return {key: value for key, value in config.items() if value is not None}


def _suggestion(key: str, known: Collection[str]) -> str:
    normalised = key.lower().removeprefix(_PREFIX)
    close = [normalised] if normalised in known else difflib.get_close_matches(normalised, known, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known keys are: {', '.join(sorted(known))}."


def _not_valid(exc: ValidationError) -> SettingsError:
    first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
    field, *inner = (str(part) for part in first["loc"])
    if field.startswith(_DATABASE_FIELD):
        label = _label(_DATABASE, field.removeprefix(_DATABASE_FIELD))
    else:
        key = field.removeprefix(_PREFIX)
        label = _label(key, *inner)
        if key == _ODOO:
            return SettingsError(
                f"{label} is not valid: {first['msg']}.",
                hint=f"{_label(_ODOO)} maps names to further servers: {{'erp': {{'url': …, 'db': …}}}}; the first one "
                "is odoo_url, odoo_db and so on.",
            )
    return SettingsError(f"{label} is not valid: {first['msg']}.", hint=f"Correct {label}.")


def _label(*path: str) -> str:
    return NAME + "".join(f"[{part!r}]" for part in path)
