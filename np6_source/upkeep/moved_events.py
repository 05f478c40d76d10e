"""Events that are in the tables twice, because NP6 gave them another timestamp.

It happens where ``timestamps_are_final`` is set and is not true: a merge then looks for earlier
rows in the increment's range of time only. Found after each load among the events of the load, and
removed by ``np6-source duplicates``: of each event the version requested last stays.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ..dataset_lock import TTurn, in_database_or_file
from ..errors import SettingError
from ..ledger import loaded_schema
from ..schema import EVENT_TABLES, EVENTS, LOAD_WINDOWS, REQUESTED_AT, TIMESTAMP
from ..tables.in_sql import column_in_sql, in_one_transaction, path_in_sql
from ..tables.naming import name_of

logger = logging.getLogger(__name__)

SETTING = "timestamps_are_final"


def warn_of_moved(pipeline: dlt.Pipeline, since: float) -> int:
    """Warns of events that are there twice; for after a load with ``timestamps_are_final``.

    It reads the ids of the whole table once, half a second per 10 million events on DuckDB.

    Args:
        pipeline: The pipeline that has loaded.
        since: When the load began, seconds since the epoch: events of packages since are looked at.

    Returns:
        How many.
    """
    names, schema = loaded_schema(pipeline, None)
    if not isinstance(pipeline.destination_client(*names), SqlJobClientBase):
        return 0
    with pipeline.sql_client(*names) as client:
        found = _counted(client, schema, since)
    if found:
        logger.warning(
            "events: %d %s of this load in the table twice, as NP6 has given another timestamp:"
            " %s=True does not hold for this account. Leave the setting out, and remove the earlier"
            " versions with `np6-source duplicates --yes`.",
            found,
            "event is" if found == 1 else "events are",
            SETTING,
        )
    return found


def count_moved(pipeline: dlt.Pipeline) -> int:
    """How many events are in the dataset more than once; changes nothing.

    Args:
        pipeline: The pipeline, in sync with its destination.

    Raises:
        SettingError: The destination has no rows that could be removed.
    """
    names, schema = loaded_schema(pipeline, None)
    with _sql(pipeline, *names) as client:
        return _counted(client, schema, None)


def remove_moved(pipeline: dlt.Pipeline, turn: TTurn = in_database_or_file) -> Mapping[str, int]:
    """Removes the earlier versions of events, from all tables, in one transaction.

    Args:
        pipeline: The pipeline, in sync with its destination.
        turn: Waits until this process may change the dataset.

    Returns:
        The rows that were removed, by table.

    Raises:
        SettingError: The destination has no rows that could be removed.
    """
    with turn(pipeline):
        names, schema = loaded_schema(pipeline, None)
        with _sql(pipeline, *names) as client, in_one_transaction(client):
            return _removed(client, schema)


def _removed(client: SqlClientBase[Any], schema: Schema) -> dict[str, int]:
    removed: dict[str, int] = {}
    earlier = _earlier_versions(client, schema)
    # The events last: the others are told by them.
    for table in (*(t for t in EVENT_TABLES if t is not EVENTS), EVENTS):
        if name_of(table, schema) not in schema.data_table_names():
            continue
        names = (table.key[0], TIMESTAMP.name)
        key, time = (column_in_sql(n, client, schema) for n in names)
        rows = f"{path_in_sql(table, client, schema)} WHERE ({key}, {time}) IN ({earlier})"
        ((count,),) = client.execute_sql(f"SELECT COUNT(*) FROM {rows}") or []
        if count:
            client.execute_sql(f"DELETE FROM {rows}")
            removed[table.name] = int(count)
    return removed


def _earlier_versions(client: SqlClientBase[Any], schema: Schema) -> str:
    """Id and timestamp of all versions of an event but that which was requested last, as SQL."""
    names = ("id", TIMESTAMP.name, REQUESTED_AT.name)
    key, time, requested = (column_in_sql(n, client, schema) for n in names)
    events = path_in_sql(EVENTS, client, schema)
    return (
        f"SELECT {key}, {time} FROM (SELECT {key}, {time}, ROW_NUMBER() OVER (PARTITION BY {key}"
        f" ORDER BY {requested} DESC, {time} DESC) AS np6_rank FROM {events} WHERE {key} IN"
        f" (SELECT {key} FROM {events} GROUP BY {key} HAVING COUNT(*) > 1)) np6_versions"
        " WHERE np6_rank > 1"
    )


def _counted(client: SqlClientBase[Any], schema: Schema, since: float | None) -> int:
    key, requested = (column_in_sql(n, client, schema) for n in ("id", "requested_at"))
    events, given, newest = path_in_sql(EVENTS, client, schema), [], ""
    if since is not None:
        # dlt 1.31 names packages by the second in which they begin.
        package = column_in_sql("_dlt_load_id", client, schema)
        first = (
            f"SELECT MIN({requested}) FROM {path_in_sql(LOAD_WINDOWS, client, schema)}"
            f" WHERE {package} >= %s"
        )
        newest = f" WHERE {key} IN (SELECT {key} FROM {events} WHERE {requested} >= ({first}))"
        given.append(str(since))
    query = (
        f"SELECT COUNT(*) FROM (SELECT {key} FROM {events}{newest} GROUP BY {key}"
        " HAVING COUNT(*) > 1) np6_twice"
    )
    try:
        ((count,),) = client.execute_sql(query, *given) or []
    except DatabaseUndefinedRelation:
        return 0
    return int(count or 0)


def _sql(pipeline: dlt.Pipeline, *names: str) -> SqlClientBase[Any]:
    if not isinstance(pipeline.destination_client(*names), SqlJobClientBase):
        raise SettingError(
            "duplicates: no rows can be removed from files. Read them with np6_source.deduplication"
        )
    return pipeline.sql_client(*names)
