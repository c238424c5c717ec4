"""Solutions as tables and sentences: pure, printed by `output`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render import (
    MOST_ROWS,
    PLURALS,
    discovery_blocks,
    job_blocks,
    local_time,
    more,
    number,
    section_blocks,
)
from fbs_worker.cli.render_migrations import drift_blocks, migrate_blocks
from fbs_worker.cli.render_schedules import schedule_line

_KINDS: Final = ("added", "changed", "removed")


def result_blocks(action: str, result: Mapping[str, Any], *, name: str) -> list[Block]:
    """What a job yielded, for a person.

    Args:
        action: the job's.
        result: the job's.
        name: the solution or domain that it was for.
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
        case _:
            return [f"{key}: {value}" for key, value in result.items()]


def setup_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of a set-up."""
    name, place = result["solution"], _place(result["database"])
    created, existing = result["created"], result["existing"]
    if result["changed"]:
        blocks: list[Block] = [f"The solution {name} is set up in {place}."]
    else:
        blocks = [f"The solution {name} is set up in {place} already: nothing was changed there."]
    if created:
        rows = [(table,) for table in created[:MOST_ROWS]]
        blocks.append(
            Table(title=f"Tables made ({len(created):,})", columns=("table",), rows=rows, footnote=more(created))
        )
    if existing:
        blocks.append(f"Tables that were there: {len(existing):,}.")
    blocks += _pending(result["pending"], name)
    if result.get("refresh"):
        blocks += refresh_blocks({"solution": name, **result["refresh"]})
    else:
        blocks.append(f"Odoo was not read: fbs refresh {name}")
    return blocks


def refresh_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of a refresh."""
    blocks = discovery_blocks(result, domain=result["report"]["domain"], since="the last refresh")
    derived = {kind: result[kind] for kind in ("workflows", "dashboards")}
    rows = [(kind, *(number(counts[change]) for change in _KINDS)) for kind, counts in derived.items()]
    if any(cell != "-" for row in rows for cell in row[1:]):
        blocks.append(Table(title="Derived from it", columns=("type", *_KINDS), rows=rows))
    unfit = [(kind, skip["name"], skip["reason"]) for kind, counts in derived.items() for skip in counts["skipped"]]
    if unfit:
        title = f"Not derived ({len(unfit):,})"
        columns = ("type", "name", "reason")
        blocks.append(Table(title=title, columns=columns, rows=unfit[:MOST_ROWS], footnote=more(unfit)))
    return blocks


