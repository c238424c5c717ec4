"""Rendering of solutions: setup, refresh, drop, status, list and key rotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render.discoveries import PLURALS, discovery_blocks, section_blocks
from fbs_worker.cli.render.formats import MAX_ROWS, count, local_time, more_rows, size
from fbs_worker.cli.render.jobs import job_blocks
from fbs_worker.cli.render.migrations import drift_blocks
from fbs_worker.cli.render.records import records_blocks, summary_text, sync_blocks
from fbs_worker.cli.render.schedules import schedule_line
from fbs_worker.jobs.model import SHORT_ID

_KINDS: Final = ("added", "changed", "removed")
_FRESHNESS: Final = {"last_checked": "last checked", "last_change": "last change"}


def setup_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of a setup."""
    name, address = result["solution"], _address(result["database"])
    created, existing = result["created"], result["existing"]
    if result["changed"]:
        blocks: list[Block] = [f"The solution {name} is set up in {address}."]
    else:
        blocks = [f"The solution {name} is already set up in {address}: nothing was changed there."]
    if created:
        title = f"Created tables ({len(created):,})"
        rows = [(table,) for table in created[:MAX_ROWS]]
        blocks.append(Table(title=title, columns=("table",), rows=rows, footnote=more_rows(created)))
    if existing:
        blocks.append(f"Existing tables: {len(existing):,}.")
    blocks += _pending(result["pending"], name)
    if result.get("refresh"):
        blocks += refresh_blocks({"solution": name, **result["refresh"]})
    else:
        blocks.append(f"Odoo was not read. To read it: fbs refresh {name}")
    sync = result.get("sync") or {}
    if "tables" in sync:
        blocks += sync_blocks(sync)
    elif "error" in sync:
        blocks.append(f"Its records are not copied yet. To go on: fbs sync {name}")
    elif sync:
        blocks.append(f"Its records are being copied: fbs jobs watch {sync['job'][:SHORT_ID]}")
    return blocks


def refresh_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of a refresh."""
    blocks = discovery_blocks(result, domain=result["report"]["domain"], since="the last refresh")
    derived = {kind: result[kind] for kind in ("workflows", "dashboards")}
    rows = [(kind, *(count(counts[change]) for change in _KINDS)) for kind, counts in derived.items()]
    if any(cell != "-" for row in rows for cell in row[1:]):
        blocks.append(Table(title="Derived", columns=("type", *_KINDS), rows=rows))
    skipped = [(kind, skip["name"], skip["reason"]) for kind, counts in derived.items() for skip in counts["skipped"]]
    if skipped:
        title = f"Not derived ({len(skipped):,})"
        columns = ("type", "name", "reason")
        blocks.append(Table(title=title, columns=columns, rows=skipped[:MAX_ROWS], footnote=more_rows(skipped)))
    return blocks


def drop_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of a drop or of its dry run."""
    name, dropped, remaining = result["solution"], result["dropped"], result["kept"]
    counted = result["rows"]
    dry = result["dry_run"]
    blocks: list[Block] = []
    if dropped:
        title = f"{'Would be dropped' if dry else 'Dropped'} ({len(dropped):,})"
        rows = [(table, count(counted.get(table, 0))) for table in dropped]
        blocks.append(Table(title=title, columns=("table", "rows"), rows=rows))
    if remaining:
        blocks.append(f"{'Would remain' if dry else 'Remaining'}: {', '.join(remaining)}.")
    if not dry:
        blocks.append(f"The solution {name} is dropped.")
    elif not dropped:
        blocks.append(f"The solution {name} owns no tables; only its registry entry would be removed.")
    return blocks


def status_blocks(status: Mapping[str, Any]) -> list[Block]:
    """The output of `fbs status`.

    Args:
        status: the result of `solution_status`.
    """
    reason = f": {status['reason']}" if status["reason"] else "."
    blocks: list[Block] = [f"The solution {status['solution']} is {status['overall_status']}{reason}"]
    if status["hint"]:
        blocks.append(f"Hint: {status['hint']}")
    blocks += [f"{name:<13} {value}" for name, value in _facts(status).items() if value]
    if status["tables"]:
        rows = [
            (table["table"], table["kind"], count(table["rows"]), size(table["bytes"])) for table in status["tables"]
        ]
        blocks.append(Table(title="Tables", columns=("table", "kind", "rows", "size"), rows=rows))
    if status["discoveries"]:
        discoveries = status["discoveries"]
        active = [(PLURALS[kind], count(discoveries[kind])) for kind in PLURALS if kind in discoveries]
        blocks.append(Table(title="Discovered", columns=("type", "active"), rows=active))
    blocks += records_blocks(status.get("records", ()), status["solution"])
    blocks += section_blocks(status["sections_denied"])
    blocks += _pending(status["pending"], status["solution"])
    blocks += drift_blocks(status.get("drift", ()))
    if status["jobs"]:
        blocks += job_blocks(status["jobs"])
    return [*blocks, *status["notes"]]


