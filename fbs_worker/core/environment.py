"""Adapter for pydantic-settings: the environment as a source of settings, with `fbs.env` and secrets in files.

`UPSTREAM` declares every symbol that is relied on, and why; the contract tests resolve each in the installed version
(`tests/unit/test_upstream_contract.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from pydantic_settings import BaseSettings, EnvSettingsSource

from fbs_worker.core.errors import SettingsError
from fbs_worker.core.secret_files import UnreadableSecret, read_secret
from fbs_worker.core.service_links import remove_service_links
from fbs_worker.core.settings_file import find_settings_file

TRIED: Final = ("pydantic-settings>=2.7,<3",)

UPSTREAM: Final[Mapping[str, str]] = {
    "pydantic_settings.sources:EnvSettingsSource.env_vars": "replaced: the environment, with names in lower case",
}

_FILE: Final = "_file"


class EnvironmentAndFiles(EnvSettingsSource):
    """The environment, completed by `fbs.env`, without service links, with `NAME` and a file's content for `NAME_FILE`.

    Args:
        settings_cls: the class of the settings.

    Raises:
        SettingsError: a file cannot be read, or both `NAME` and `NAME_FILE` are set.
    """

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        values = dict(self.env_vars)
        if file := find_settings_file():
            values |= {name.lower(): value for name, value in file.missing_in(os.environ)}
        remove_service_links(values)
        given = dict(values)
        for twin, path in given.items():
            name = twin.removesuffix(_FILE)
            if name == twin or name.partition("__")[0] not in settings_cls.model_fields:
                continue
            del values[twin]
            if not path:
                continue
            if given.get(name):
                raise SettingsError(
                    f"Both {name.upper()} and {twin.upper()} are set.",
                    hint=f"Set one of them; {twin.upper()} is the path of a file.",
                )
            try:
                values[name] = read_secret(path)
            except UnreadableSecret as exc:
                raise SettingsError(
                    f"The file {path!r} of {twin.upper()} {exc}.", hint="Check its path and its permissions."
                ) from None
        self.env_vars = values
