"""A solution's schedule in its row: `schema_definition["schedule"]`.

Jobs write whole rows, from what they read when they began; the schedule in a row is none of their business
(`registry_rows` keeps it), so that one which is set while a long refresh runs stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.copy_rows import to_json
from fbs_worker.schema.system_tables import table_exists
from fbs_worker.solutions.records import OWN_MARK, SCHEDULE


def write_schedule(
    cursor: Cursor, table: str, name: str, schedule: Mapping[str, str] | None, *, own: bool = False
) -> bool:
    """Write a solution's schedule into its row; what is so already is not written again.

    Args:
        cursor: in a transaction.
        table: the table's name.
        name: the solution's.
        schedule: `Schedule.to_dict`; None to end it.
        own: only if the row speaks of the database that it lies in.

    Returns:
        Whether there is such a row.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    if not table_exists(cursor.connection, table):
        return False
    cursor.execute(
        sql.SQL(
            "SELECT schema_definition FROM {}"
            " WHERE solution_name = %s AND (NOT %s OR schema_definition @> %s) FOR UPDATE"
        ).format(sql.Identifier(table)),
        (name, own, OWN_MARK),
    )
    row = cursor.fetchone()
    if row is None:
        return False
    before = row[0] or {}
    after = {key: value for key, value in before.items() if key != SCHEDULE}
    if schedule is not None:
        after[SCHEDULE] = dict(schedule)
    if after != before:
        cursor.execute(
            sql.SQL(
                "UPDATE {} SET schema_definition = %s, updated_at = NOW() AT TIME ZONE 'UTC' WHERE solution_name = %s"
            ).format(sql.Identifier(table)),
            (to_json(after).decode(), name),
        )
    return True
