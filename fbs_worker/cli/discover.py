"""`fbs discover`: discover an Odoo for a domain."""

from __future__ import annotations

from typing import Any

from fbs_worker.cli.output import print_result
from fbs_worker.cli.render.discoveries import discovery_blocks
from fbs_worker.cli.run import Runner


def discover(runner: Runner, given: dict[str, Any]) -> None:
    """Discover what an Odoo provides for a domain.

    Reads its modules, models, workflows and BI features. They are saved in the given database; without one they are
    only printed.
    """
    from fbs_worker.solutions.requests import DiscoverRequest

    request = DiscoverRequest.parse(given, settings=runner.settings)
    result = runner.run(request, title=f"Discovering {request.domain}")
    if result is not None:
        print_result(
            {"domain": request.domain, **result},
            lambda: discovery_blocks(result, domain=request.domain),
            runner.output_format,
        )