def list_blocks(listing: Mapping[str, Any]) -> list[Block]:
    """The table of `fbs list`.

    Args:
        listing: the result of `list_solutions`.
    """
    solutions = listing["solutions"]
    if not solutions:
        return ["There are no solutions. Set one up: fbs setup", *listing["notes"]]
    with_records = any(solution.get("records") for solution in solutions)
    rows = [
        (
            str(solution["solution"]),
            str(solution["domain"] or "-"),  # a damaged row has neither domain nor database
            str(solution["overall_status"]),
            _short_address(solution["database"]) if solution["database"] else "-",
            ", ".join(filter(None, (solution["table_prefix"], solution["business_prefix"]))),
            *([summary_text(solution.get("records")) or "-"] if with_records else []),
            *(local_time(solution.get(name), seconds=False) or "-" for name in _FRESHNESS),
        )
        for solution in solutions
    ]
    more = ("records",) if with_records else ()
    columns = ("solution", "domain", "status", "database", "prefixes", *more, *_FRESHNESS.values())
    blocks: list[Block] = [Table(title="Solutions", columns=columns, rows=rows, whole=tuple(_FRESHNESS.values()))]
    blocks += [
        f"{solution['solution']} is {solution['overall_status']}: {solution['reason']}"
        for solution in solutions
        if solution["reason"]
    ]
    return [*blocks, *listing["notes"]]


def rotation_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of `fbs rotate-keys`.

    Args:
        result: the result of `rotate_keys`.
    """
    facts = {
        "encrypted anew": "resealed",
        "already encrypted with the first key": "current",
        "references": "references",
    }
    blocks: list[Block] = [f"{label}: {result[name]:,}" for label, name in facts.items()]
    for title, name in (("Not decrypted", "unopened"), ("Not reached", "unreachable")):
        rows = [
            (f"Odoo connection {row['odoo']}" if "odoo" in row else row["solution"], row["database"], row["reason"])
            for row in result[name]
        ]
        if rows:
            blocks.append(Table(title=title, columns=("solution", "database", "reason"), rows=rows))
    if result["complete"]:
        blocks.append("Older keys can now be removed from FBS_SECRET_KEYS, here and on all workers.")
    else:
        blocks.append("Keep the older keys in FBS_SECRET_KEYS, resolve the above and run it again.")
    return blocks


def _facts(status: Mapping[str, Any]) -> dict[str, str]:
    """Label and value of each line; empty values are omitted by the caller."""
    config, database = status["config"], status["database"]
    version_and_size = [f"PostgreSQL {database['server_version']}"] if database.get("server_version") else []
    version_and_size += [size(database["size"])] if database.get("size") else []
    return {
        "domain": config["domain"],
        "database": database["place"] + (f" ({', '.join(version_and_size)})" if version_and_size else ""),
        "prefixes": f"{config['table_prefix']} (system), {config['business_prefix'] or 'none'} (business)",
        "mirrored": ", ".join(config["mirrored"]),
        "modules": _module_patterns(config.get("modules") or {}),
        "odoo": config["odoo"] if config["odoo"] != "default" else "",
        **{label: local_time(status.get(name)) for name, label in _FRESHNESS.items()},
        "last refresh": _last_refresh(status["last_refresh"], known=status["overall_status"] != "unreachable"),
        "schedule": schedule_line(status.get("schedule")),
        "sync": schedule_line((status.get("schedule") or {}).get("sync")),
        "jobs": "" if status["jobs"] else "no active jobs",
    }


def _module_patterns(patterns: Mapping[str, Sequence[str]]) -> str:
    words = {"include": "with", "exclude": "without"}
    return "; ".join(f"{words[key]} {', '.join(names)}" for key, names in patterns.items() if names)


def _last_refresh(last: Mapping[str, Any] | None, *, known: bool) -> str:
    if last is None:
        return "never" if known else "not known"
    report = last["report"]
    changes = [f"{report[kind]:,} {kind}" for kind in _KINDS if report[kind]]
    skipped = f", {report['skipped']:,} skipped" if report.get("skipped") else ""
    return f"{local_time(last['at'])}: {', '.join(changes) or 'nothing changed'}{skipped}"


def _pending(pending: Sequence[str], name: str) -> list[Block]:
    if not pending:
        return []
    rows = [(line,) for line in pending[:MAX_ROWS]]
    title = f"Differs from the definition ({len(pending):,})"
    table = Table(title=title, columns=("difference",), rows=rows, footnote=more_rows(pending))
    return [table, f"To apply it: fbs migrate --solution-name {name}"]


def _short_address(database: Mapping[str, Any]) -> str:
    """The database's name, with its host if that is another machine."""
    name, host = str(database["name"]), str(database["host"])
    return name if host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"} else f"{host}/{name}"


def _address(database: Mapping[str, Any]) -> str:
    """`user@host:port/name`, as `DatabaseConfig.address`."""
    address = f"{database['host']}:{database['port']}/{database['name']}"
    return f"{database['user']}@{address}" if database.get("user") else address
