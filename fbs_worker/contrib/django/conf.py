"""FBS_CONFIG, the dictionary in a Django project's settings: from it to the settings of fbs-worker.

Its keys are the settings in small letters without `FBS_`: `redis_url`, `table_prefix`, `odoo_url`, `odoo` (further
servers, a dictionary by name). One is a group: `default_database_config` holds `host`, `port`, `user` and `password`.
What is given there counts more than the environment; None is: not given.
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

_OURS: Final = "fbs_"
_DATABASE: Final = "default_database_config"
_DATABASE_FIELD: Final = "fbs_default_database_"
_ODOO: Final = "odoo"


def fbs_settings() -> Settings:
    """The settings of fbs-worker in this project, as they are now.

    Returns:
        FBS_CONFIG over the environment; Redis, home database and keys of a running `fbs up` where they are not set.

    Raises:
        SettingsError: a key is not known, or a value not valid; no value is told.
    """
    return effective_settings(settings_of(getattr(django_settings, NAME, {})))


def settings_of(config: object) -> Settings:
    """The settings that a dictionary means, over the environment.

    Args:
        config: what FBS_CONFIG holds.

    Raises:
        SettingsError: a key is not known, or a value not valid; no value is told.
    """
    given = _fields(config)
    from_environment = load_settings()  # what is wrong there is told in its words
    if not given:
        return from_environment
    try:
        return Settings(**given)
    except ValidationError as exc:
        raise _not_valid(exc) from None


def keys() -> dict[str, str]:
    """The keys of FBS_CONFIG but for `default_database_config`, each with the field of the settings that it means."""
    return {name.removeprefix(_OURS): name for name in Settings.model_fields if not name.startswith(_DATABASE_FIELD)}


def _fields(config: object) -> dict[str, Any]:
    """What is given, by the fields of the settings."""
    known = keys()
    told = _checked(config, NAME, (*known, _DATABASE))
    database = _checked(told.pop(_DATABASE, {}), _label(_DATABASE), _database_keys())
    return {known[key]: value for key, value in told.items()} | {
        f"{_DATABASE_FIELD}{key}": value for key, value in database.items()
    }


def _database_keys() -> tuple[str, ...]:
    fields = (name for name in Settings.model_fields if name.startswith(_DATABASE_FIELD))
    return tuple(name.removeprefix(_DATABASE_FIELD) for name in fields)


def _checked(config: object, label: str, known: Collection[str]) -> dict[str, Any]:
    """A dictionary without what is not given, each of its keys known."""
    if not isinstance(config, Mapping):
        raise SettingsError(f"{label} is not a dictionary.", hint=f"Known keys are: {', '.join(sorted(known))}.")
    for key in config:
        if key not in known:
            raise SettingsError(f"{label} has a key that is not known: {key!r}.", hint=_meant(str(key), known))
    return {key: value for key, value in config.items() if value is not None}


def _meant(key: str, known: Collection[str]) -> str:
    """What whoever wrote a key may have meant."""
    plain = key.lower().removeprefix(_OURS)
    close = [plain] if plain in known else difflib.get_close_matches(plain, known, n=1)
    if close:
        return f"Is {close[0]!r} meant?"
    return f"Known are: {', '.join(sorted(known))}."


def _not_valid(exc: ValidationError) -> SettingsError:
    first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
    field, *inner = (str(part) for part in first["loc"])
    if field.startswith(_DATABASE_FIELD):
        label = _label(_DATABASE, field.removeprefix(_DATABASE_FIELD))
    else:
        key = field.removeprefix(_OURS)
        label = _label(key, *inner)
        if key == _ODOO:
            return SettingsError(
                f"{label} is not valid: {first['msg']}.",
                hint=f"{_label(_ODOO)} holds further servers by name: {{'erp': {{'url': …, 'db': …}}}}; the first one "
                "is odoo_url, odoo_db and so on.",
            )
    return SettingsError(f"{label} is not valid: {first['msg']}.", hint=f"Correct {label}.")


def _label(*path: str) -> str:
    return NAME + "".join(f"[{part!r}]" for part in path)
