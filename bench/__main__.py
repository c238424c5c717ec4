"""`make bench`: run every benchmark and print the tables of `bench/README.md`."""

from __future__ import annotations

import sys

from bench import (
    bench_api,
    bench_catalogue,
    bench_connector,
    bench_fleet,
    bench_import,
    bench_large,
    bench_memory,
    bench_migrate,
    bench_queue,
    bench_records,
    bench_setup,
)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _connector() -> list[str]:
    figures = bench_connector.run()
    if not figures:
        return ["no live Odoo 19 is available: reading was not measured"]
    rows = [
        [
            domain,
            f"{found['discoveries']:.0f}",
            f"{found['calls']:.0f}",
            f"{found['raw_seconds']:.3f}",
            f"{found['parsed_seconds']:.3f}",
            f"{found['read_seconds']:.3f}",
            f"{found['ratio']:.2f}",
            f"{found['parsed_ratio']:.2f}",
        ]
        for domain, found in figures.items()
    ]
    head = ["domain", "discoveries", "calls", "raw (s)", "raw, parsed (s)", "read (s)", "of raw", "of raw, parsed"]
    print("\n## Reading a live Odoo 19\n", _table(head, rows), sep="\n")
    rows = [
        [
            domain,
            f"{found['refresh_calls']:.0f}",
            f"{found['refresh_seconds']:.3f}",
            f"{found['full_seconds']:.3f}",
            f"{found['refresh_ratio']:.3f}",
            f"{found['rows_written']:.0f}",
            f"{found['refresh_job_seconds']:.3f}",
            f"{found['full_job_seconds']:.3f}",
        ]
        for domain, found in figures.items()
    ]
    head = ["domain", "calls", "refresh (s)", "full (s)", "ratio", "rows written", "refresh job (s)", "full job (s)"]
    print("\n## An unchanged refresh\n", _table(head, rows), sep="\n")
    return bench_connector.misses(figures)


def _catalogue() -> list[str]:
    found = bench_catalogue.run()
    row = [f"{found['plain_seconds']:.3f}", f"{found['first_seconds']:.3f}", f"{found['ratio']:.2f}"]
    head = ["COPY and INSERT (s)", "save (s)", "ratio"]
    print(f"\n## Saving {bench_catalogue.ROWS:,} discoveries\n", _table(head, [row]), sep="\n")
    too_slow = found["ratio"] > bench_catalogue.TARGET
    return (
        [f"saving: {found['ratio']:.2f} times COPY and INSERT (at most {bench_catalogue.TARGET})"] if too_slow else []
    )


def _memory() -> list[str]:
    found = bench_memory.run()
    row = [
        f"{found['models_saved']:,.0f}",
        f"{found['fields_saved']:,.0f}",
        f"{found['calls']:.0f}",
        f"{found['seconds']:.1f}",
        f"{found['megabytes']:.0f}",
    ]
    head = ["models", "fields", "calls", "seconds", "peak MB"]
    print("\n## Memory of a discovery\n", _table(head, [row]), sep="\n")
    too_much = found["megabytes"] >= bench_memory.MOST_MEGABYTES
    return [f"memory: {found['megabytes']:.0f} MB (below {bench_memory.MOST_MEGABYTES})"] if too_much else []


def _setup() -> list[str]:
    figures = bench_setup.run()
    rows = [
        [
            domain,
            f"{figures[domain]['psql_seconds']:.4f}",
            f"{figures[domain]['ddl_seconds']:.4f}",
            f"{figures[domain]['setup_seconds']:.4f}",
            f"{figures[domain]['ddl_ratio']:.2f}",
            f"{figures[domain]['ratio']:.2f}",
        ]
        for domain in bench_setup.DOMAINS
    ]
    head = ["domain", "psql (s)", "the DDL (s)", "set-up (s)", "DDL of psql", "set-up of psql"]
    print("\n## Setting a solution up\n", _table(head, rows), sep="\n")
    many = figures["many"]
    row = [f"{many['first_seconds']:.4f}", f"{many['last_seconds']:.4f}", f"{many['ratio']:.2f}"]
    head = ["median of the first ten (s)", "of the last ten (s)", "ratio"]
    print(f"\n## {bench_setup.SOLUTIONS} solutions in one database\n", _table(head, [row]), sep="\n")
    return bench_setup.misses(figures)


