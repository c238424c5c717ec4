"""Options that several commands have; each has its environment twin, shown in the help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fbs_worker.cli.output import OutputFormat

if TYPE_CHECKING:
    from fbs_worker.settings import Settings

Domain = Annotated[str, typer.Option("--domain", envvar="FBS_DOMAIN", help="The business domain; see `fbs domains`.")]
Odoo = Annotated[
    str,
    typer.Option(
        "--odoo", envvar="FBS_ODOO_CONNECTION", help="Which Odoo: `default` is ODOO_URL, others FBS_ODOO__<NAME>__URL."
    ),
]
Format = Annotated[
    OutputFormat,
    typer.Option("--output-format", envvar="FBS_OUTPUT_FORMAT", help="What stdout holds; json is JSON alone."),
]


def current_settings() -> Settings:
    """The settings, what they lack taken from a stack that `fbs up` keeps running.

    Raises:
        SettingsError: one is not valid.
    """
    from fbs_worker.settings import get_settings
    from fbs_worker.stack import effective_settings

    return effective_settings(get_settings())
