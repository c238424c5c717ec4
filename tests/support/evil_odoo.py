"""A process that reads an evil Odoo, and prints what came of it and its peak memory.

    python -m tests.support.evil_odoo url http://127.0.0.1:1234
    python -m tests.support.evil_odoo views

The latter is the recorded Odoo with views of `VIEWS` put in, one after the other.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from fbs_worker import connectors
from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import OdooConnection
from fbs_worker.domains import load_domain

ROOT: Final = Path(__file__).parents[2]
RECORDING: Final = Path(connectors.__file__).parent / "recordings" / "odoo19.json.xz"
MODEL: Final = "sale.order"
FORM: Final = '<form><header><button name="go" string="Go" invisible="{}"/><field name="state" widget="statusbar"/></header></form>'
DOUBLE: Final = '<xpath expr="/form/*[1]" position="replace"><a><b>$0</b><b>$0</b></a></xpath>'


def _xpath(expression: str) -> str:
    return f'<xpath expr="{expression}" position="inside"><a/></xpath>'


def _nested(times: int) -> str:
    return "//*" + "[count(//*" * times + ")]" * times


_BUTTON: Final = '<button name="go" invisible="a{}"/>'.format("".join(f" or b{number}" for number in range(500)))

VIEWS: Final[dict[str, tuple[str, list[str]]]] = {
    # the form's arch, and those of its extensions
    "doubling": (FORM.format("1"), [DOUBLE] * 40),
    "deep-xpath": (FORM.format("1"), [_xpath(_nested(30))]),
    "wide-xpath": ("<form><header/>" + "<a><b/></a>" * 3_000 + "</form>", [_xpath("//*[count(//*[count(//*)])]")]),
    "many-xpaths": ("<form><header/>" + "<a/>" * 3_000 + "</form>", [_xpath("//*/..//*/..//*/..//x")] * 2_100),
    "growing-depth": (
        FORM.format("1"),
        ['<xpath expr="/form" position="replace">' + "<form>" * 200 + "$0" + "</form>" * 200 + "</xpath>"] * 300,
    ),
    "chain": ("<form><header/></form>", ["chain"] * 3_000),
    "sum": (FORM.format("1" + "+1" * 900), []),
    "not": (FORM.format("not " * 2_000 + "a"), []),
    "minus": (FORM.format("-" * 90_000 + "a"), []),
    "minus-short": (FORM.format("-" * 9_000 + "a"), []),
    "brackets": (FORM.format("(" * 5_000 + ")" * 5_000), []),
    "hexadecimal": (FORM.format("0x" + "f" * 5_000), []),
    "huge": ("<form><header/>" + "<a/>" * 1_000_000 + "</form>", []),
    "buttons": (f"<form><header>{_BUTTON * 60}</header></form>", []),
    "number-as-name": ('<form><header><button type="action" name="' + "9" * 5_000 + '"/></header></form>', []),
    "cycle": ("<form/>", []),
}


class EvilViews(RecordingTransport):
    """The recorded Odoo, whose default form of one model is evil."""

    evil = ""

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        answer = super().call(model, method, ids=ids, **arguments)
        rows = answer["records"] if isinstance(answer, dict) and "records" in answer else answer
        if model == "ir.ui.view" and method in {"search_read", "web_search_read"}:
            arch, extensions = VIEWS[self.evil]
            common = {"model": MODEL, "type": "form", "priority": -1, "xml_id": False, "write_date": False}
            rows.append(
                {"id": 900_000, "name": "evil", "arch_db": arch, "inherit_id": False, "mode": "primary", **common}
            )
            for number, extension in enumerate(extensions, start=900_001):
                chained = extension == "chain"
                mode, above = ("primary", number - 1) if chained else ("extension", 900_000)
                arch = "<data/>" if chained else f"<data>{extension}</data>"
                row = {"id": number, "name": "evil", "arch_db": arch, "inherit_id": above, "mode": mode, **common}
                rows.append({**row, "priority": -number if chained else 0})
        if model == "ir.module.module" and self.evil == "cycle":
            rows += [_module(number) for number in range(3_000)]
        return answer


def _module(number: int) -> dict[str, Any]:
    name, following = f"cycle_{number}", f"cycle_{(number + 1) % 3_000}"
    return {
        "id": 900_000 + number,
        "name": name,
        "state": "installed",
        "application": True,
        "dependencies_id": [{"id": number, "name": following}],
    }


def read_evil(*arguments: str) -> dict[str, Any]:
    """Read in a process of its own."""
    command = [sys.executable, "-m", "tests.support.evil_odoo", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def _read(transport: Transport) -> dict[str, Any]:
    began = time.process_time()
    snapshot = OdooConnector(transport).read(load_domain("generic"))
    found = sum(1 for _ in snapshot)
    sections = {section.name: section.to_dict() for section in snapshot.sections}
    return {"discoveries": found, "sections": sections, "seconds": time.process_time() - began}


def main() -> None:
    """Read, and print the outcome."""
    outcome: dict[str, Any] = {}
    if sys.argv[1] == "url":
        began = time.process_time()
        secret = SecretStr("a" * 40)
        try:
            with closing(open_transport(OdooConnection(url=sys.argv[2], db="live", api_key=secret))) as opened:
                _read(opened)
        except FBSError as exc:
            outcome = {"error": exc.code, "hint": exc.hint, "seconds": time.process_time() - began}
    else:
        with closing(EvilViews(RECORDING)) as transport:
            for transport.evil in VIEWS:
                outcome[transport.evil] = _read(transport)
    # not ru_maxrss: a process begins with that of the one that started it
    outcome["peak"] = int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) // 1024
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