def _import() -> list[str]:
    found = bench_import.run()
    rows = [
        [what, f"{found[f'celery{kind}_seconds']:.3f}", f"{found[f'client{kind}_seconds']:.3f}", f"{found[ratio]:.2f}"]
        for what, kind, ratio in (("import", "", "ratio"), ("first job", "_job", "job_ratio"))
    ]
    print("\n## The client's import\n", _table(["", "Celery (s)", "client (s)", "ratio"], rows), sep="\n")
    return bench_import.misses(found)


def _queue() -> list[str]:
    figures = bench_queue.run()
    rows = [
        ["enqueue", f"{figures['enqueue']['bare_per_second']:.0f}", f"{figures['enqueue']['client_per_second']:.0f}"],
        ["run", f"{figures['run']['bare_per_second']:.0f}", f"{figures['run']['job_per_second']:.0f}"],
    ]
    rows = [[*row, f"{figures[row[0]]['ratio']:.2f}"] for row in rows]
    print("\n## The queue\n", _table(["", "Celery alone (1/s)", "ours (1/s)", "ratio"], rows), sep="\n")
    if "progress" in figures:
        found = figures["progress"]
        row = [f"{found['silent_seconds']:.3f}", f"{found['seconds']:.3f}", f"{found['added']:.1%}"]
        print("\n## Reporting progress\n", _table(["without (s)", "with (s)", "added"], [row]), sep="\n")
    scale = figures["scale"]
    rows = [
        [str(count), f"{scale[f'seconds_{count}']:.1f}", f"{scale[f'linear_{count}']:.2f}"]
        for count in bench_queue.PROCESSES
    ]
    title = f"\n## {bench_queue.SOLUTIONS} unchanged solutions refreshed\n"
    print(title, _table(["worker processes", "seconds", "of linear"], rows), sep="\n")
    return bench_queue.misses(figures)


def _migrate() -> list[str]:
    figures = bench_migrate.run()
    rows = [
        [kind, f"{found['alembic_seconds']:.3f}", f"{found['plan_seconds']:.3f}", f"{found['ratio']:.2f}"]
        for kind, found in figures.items()
    ]
    head = ["what changed", "Alembic (s)", "plan (s)", "ratio"]
    print("\n## Planning a migration of 500 tables\n", _table(head, rows), sep="\n")
    return bench_migrate.misses(figures)


def _large() -> list[str]:
    figures = bench_large.run()
    rows = [
        [change, *(f"{found[key]:.2f}" if key in found else "" for key in ("seconds", "reader", "writer"))]
        for change, found in figures.items()
    ]
    head = ["change", "seconds", "longest wait of a reader (s)", "of a writer (s)"]
    print(f"\n## Migrating a table of {bench_large.ROWS:,} rows\n", _table(head, rows), sep="\n")
    return bench_large.misses(figures)


