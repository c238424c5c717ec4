"""Takes the screenshots of the documentation from the product itself: `make screenshots`.

It starts a stack with a recorded Odoo in a temporary folder, sets a solution up, and photographs a page of the web UI
and a migration plan at a terminal. Needs Chromium and chromedriver.
"""

from __future__ import annotations

import html
import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text
from selenium.webdriver.common.by import By

from fbs_worker.cli.demo import packaged_recording
from fbs_worker.core.postgres import connect
from fbs_worker.ops.local.state import StackInfo, find_stack
from tests.support.browser import NO_BROWSER, chromium

IMAGES: Final = Path(__file__).parent / "images"
FBS: Final = Path(sys.executable).with_name("fbs")
SOLUTION: Final = "fayvad_rentals"
PAGE: Final = f"/solutions/{SOLUTION}/workflows/sale.order/"
COLUMNS: Final = 112
PLAN: Final = ("migrate", SOLUTION, "--plan", "--no-mirror", "product.tag", "--mirror", "account.incoterms")
BEFORE_THE_PLAN: Final = """
INSERT INTO rental_product_tag (odoo_id, name) SELECT number, 'tag ' || number FROM generate_series(1, 40) AS number;
ALTER TABLE rental_lease ALTER COLUMN lease_status SET DEFAULT 'draft';
"""
"""Rows that the plan has to archive, and a change by hand that it reports."""

TERMINAL: Final = """\
<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #0d1117 }}
pre {{ display: inline-block; margin: 0; padding: 18px 22px; color: #e6edf3 }}
pre, code {{ font: 13px/1.45 "DejaVu Sans Mono", monospace }}
</style><pre id="shot">{content}</pre>"""


def main() -> None:
    """Take the screenshots."""
    if NO_BROWSER:
        raise SystemExit(NO_BROWSER)
    with tempfile.TemporaryDirectory(prefix="fbs-shots-") as folder, stack(Path(folder)) as info:
        database = info.database
        fbs("setup", "--solution-name", SOLUTION, "--domain", "rental", "--database-name", database.name,
            "--business-prefix", "rental_", "--mirror", "product.tag", home=folder)  # fmt: skip
        with closing(connect(database)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(BEFORE_THE_PLAN)
        plan = Path(folder) / "plan.html"
        plan.write_text(TERMINAL.format(content=as_html(at_terminal(*PLAN, home=folder).rstrip())))
        api = info.service("api")
        with chromium() as driver:
            driver.set_window_size(1100, 1000)
            driver.get(f"{api.address if api else ''}{PAGE}")
            driver.save_screenshot(str(IMAGES / "web-ui.png"))
            driver.get(plan.as_uri())
            driver.find_element(By.ID, "shot").screenshot(str(IMAGES / "plan.png"))


def environment(home: str) -> dict[str, str]:
    """That of a process with a home of its own and the recorded Odoo."""
    settings = {"FBS_HOME": home, "HOME": home, "ODOO_URL": f"recording:{packaged_recording()}"}
    return {"PATH": os.defpath, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), **settings}


def fbs(*arguments: str, home: str) -> None:
    """Run a command to its end."""
    subprocess.run([str(FBS), *arguments], env=environment(home), check=True, stdout=subprocess.DEVNULL)


def at_terminal(*arguments: str, home: str) -> str:
    """Run a command at a terminal and return its standard output."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [str(FBS), *arguments], env=environment(home), stdout=theirs, stdin=theirs, stderr=subprocess.DEVNULL
    ):
        os.close(theirs)
        output = b""
        while chunk := _read(ours):
            output += chunk
        os.close(ours)
    return output.decode().replace("\r\n", "\n")


def as_html(output: str) -> str:
    """Terminal output with its colours as HTML, below the command that printed it."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(Text.from_ansi(output), soft_wrap=False)
    command = html.escape(f"$ fbs {' '.join(PLAN)}")
    return f"{command}\n{console.export_html(inline_styles=True, code_format='{code}')}"


@contextmanager
def stack(home: Path) -> Iterator[StackInfo]:
    """A running stack without dashboard and beat."""
    fbs("up", "--no-beat", "--no-flower", home=str(home))
    try:
        info = find_stack(home)
        if info is None:
            raise SystemExit("the stack did not start")
        yield info
    finally:
        fbs("down", home=str(home))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


if __name__ == "__main__":
    main()
