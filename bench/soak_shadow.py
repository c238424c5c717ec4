"""The soak's shadow: does what the workers did, one thing after the other, in databases that nothing disturbs.

Started by `bench.soak` with settings that lead there; reads one piece of work a line, and prints in the end what the
databases hold.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.soak_work import TARGET, Work
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import load_settings
from tests.support.solutions import contents, inline, run


def main() -> None:
    """Work until the input ends."""
    settings = load_settings()
    home = DatabaseConfig.from_url(settings.fbs_database_url)
    target = home.model_copy(update={"name": TARGET})
    for line in sys.stdin:
        work = Work.from_dict(json.loads(line))
        if work.action == "tamper":
            run(target, *work.statements())
        else:
            inline(work.action, work.arguments(target), settings)
    print(told(home, target))


def told(home: DatabaseConfig, target: DatabaseConfig) -> str:
    """What two databases hold, as text that can be compared line by line.

    Args:
        home: the home database.
        target: that of the solutions.
    """
    held: dict[str, Any] = {"home": contents(home), "target": contents(target)}
    return json.dumps(held, indent=1, sort_keys=True, default=str)


if __name__ == "__main__":
    main()
