"""Indexes for the tables, where a destination finds rows by them: PostgreSQL.

A merge looks for the rows of the new events' ids, the view and the table ``messages`` for the
events of a message. Without an index both read the whole table. dlt makes none for Arrow tables
(dlt 1.31).
"""

from __future__ import annotations

import zlib

import dlt

from .destinations import kind_of_destination
from .errors import SettingError
from .schema import EVENTS, TABLES, Table
from .tables.naming import filled, name_of

BY_MESSAGE = ("message_id", "timestamp")
"""Columns of ``events`` beside its key: what happened to a message, and when."""


def make_indexes(pipeline: dlt.Pipeline, source: str | None = None) -> list[str]:
    """Makes the indexes that are not there yet. PostgreSQL blocks writers meanwhile, not readers.

    Args:
        pipeline: A pipeline that has loaded, into PostgreSQL.
        source: Name of its source's schema; None: the pipeline's default.

    Returns:
        What was made: ``events (id)``.

    Raises:
        SettingError: The destination needs none.
    """
    kind = kind_of_destination(pipeline)
    if kind != "postgres":
        raise SettingError(f"{kind or 'A pipeline without destination'} needs no indexes")
    schema = pipeline.schemas[source] if source else pipeline.default_schema
    there = set(filled(schema))
    made = []
    with pipeline.sql_client(schema.name) as client:
        for table in TABLES:
            name = name_of(table, schema)
            if name not in there:
                continue
            for column in _indexed(table):
                stored = schema.naming.normalize_path(column)
                index = f"np6_{zlib.crc32(f'{name}.{stored}'.encode()):08x}"
                known = client.execute_sql(
                    "SELECT 1 FROM pg_indexes WHERE schemaname = %s AND indexname = %s",
                    client.dataset_name,
                    index,
                )
                if known:
                    continue
                client.execute_sql(
                    f"CREATE INDEX IF NOT EXISTS {client.escape_column_name(index)}"
                    f" ON {client.make_qualified_table_name(name)}"
                    f" ({client.escape_column_name(stored)})"
                )
                made.append(f"{name} ({stored})")
    return made


def _indexed(table: Table) -> tuple[str, ...]:
    """The columns of a table that are worth an index each."""
    if table.disposition != "merge":
        return ()
    first = table.replaced_by or table.key[0]
    return (first, *BY_MESSAGE) if table is EVENTS else (first,)
