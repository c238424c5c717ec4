"""`fbs discover`: discover an Odoo for a domain."""

from __future__ import annotations

from typing import Annotated

import typer

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.cli.options import (
    DatabaseHost,
    DatabaseName,
    DatabasePassword,
    DatabasePort,
    DatabaseUser,
    Domain,
    Format,
    Full,
    Inline,
    NoWait,
    Odoo,
    OdooMoved,
    TablePrefix,
    current_settings,
    database_config,
)
from fbs_worker.cli.output import OutputFormat, print_blocks, print_json
from fbs_worker.cli.render.discoveries import discovery_blocks
from fbs_worker.cli.run import Runner


def discover(
    *,
    domain: Domain,
    database_name: DatabaseName = None,
    database_user: DatabaseUser = None,
    database_password: DatabasePassword = None,
    database_host: DatabaseHost = None,
    database_port: DatabasePort = None,
    table_prefix: TablePrefix = None,
    odoo: Odoo = "default",
    odoo_moved: OdooMoved = False,
    discovery_type: Annotated[
        list[DiscoveryType] | None,
        typer.Option("--discovery-type", envvar="FBS_DISCOVERY_TYPE", help="Only this type; repeatable."),
    ] = None,
    full: Full = False,
    inline: Inline = False,
    no_wait: NoWait = False,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Discover what an Odoo provides for a domain.

    Reads its modules, models, workflows and BI features. They are saved in the given database; without one they are
    only printed.
    """
    runner = Runner(settings=current_settings(), output_format=output_format, inline=inline, no_wait=no_wait)
    request = {
        "domain": domain,
        "database_config": database_config(
            name=database_name,
            user=database_user,
            password=database_password,
            host=database_host,
            port=database_port,
        ),
        "table_prefix": table_prefix,
        "discovery_types": [str(kind) for kind in discovery_type] if discovery_type else None,
        "full": full,
        "odoo": odoo,
        "odoo_moved": odoo_moved,
    }
    result = runner.run("discover", request, title=f"Discovering {domain}")
    if result is None:
        return
    if output_format is OutputFormat.JSON:
        print_json({"domain": domain, **result})
    else:
        print_blocks(discovery_blocks(result, domain=domain))
