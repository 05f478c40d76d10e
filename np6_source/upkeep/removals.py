"""Rows that were removed by age: the table ``_np6_removals``, and the removing itself.

Ledger rows stay, for they hold no person: what was loaded and then removed is neither missing nor
there. Loads never ask for what lies before the cutoff, see ``settings.Retention``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ..bookkeeping.own_tables import REMOVALS
from ..dataset_lock import TTurn, duckdb_file, in_database_or_file
from ..destinations import kind_of_destination
from ..errors import SettingError
from ..ledger import loaded_schema
from ..persons.duckdb_file import rewrite
from ..persons.erasing import make_messages_anew
from ..schema import EVENT_TABLES, REJECTED_EVENTS, Table
from ..tables.in_sql import column_in_sql, in_one_transaction, path_in_sql
from ..views import forget_messages
from ..windows import to_datetime, to_ms

logger = logging.getLogger(__name__)

OUT_OF_REACH: Mapping[str, str] = {
    "duckdb": "copies and backups of the DuckDB file",
    "postgres": "dead rows until VACUUM FULL, the write-ahead log, replicas and backups",
}
"""What removing does not reach, by destination; of others time travel and snapshots."""


@dataclass(frozen=True)
class Removal:
    """What was, or would be, removed.

    Attributes:
        cutoff: Rows of events published before it, milliseconds since the epoch.
        rows: How many, by table.
    """

    cutoff: int
    rows: Mapping[str, int]


def to_remove(pipeline: dlt.Pipeline, cutoff: int) -> Removal:
    """What lies before a cutoff; changes nothing.

    Args:
        pipeline: The pipeline, in sync with its destination.
        cutoff: Milliseconds since the epoch.

    Raises:
        SettingError: Rows cannot be removed from the destination.
    """
    names, schema = loaded_schema(pipeline, None)
    with _sql(pipeline, *names) as client:
        rows = {}
        for table, column in _dated():
            path = path_in_sql(table, client, schema)
            name = column_in_sql(column, client, schema)
            try:
                ((count,),) = (
                    client.execute_sql(
                        f"SELECT count(*) FROM {path} WHERE {name} < %s", to_datetime(cutoff)
                    )
                    or []
                )
            except DatabaseUndefinedRelation:
                continue
            if count:
                rows[table.name] = int(count)
        return Removal(cutoff, rows)


def remove(
    pipeline: dlt.Pipeline,
    cutoff: int,
    turn: TTurn = in_database_or_file,
    once_a_day: bool = False,
) -> Removal:
    """Removes the rows of events published before a cutoff, and notes it, in one transaction.

    A DuckDB file is then written anew; ``messages``, where it is a table, is made anew.

    Args:
        pipeline: The pipeline, in sync with its destination.
        cutoff: Milliseconds since the epoch.
        turn: Waits until this process may change the dataset.
        once_a_day: Look for nothing where that cutoff, which moves once a day, was the last that
            was applied. Rows from before it that were loaded since wait for the next day then.

    Returns:
        What was removed.

    Raises:
        SettingError: Rows cannot be removed from the destination.
        RewritingFailed: The DuckDB file cannot be written anew; the next call does it.
    """
    with turn(pipeline):
        names, schema = loaded_schema(pipeline, None)
        with _sql(pipeline, *names) as client:
            applied, is_rewritten = _applied(client, schema)
        if once_a_day and is_rewritten and applied[-1:] == [cutoff]:
            return Removal(cutoff, {})
        # A longer span may have been kept meanwhile, and what lies before this cutoff be back.
        found = to_remove(pipeline, cutoff)
        is_new = cutoff > max(applied, default=cutoff - 1)
        if is_rewritten and not found.rows and not is_new:
            return found
        if found.rows or is_new:
            forget_messages(pipeline)
            with _sql(pipeline, *names) as client:
                _remove(client, schema, found)
        make_messages_anew(pipeline)
        _finish(pipeline, schema, names)
    return found


def _remove(client: SqlClientBase[Any], schema: Schema, removal: Removal) -> None:
    before = to_datetime(removal.cutoff)
    with in_one_transaction(client):
        client.execute_sql(REMOVALS.created(client, schema))
        for table, column in _dated():
            if table.name in removal.rows:
                path = path_in_sql(table, client, schema)
                name = column_in_sql(column, client, schema)
                client.execute_sql(f"DELETE FROM {path} WHERE {name} < %s", before)
        columns = ", ".join(
            REMOVALS.column(n, client, schema) for n in ("cutoff", "removed_at", "row_counts")
        )
        client.execute_sql(
            f"INSERT INTO {REMOVALS.path(client, schema)} ({columns}) VALUES (%s, %s, %s)",
            before,
            datetime.now(timezone.utc),
            json.dumps(removal.rows, sort_keys=True),
        )


def _finish(pipeline: dlt.Pipeline, schema: Schema, names: list[str]) -> None:
    """Has the old values leave the files too, as far as the destination lets it; last of all."""
    with _sql(pipeline, *names) as client:
        rewritten = REMOVALS.column("rewritten_at", client, schema)
        path = REMOVALS.path_in_copy(client, schema)
        done = f"SET {rewritten} = %s WHERE {rewritten} IS NULL"
        now = datetime.now(timezone.utc)
        if duckdb_file(pipeline) is None:
            client.execute_sql(f"UPDATE {REMOVALS.path(client, schema)} {done}", now)
            return
    moment = f"TIMESTAMPTZ '{now.isoformat()}'"
    rewrite(pipeline, [f"UPDATE {{}}.{path} {done.replace('%s', moment)}"])


def out_of_reach(pipeline: dlt.Pipeline) -> str:
    """What removing does not reach, in words."""
    return OUT_OF_REACH.get(kind_of_destination(pipeline), "time travel, fail-safe and snapshots")


def _dated() -> list[tuple[Table, str]]:
    """The tables whose rows have an age, and the column that tells it."""
    return [*((table, "timestamp") for table in EVENT_TABLES), (REJECTED_EVENTS, "window_end")]


def _applied(client: SqlClientBase[Any], schema: Schema) -> tuple[list[int], bool]:
    """The cutoffs that were applied, the last one last, and whether all are gone from the files."""
    cutoff, removed, rewritten = (
        REMOVALS.column(name, client, schema) for name in ("cutoff", "removed_at", "rewritten_at")
    )
    rows = REMOVALS.rows(client, schema, f"{cutoff}, {rewritten}", order=removed)
    return [to_ms(one) for one, _ in rows], all(moment is not None for _, moment in rows)


def _sql(pipeline: dlt.Pipeline, *names: str) -> SqlClientBase[Any]:
    """A connection to the dataset.

    Raises:
        SettingError: Rows cannot be removed from the destination.
    """
    if not isinstance(pipeline.destination_client(*names), SqlJobClientBase):
        raise SettingError(
            "retention: no rows can be removed from files. Loads do not ask for what is older; what"
            " is there has to be removed by the storage's own rules."
        )
    return pipeline.sql_client(*names)
