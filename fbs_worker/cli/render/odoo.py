"""Rendering of connections to Odoo and of their tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fbs_worker.cli.output import Block, Table


def connections_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of `fbs odoo list`."""
    connections, notes = result["connections"], list(result["notes"])
    notes += [
        f"The stored {each['name']} is not used: {each['overridden_by']} of the environment counts more."
        for each in connections
        if each["overridden_by"]
    ]
    if not connections:
        return ["There is no connection to Odoo: `fbs odoo add NAME` adds one.", *notes]
    rows = [
        (
            each["name"],
            each["url"],
            each["db"],
            each["user"] or "-",
            each["origin"],
            ", ".join(each["solutions"]) or "-",
        )
        for each in connections
    ]
    columns = ("name", "url", "database", "user", "origin", "solutions")
    return [Table(title="Connections to Odoo", columns=columns, rows=rows, whole=("name",)), *notes]


def connection_blocks(done: str, connection: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> list[Block]:
    """The result of `fbs odoo add` and `edit`.

    Args:
        done: what was done, e.g. `added`.
        connection: the connection, as it is stored.
        outcome: the result of its test, or `error`; None without a test.
    """
    blocks: list[Block] = [
        f"The Odoo connection {connection['name']} is {done}; workers use it from their next job on."
    ]
    if connection["overridden_by"]:
        blocks.append(f"It does not count here: {connection['overridden_by']} of the environment counts more.")
    if outcome is None:
        return blocks
    if "error" in outcome:
        error = outcome["error"]
        return [*blocks, f"Its test failed: {error['message']}", f"hint: {error['hint']}"]
    return [*blocks, *test_blocks(outcome)]


def test_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of `fbs odoo test`."""
    source = result["source"]
    user = f" as {result['user']}" if result["user"] else ""
    blocks: list[Block] = [
        f"Odoo {source['series']} at {source['url']}, database {source['database']}{user} ({result['origin']}).",
        f"Protocol: {result['protocol']}. A call takes {result['call_ms']:,.0f} ms.",
    ]
    lacking = [each for each in result["sections"] if each["status"] != "complete"]
    if not lacking:
        return [*blocks, f"The user may read all {len(result['sections'])} sections."]
    rows = [
        (each["name"], each["status"], each.get("needs", ""), each.get("detail", "")) for each in result["sections"]
    ]
    return [*blocks, Table(title="Rights", columns=("section", "status", "missing group", "detail"), rows=rows)]
