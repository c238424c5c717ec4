"""The models of a real Odoo 19, from the recording that the package carries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fbs_worker import connectors
from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.domains import load_domain


@cache
def recorded_models(domain: str = "generic") -> Mapping[str, Mapping[str, Any]]:
    """The discovered `schema_definition` of each model of a domain."""
    recording = Path(connectors.__file__).parent / "recordings" / "odoo19.json.xz"
    rows = OdooConnector(RecordingTransport(recording)).read(load_domain(domain))
    return {row.name: row.schema_definition or {} for row in rows if row.discovery_type is DiscoveryType.MODEL}
