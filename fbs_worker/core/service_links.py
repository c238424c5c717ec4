"""Service links of Kubernetes, which have the names of settings.

In a namespace with a service `fbs-api` each pod is started with `FBS_API_PORT=tcp://10.96.12.3:8000`. That is no
setting: it counts as not set. A module of its own, because the command line starts without the settings.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any, Final

_NAME: Final = re.compile(r"fbs_\w*port", re.IGNORECASE)
_LINK: Final = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def remove_service_links(environment: MutableMapping[str, Any]) -> None:
    """Remove the service links that have the name of a port of fbs-worker.

    Args:
        environment: variables; the case of their names does not matter.
    """
    for name, value in list(environment.items()):
        if _NAME.fullmatch(name) and _LINK.fullmatch(value or ""):
            del environment[name]