def _api() -> list[str]:
    figures = bench_api.run()
    rows = [
        [
            kind,
            f"{found['bytes']:,.0f}",
            f"{found['bare_seconds'] * 1000:.2f}",
            f"{found['seconds'] * 1000:.2f}",
            f"{found['ratio']:.2f}",
            f"{found['tail']:.2f}",
            f"{found['alone_seconds'] * 1000:.1f}",
            f"{found['of_floor']:.1f}",
        ]
        for kind, found in figures.items()
        if kind != "search"
    ]
    head = ["answer", "bytes", "bare (ms)", "ours (ms)", "ratio", "95th of median", "alone (ms)", "of floor"]
    title = f"\n## {bench_api.SOLUTIONS} solutions and {bench_api.DISCOVERIES:,} discoveries over HTTP\n"
    print(title, _table(head, rows), sep="\n")
    found = figures["search"]
    rows = [
        ["psql", f"{found['psql_seconds'] * 1000:.2f}", "HTTP", f"{found['http_seconds'] * 1000:.2f}"],
        [
            f"in {bench_api.FEW:,}",
            f"{found['few_seconds'] * 1000:.2f}",
            f"in {bench_api.DISCOVERIES:,}",
            f"{found['many_seconds'] * 1000:.2f}",
        ],
        [
            "… a word that is in every model",
            f"{found['few_all_seconds'] * 1000:.2f}",
            "",
            f"{found['everywhere_seconds'] * 1000:.2f}",
        ],
    ]
    ratios = (found["ratio"], found["growth"], found["everywhere_seconds"] / found["few_all_seconds"])
    rows = [[*row, f"{ratio:.2f}"] for row, ratio in zip(rows, ratios, strict=True)]
    print("\n## Searching over all fields\n", _table(["", "(ms)", "", "(ms)", "ratio"], rows), sep="\n")
    return bench_api.misses(figures)


def _records() -> list[str]:
    figures = bench_records.run()
    rows = [
        [name, *(f"{found[key]:,.0f}" for key in ("changes", "tables", "rows", "values", "rejected", "differing"))]
        for name, found in figures.get("equal", {}).items()
    ]
    if not rows:
        print("no live Odoo 19 is available: copies of its records were not compared")
    head = ["compared after", "changes", "tables", "rows", "values", "rejected", "differ"]
    print("\n## Records that are equal\n", _table(head, rows), sep="\n")
    keys = (
        "raw_seconds",
        "parsed_seconds",
        "sync_seconds",
        "of_raw",
        "of_parsed",
        "of_dlt",
        "megabytes",
        "odoo_growth",
    )
    rows = [
        [str(count), *(f"{found[key]:.2f}" if key in found else "" for key in keys)]
        for count in bench_records.MOST_OF_RAW
        if (found := figures.get(f"speed_{count}"))
    ]
    head = [
        "fields",
        "raw (s)",
        "raw, parsed (s)",
        "sync (s)",
        "of raw",
        "of parsed",
        "of dlt",
        "peak MB",
        "Odoo grew (MB)",
    ]
    print("\n## Records copied\n", _table(head, rows), sep="\n")
    scale = figures["workers"]
    rows = [
        [str(count), f"{scale[f'seconds_{count}']:.1f}", f"{scale[f'linear_{count}']:.2f}"]
        for count in bench_records.PROCESSES
    ]
    print("\n## Eight tables copied\n", _table(["worker processes", "seconds", "of linear"], rows), sep="\n")
    return bench_records.misses(figures)


def _fleet() -> list[str]:
    figures = bench_fleet.run()
    rows = [[name, f"{value:,.1f}"] for name, value in figures["costs"].items()]
    print("\n## What a sync costs\n", _table(["", ""], rows), sep="\n")
    keys = list(dict.fromkeys(key for found in figures["fleet"].values() for key in found))
    rows = [
        [key, *(f"{found[key]:,.1f}" if key in found else "" for found in figures["fleet"].values())] for key in keys
    ]
    title = f"\n## {bench_fleet.SOLUTIONS} solutions on schedules\n"
    print(title, _table(["", *figures["fleet"]], rows), sep="\n")
    return bench_fleet.misses(figures)


def main() -> int:
    """Run every benchmark; return the number of missed targets."""
    missed = [
        *_connector(),
        *_catalogue(),
        *_memory(),
        *_setup(),
        *_migrate(),
        *_large(),
        *_import(),
        *_queue(),
        *_records(),
        *_fleet(),
        *_api(),
    ]
    print()
    for miss in missed:
        print(f"MISSED {miss}")
    print(f"{len(missed)} missed" if missed else "every target is met")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
