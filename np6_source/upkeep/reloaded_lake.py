"""Whether a reload of a lake has read again what the lake holds.

Nothing is removed from files, so that no event is gone. But an outage in which NP6 returns too few
events also hides what is new since the last load, and the reload has moved the progress past it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dlt
import duckdb
from dlt.common.schema import Schema
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

from ..destinations import CLOCK_NOISE
from ..open_tables.columns import read_columns
from ..schema import EVENTS, LOAD_WINDOWS, Table
from ..tables.naming import name_of
from ..windows import to_datetime

TDays = Mapping[str, tuple[int, int]]
"""How many events of a UTC day were not read again, and how many there are."""


def not_read_again(pipeline: dlt.Pipeline, source: str, intent: Mapping[str, Any]) -> TDays:
    """Counts events that requests over the account have returned before, and not in the reload.

    Events by an id may not have been asked for. An event's row has the moment of the request that
    brought it last, as has the row of ``load_windows`` that proves the window. Of a load beside the
    reload, which was requested a moment before and merged after it, the rows are in place of the
    reload's.

    Args:
        pipeline: The pipeline, whose destination has files.
        source: Name of the source.
        intent: What ``reloading.begin_reload`` has noted.
    """
    schema = pipeline.schemas[source]
    with (
        pipeline.destination_client(source) as client,
        duckdb.connect(config={"memory_limit": "300MB", "threads": 1}) as connection,
    ):
        if not isinstance(client, FilesystemClient):
            return {}
        connection.execute("SET TimeZone = 'UTC'")
        of_windows = ("resource", "scope_id", "requested_at", "_dlt_load_id")
        of_events = ("id", "timestamp", "requested_at")
        if not _copy(connection, client, schema, LOAD_WINDOWS, of_windows) or not _copy(
            connection, client, schema, EVENTS, of_events
        ):
            return {}
        rows = connection.execute(
            f"""
            WITH
                again AS (
                    SELECT DISTINCT requested_at FROM load_windows
                    WHERE list_contains($packages, _dlt_load_id)
                ),
                before AS (
                    SELECT DISTINCT requested_at FROM load_windows
                    WHERE coalesce(scope_id, '') = ''
                        AND list_contains($resources, resource)
                        AND requested_at + {CLOCK_NOISE}
                            < coalesce((SELECT min(requested_at) FROM again), $began)
                ),
                newest AS (
                    SELECT max_by("timestamp", requested_at) AS "timestamp",
                        max(requested_at) AS requested_at
                    FROM events GROUP BY id
                )
            SELECT
                strftime("timestamp", '%Y-%m-%d') AS day,
                count(*) FILTER (
                    WHERE requested_at IN (FROM before) AND requested_at NOT IN (FROM again)
                ),
                count(*)
            FROM newest WHERE "timestamp" >= $start GROUP BY day ORDER BY day
            """,
            {
                "packages": list(intent["packages"]),
                "resources": list(intent["resources"]),
                "began": to_datetime(intent["began"]),
                "start": to_datetime(intent["start"] or 0),
            },
        ).fetchall()
    return {day: (lacking, there) for day, lacking, there in rows}


def _copy(
    connection: duckdb.DuckDBPyConnection,
    client: FilesystemClient,
    schema: Schema,
    table: Table,
    columns: tuple[str, ...],
) -> bool:
    """Copies columns of a table into a temporary one, under its own name; False: it is not there.

    A reader can be scanned once; DuckDB's own table goes to disk where memory ends.
    """
    named = {column: schema.naming.normalize_path(column) for column in columns}
    rows = read_columns(client, name_of(table, schema), list(named.values()))
    if rows is None:
        return False
    connection.register("read", rows)
    values = ", ".join(f'"{name}" AS "{column}"' for column, name in named.items())
    connection.execute(f"CREATE TEMP TABLE {table.name} AS SELECT {values} FROM read")
    connection.unregister("read")
    return True
