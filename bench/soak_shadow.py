"""Reference run of the soak test: runs the same work sequentially, without faults, in databases of its own.

`bench.soak` starts it with the settings of these databases. It reads one piece of work per line (JSON), and prints the
databases' contents at the end of the input.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.soak_work import COPIED, TARGET, Work
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import load_settings
from tests.support.copied_things import set_up
from tests.support.solutions import contents, inline, run


def main() -> None:
    """Run the work of each line until the input ends."""
    settings = load_settings()
    home = DatabaseConfig.from_url(settings.fbs_database_url)
    target = home.model_copy(update={"name": TARGET})
    for line in sys.stdin:
        work = Work.from_dict(json.loads(line))
        if work.action == "tamper":
            run(target, *work.statements())
        elif work.place is COPIED:
            set_up(settings, target, COPIED.name, table_prefix=COPIED.table_prefix)
        else:
            inline(work.action, work.arguments(target), settings)
    print(dump_contents(home, target))


def dump_contents(home: DatabaseConfig, target: DatabaseConfig) -> str:
    """Return the contents of two databases as text that can be compared line by line, but for copied records.

    Args:
        home: the home database.
        target: the solutions' database.
    """
    contents_of: dict[str, Any] = {"home": contents(home), "target": contents(target)}
    for name, rows in contents_of["target"]["rows"].items():
        if name.startswith(("x_", f"{COPIED.table_prefix}re", f"{COPIED.table_prefix}de")):
            rows.clear()  # of its records, and of how they were copied: `Fleet.check_records` looks at them
    return json.dumps(contents_of, indent=1, sort_keys=True, default=str)


if __name__ == "__main__":
    main()
