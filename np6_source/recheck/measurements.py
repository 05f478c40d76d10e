"""What the destination's table ``lateness`` has of all rechecks."""

from __future__ import annotations

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation

from ..schema import LATENESS
from ..tables.in_sql import column_in_sql, path_in_sql
from ..windows import DAY, to_ms
from .lateness import Measurement, Summary, summary

REMEMBERED_DAYS = 90
"""Days whose measurements the statements about lateness rest on."""


def measured(pipeline: dlt.Pipeline, schema_name: str, days: int) -> Summary:
    """What the table ``lateness`` says, of the last ``REMEMBERED_DAYS``.

    Args:
        pipeline: A pipeline into the dataset.
        schema_name: Name of the source.
        days: Up to which age days are read again.
    """
    schema = pipeline.schemas[schema_name]
    with pipeline.sql_client(schema_name) as client:
        table = path_in_sql(LATENESS, client, schema)
        packages = client.make_qualified_table_name(schema.loads_table_name)
        names = ("resource", "scope_id", "day", "age_days", "bucket", "late_events", "measured_at")
        column = {
            name: column_in_sql(name, client, schema)
            for name in (*names, "_dlt_load_id", "load_id", "status")
        }
        values = ", ".join(f"t.{column[name]}" for name in names)
        query = (
            f"SELECT {values} FROM {table} t JOIN {packages} p"
            f" ON p.{column['load_id']} = t.{column['_dlt_load_id']} WHERE p.{column['status']} = 0"
        )
        try:
            rows = client.execute_sql(query) or []
        except DatabaseUndefinedRelation:
            rows = []
    newest = max((to_ms(row[6]) for row in rows), default=0)
    return summary(
        (
            Measurement((row[0], row[1]), to_ms(row[2]), int(row[3] or 0), row[4], int(row[5] or 0))
            for row in rows
            if newest - to_ms(row[6]) <= REMEMBERED_DAYS * DAY
        ),
        days,
    )
