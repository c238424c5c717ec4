"""Rendering of the results of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fbs_worker.cli.output import Block
from fbs_worker.cli.render.discoveries import discovery_blocks
from fbs_worker.cli.render.migrations import migrate_blocks
from fbs_worker.cli.render.records import records_blocks, sync_blocks, sync_exit_code
from fbs_worker.cli.render.solutions import drop_blocks, refresh_blocks, setup_blocks
from fbs_worker.core.errors import EXIT_DONE


def result_blocks(action: str, result: Mapping[str, Any], *, name: str) -> list[Block]:
    """The result of a job.

    Args:
        action: the job's action.
        result: the job's result.
        name: the job's solution or domain.
    """
    match action:
        case "discover":
            return discovery_blocks(result, domain=name)
        case "setup":
            return setup_blocks(result)
        case "refresh":
            return refresh_blocks(result)
        case "drop":
            return drop_blocks(result)
        case "migrate":
            return migrate_blocks(result)
        case "sync":
            return sync_blocks(result)
        case "sync_table":
            tables = [result["table"]] if result["table"] else []
            return records_blocks(tables, name) or [f"Another worker copied {result['model']}."]
        case _:
            return [f"{key}: {value}" for key, value in result.items()]


def exit_code_of(action: str, result: Mapping[str, Any]) -> int:
    """The exit code of a job that succeeded: not 0 where its result says that something is left to do.

    Args:
        action: the job's action.
        result: the job's result.
    """
    return sync_exit_code(result) if action == "sync" else EXIT_DONE
