"""Reads each row once from tables that hold some rows several times.

dlt appends to plain files on its filesystem destination (dlt 1.31): they hold a row once for every
time it was loaded, and rows of ``events__execution_data`` that only say that an event has no keys
any more. ``latest`` returns the rows that a database would have.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlglot

from .schema import EVENT_TABLES, LOAD_WINDOWS, TIMESTAMP, TOMBSTONE, Table
from .tables.merge import filled_columns


def latest(table: Table, rows: str, dialect: str = "duckdb") -> str:
    """A query for a table's rows, each key once: of several rows the one requested last.

    Where that has no value, it takes one that another row has with the same key and ``timestamp``:
    operations tell more or less about an event. Personal data is not taken: rows of before a policy
    may have it.

    Args:
        table: The table, of ``np6_source.schema``.
        rows: Where its rows are: a table's name, or a function like ``read_parquet('…')``.
        dialect: The dialect of the query, by sqlglot's name: ``duckdb``, ``postgres``,
            ``bigquery`` …
            Names are quoted in lower case, which Snowflake takes literally.
    """
    columns = _joined(column.name for column in table.columns)
    ranks = [f"row_number() OVER ({_newest_first(table.key)}) AS np6_rank"]
    condition = "np6_rank = 1"
    if table.replaced_by:
        ranks.append(f"rank() OVER ({_newest_first((table.replaced_by,))}) AS np6_version")
        condition += " AND np6_version = 1"
        condition += f" AND {TOMBSTONE.column} IS DISTINCT FROM '{TOMBSTONE.value}'"
    filled = filled_columns(table, [c.name for c in table.columns if c.personal != "no"])
    same = f"PARTITION BY {_joined((*table.key, TIMESTAMP.name))}"
    values = ", ".join(
        f'COALESCE("{name}", MAX("{name}") OVER ({same})) AS "{name}"'
        if name in filled
        else f'"{name}"'
        for name in (column.name for column in table.columns)
    )
    query = (
        f"SELECT {columns} FROM (SELECT {values}, {', '.join(ranks)} FROM {rows}) AS np6_rows"
        f" WHERE {condition}"
    )
    return sqlglot.transpile(query, read="duckdb", write=dialect)[0]


def parquet_views(dataset: str) -> list[str]:
    """DuckDB statements that make a view of every table over plain Parquet files.

    Each view has the table's rows once. ``load_windows`` leaves out the windows of loads that
    never completed, whose events may not be there.

    Args:
        dataset: Folder or URL of the dataset, ``BUCKET_URL/DATASET_NAME``, with dlt's default
            layout of files.
    """
    folder = dataset.rstrip("/").replace("'", "''")

    def files(name: str) -> str:
        return f"read_parquet('{folder}/{name}/*.parquet', union_by_name = true)"

    views = [
        f"CREATE OR REPLACE VIEW {table.name} AS {latest(table, files(table.name))}"
        for table in EVENT_TABLES
    ]
    loads = f"read_json('{folder}/_dlt_loads/*.jsonl', columns = {{load_id: 'VARCHAR'}})"
    views.append(
        f"CREATE OR REPLACE VIEW {LOAD_WINDOWS.name} AS"
        f" {latest(LOAD_WINDOWS, files(LOAD_WINDOWS.name))}"
        f" AND _dlt_load_id IN (SELECT load_id FROM {loads})"
    )
    return views


def _joined(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _newest_first(key: tuple[str, ...]) -> str:
    return f"PARTITION BY {_joined(key)} ORDER BY requested_at DESC"
