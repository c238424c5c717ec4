"""Adapter for pydantic-settings: a source of settings that changes the environment before it is parsed.

`UPSTREAM` declares every symbol that is relied on, and why; the contract tests resolve each in the installed version
(`tests/unit/test_upstream_contract.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic_settings import BaseSettings, EnvSettingsSource

TRIED: Final = ("pydantic-settings>=2.7,<3",)

UPSTREAM: Final[Mapping[str, str]] = {
    "pydantic_settings.sources:EnvSettingsSource.env_vars": "replaced: the environment, with names in lower case",
}


class ChangedEnvironment(EnvSettingsSource):
    """The environment as a source of settings; a subclass changes it first.

    Args:
        settings_cls: the class of the settings.
    """

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.env_vars = self.change(self.env_vars, settings_cls)

    def change(
        self, environment: Mapping[str, str | None], settings_cls: type[BaseSettings]
    ) -> Mapping[str, str | None]:
        """The environment to parse.

        Args:
            environment: variables, by their names in lower case.
            settings_cls: the class of the settings.
        """
        del settings_cls
        return environment
