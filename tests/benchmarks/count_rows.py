"""Counts what a way has loaded: rows, and distinct ids. Run with the way's own DuckDB."""

from __future__ import annotations

import sys

import duckdb

database, table, id_expression = sys.argv[1:]
with duckdb.connect(database, read_only=True) as connection:
    counts = connection.execute(
        f"SELECT count(*), count(DISTINCT {id_expression}) FROM {table}"
    ).fetchone()
    assert counts is not None
    print(*counts)  # noqa: T201