def drop_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of a drop, done or only looked at."""
    name, dropped, kept = result["solution"], result["dropped"], result["kept"]
    counted = result["rows"]
    dry = result["dry_run"]
    blocks: list[Block] = []
    if dropped:
        title = f"{'Would be dropped' if dry else 'Dropped'} ({len(dropped):,})"
        rows = [(table, number(counted.get(table, 0))) for table in dropped]
        blocks.append(Table(title=title, columns=("table", "rows"), rows=rows))
    if kept:
        blocks.append(f"{'Would stay' if dry else 'Stays'}: {', '.join(kept)}.")
    if not dry:
        blocks.append(f"The solution {name} is gone.")
    elif not dropped:
        blocks.append(f"The solution {name} has no tables of its own; its entry would go.")
    return blocks


def status_blocks(told: Mapping[str, Any]) -> list[Block]:
    """The page of `fbs status`.

    Args:
        told: what `solution_status` yields.
    """
    why = f": {told['reason']}" if told["reason"] else "."
    blocks: list[Block] = [f"The solution {told['solution']} is {told['overall_status']}{why}"]
    if told["hint"]:
        blocks.append(f"What to do: {told['hint']}")
    blocks += [f"{name:<13} {value}" for name, value in _facts(told).items() if value]
    if told["tables"]:
        rows = [
            (table["table"], table["kind"], number(table["rows"]), size(table["bytes"])) for table in told["tables"]
        ]
        blocks.append(Table(title="Tables", columns=("table", "kind", "rows", "size"), rows=rows))
    if told["discoveries"]:
        found = told["discoveries"]
        active = [(PLURALS[kind], number(found[kind])) for kind in PLURALS if kind in found]
        blocks.append(Table(title="Discovered", columns=("type", "active"), rows=active))
    blocks += section_blocks(told["sections_denied"])
    blocks += _pending(told["pending"], told["solution"])
    blocks += drift_blocks(told.get("drift", ()))
    if told["jobs"]:
        blocks += job_blocks(told["jobs"])
    return [*blocks, *told["notes"]]


def list_blocks(told: Mapping[str, Any]) -> list[Block]:
    """The table of `fbs list`.

    Args:
        told: what `list_solutions` yields.
    """
    solutions = told["solutions"]
    if not solutions:
        return ["There are no solutions. Set one up: fbs setup", *told["notes"]]
    rows = [
        (
            str(solution["solution"]),
            str(solution["domain"] or "-"),  # a damaged row tells neither domain nor database
            str(solution["overall_status"]),
            _short_place(solution["database"]) if solution["database"] else "-",
            ", ".join(filter(None, (solution["table_prefix"], solution["business_prefix"]))),
            local_time(solution["last_refresh"])[:-3] or "-",
        )
        for solution in solutions
    ]
    columns = ("solution", "domain", "status", "database", "prefixes", "last refresh")
    blocks: list[Block] = [Table(title="Solutions", columns=columns, rows=rows, whole=("last refresh",))]
    blocks += [
        f"{solution['solution']} is {solution['overall_status']}: {solution['reason']}"
        for solution in solutions
        if solution["reason"]
    ]
    return [*blocks, *told["notes"]]


def rotation_blocks(told: Mapping[str, Any]) -> list[Block]:
    """What `fbs rotate-keys` did.

    Args:
        told: what `rotate_keys` yields.
    """
    facts = {"sealed anew": "resealed", "sealed with the first key already": "current", "references": "references"}
    blocks: list[Block] = [f"{words}: {told[name]:,}" for words, name in facts.items()]
    for title, name in (("Not opened", "unopened"), ("Not reached", "unreachable")):
        rows = [(row["solution"], row["database"], row["reason"]) for row in told[name]]
        if rows:
            blocks.append(Table(title=title, columns=("solution", "database", "why"), rows=rows))
    if told["complete"]:
        blocks.append("Older keys can be taken out of FBS_SECRET_KEYS now, here and where workers run.")
    else:
        blocks.append("Keep the older keys in FBS_SECRET_KEYS, and run it again once that is mended.")
    return blocks


def size(count: int | None) -> str:
    """Bytes as people say them.

    Args:
        count: bytes; None where it is not known.
    """
    if count is None:
        return ""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        del units[0]
    whole = units[0] in {"B", "kB"} or amount >= 100
    return f"{amount:,.0f} {units[0]}" if whole else f"{amount:.1f} {units[0]}"


def _facts(told: Mapping[str, Any]) -> dict[str, str]:
    """Name and value of what is told in a line each; an empty value is left out."""
    config, database = told["config"], told["database"]
    about = [f"PostgreSQL {database['server_version']}"] if database.get("server_version") else []
    about += [size(database["size"])] if database.get("size") else []
    return {
        "domain": config["domain"],
        "database": database["place"] + (f" ({', '.join(about)})" if about else ""),
        "prefixes": f"{config['table_prefix']} (system), {config['business_prefix'] or 'none'} (business)",
        "mirrored": ", ".join(config["mirrored"]),
        "odoo": config["odoo"] if config["odoo"] != "default" else "",
        "last refresh": _last_refresh(told["last_refresh"], known=told["overall_status"] != "unreachable"),
        "schedule": schedule_line(told.get("schedule")),
        "jobs": "" if told["jobs"] else "none waits or runs",
    }


def _last_refresh(last: Mapping[str, Any] | None, *, known: bool) -> str:
    if last is None:
        return "never" if known else "not known"
    report = last["report"]
    changes = [f"{report[kind]:,} {kind}" for kind in _KINDS if report[kind]]
    skipped = f", {report['skipped']:,} did not fit" if report.get("skipped") else ""
    return f"{local_time(last['at'])}: {', '.join(changes) or 'nothing changed'}{skipped}"


def _pending(pending: Sequence[str], name: str) -> list[Block]:
    if not pending:
        return []
    rows = [(line,) for line in pending[:MOST_ROWS]]
    title = f"Differs from the definition ({len(pending):,})"
    table = Table(title=title, columns=("what",), rows=rows, footnote=more(pending))
    return [table, f"What to do: fbs migrate --solution-name {name}"]


def _short_place(database: Mapping[str, Any]) -> str:
    """The database's name, with its host where it is another machine."""
    name, host = str(database["name"]), str(database["host"])
    return name if host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"} else f"{host}/{name}"


def _place(database: Mapping[str, Any]) -> str:
    """`user@host:port/name`, as `DatabaseConfig.address`."""
    place = f"{database['host']}:{database['port']}/{database['name']}"
    return f"{database['user']}@{place}" if database.get("user") else place
