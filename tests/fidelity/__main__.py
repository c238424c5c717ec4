"""`python -m tests.fidelity`: compare what is discovered of an Odoo with what its database and its server say.

Exit status: 0 without differences, 1 with some, 2 where they cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, NoReturn

import psycopg2
from pydantic import SecretStr

from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import OdooConnection
from fbs_worker.domains import domain_names, load_domain
from tests.fidelity.database import opened
from tests.fidelity.sections import SECTIONS, Comparison, Outcome
from tests.fidelity.views import Server


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; what it lacks comes from the environment.

    The Odoo is that of `ODOO_URL`, `ODOO_DB`, …, else the one that `live-odoo start` printed; its database is that of
    libpq's variables (`PGHOST`, `PGDATABASE`, …), else the live one's.
    """
    prefix = "ODOO" if os.environ.get("ODOO_URL") else "FBS_LIVE"

    def known(name: str, default: str = "") -> str:
        return os.environ.get(f"{prefix}_{name}", default)

    host = os.environ.get("FBS_LIVE_SQL_HOST")
    live = f"host={host} user=odoo dbname={known('DB')}" if host and prefix == "FBS_LIVE" else ""
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity", description=__doc__)
    parser.add_argument("--url", default=known("URL"), help="of Odoo (ODOO_URL)")
    parser.add_argument("--db", default=known("DB"), help="Odoo's database (ODOO_DB)")
    parser.add_argument(
        "--user", default=known("USER", "admin"), help="a login, for the views one with Settings (ODOO_USER)"
    )
    parser.add_argument("--password", default=known("PASSWORD"), help="better in ODOO_PASSWORD")
    parser.add_argument(
        "--api-key", default=known("API_KEY") if prefix == "ODOO" else "", help="better in ODOO_API_KEY"
    )
    parser.add_argument("--protocol", default=known("PROTOCOL", "auto"), choices=("auto", "odoorpc", "json2"))
    parser.add_argument(
        "--sql", default=live, help="DSN of that database, for reading (PGHOST, PGDATABASE, … of libpq)"
    )
    parser.add_argument("--domain", action="append", choices=domain_names(), help="by default all")
    parser.add_argument("--section", action="append", choices=tuple(SECTIONS), help="by default all")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(given)


def compare(options: argparse.Namespace) -> dict[str, Outcome]:
    """The outcome of each section, over all domains."""
    secret: dict[str, Any] = (
        {"api_key": SecretStr(options.api_key)} if options.api_key else {"password": SecretStr(options.password)}
    )
    connection = OdooConnection(
        url=options.url, db=options.db, user=options.user, protocol=options.protocol, timeout=600, **secret
    )
    transport = open_transport(connection)
    total: dict[str, Outcome] = {}
    try:
        with opened(options.sql) as database:
            server = Server(transport)
            for name in options.domain or domain_names():
                domain = load_domain(name)
                snapshot = OdooConnector(transport).read(domain)
                outcomes = Comparison(snapshot, domain, database, server, options.user).run(options.section or ())
                for section, outcome in outcomes.items():
                    total.setdefault(section, Outcome(section=section)).add(outcome)
    finally:
        transport.close()
    return total


def report(outcomes: dict[str, Outcome]) -> str:
    """The outcomes as text."""
    lines = []
    for outcome in outcomes.values():
        if outcome.denied:
            lines.append(f"{outcome.section}: denied, needs {outcome.denied}")
            continue
        lines.append(f"{outcome.section}: {outcome.equal:,} of {outcome.compared:,} equal")
        lines += [f"  ≠ {difference}" for difference in dict.fromkeys(outcome.differences)]
        for reason, names in outcome.exceptions.items():
            lines.append(f"  {len(set(names))} times {reason}: {', '.join(sorted(set(names)))}")
        lines += [f"  ({count} times {note})" for note, count in outcome.notes.items()]
    return "\n".join(lines)


def fail(message: str) -> NoReturn:
    """End, since nothing can be compared."""
    print(message.strip(), file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Run the command."""
    options = arguments()
    if not (options.url and (options.sql or os.environ.keys() & {"PGDATABASE", "PGSERVICE"})):
        fail("Name an Odoo (ODOO_URL, ODOO_DB, ODOO_USER, ODOO_PASSWORD) and its database (PGHOST, PGDATABASE, …).")
    try:
        outcomes = compare(options)
    except FBSError as error:
        fail(f"{error} {error.hint}")
    except psycopg2.OperationalError as error:
        fail(f"Odoo's own database cannot be read: {error}")
    if options.json:
        print(json.dumps({name: outcome.to_dict() for name, outcome in outcomes.items()}, indent=2))
    else:
        print(report(outcomes))
    sys.exit(any(outcome.differences for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
