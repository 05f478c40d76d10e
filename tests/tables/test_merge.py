"""DuckDB's statements that merge straight from files, beside what they must do."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from np6_source.duck import _rows_of
from np6_source.schema import TOMBSTONE
from np6_source.tables.merge import statements_from
from np6_source.windows import to_datetime

NOISE = 5
COLUMNS = ("event_id", "key", "timestamp", "requested_at", "value", TOMBSTONE.column)
TRow = tuple[str, str, int, int, int, str | None]
"""Event, key of the row in it, two moments in seconds, a number that tells rows apart, a mark."""


def table_of(rows: list[TRow]) -> pa.Table:
    values = [
        (event, key, to_datetime(time * 1000), to_datetime(asked * 1000), value, mark)
        for event, key, time, asked, value, mark in rows
    ]
    return pa.table(
        dict(zip(COLUMNS, map(list, zip(*values, strict=True)), strict=True))
        if values
        else {name: [] for name in COLUMNS},
        schema=pa.schema(
            {
                "event_id": pa.string(),
                "key": pa.string(),
                "timestamp": pa.timestamp("us", "UTC"),
                "requested_at": pa.timestamp("us", "UTC"),
                "value": pa.int64(),
                TOMBSTONE.column: pa.string(),
            }
        ),
    )


def expected(there: list[TRow], new: list[TRow]) -> list[TRow]:
    """What a merge leaves: rows go by their event, and newer ones stay."""
    newest = {event: max(row[3] for row in there if row[0] == event) for event, *_ in there}
    taken = [row for row in new if row[3] + NOISE >= newest.get(row[0], row[3])]
    latest = {}
    for row in sorted(taken, key=lambda row: row[3]):
        latest[row[:2]] = row
    kept = [row for row in there if row[0] not in {event for event, *_ in taken}]
    return sorted([*kept, *(r for r in latest.values() if r[5] != TOMBSTONE.value)], key=str)


@pytest.mark.parametrize("seed", range(40))
def test_a_merge_from_files_leaves_what_is_newest(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def row(value: int, most: int) -> TRow:
        event = chance.randrange(12)
        # An event's time is final; each version is requested at a moment of its own.
        mark = chance.choice([None, None, TOMBSTONE.value])
        asked = chance.randrange(0, most) * 1000 + value
        return f"e{event}", chance.choice("ab"), event * 100, asked, value, mark

    there = expected([], [row(n, 3) for n in range(chance.randrange(20))])
    new = [row(100 + n, 6) for n in range(chance.randrange(1, 30))]
    half = chance.randrange(len(new) + 1)
    files = []
    for part in (new[:half], new[half:]):
        files.append(str(tmp_path / f"{len(files)}.parquet"))
        pq.write_table(table_of(part), files[-1], row_group_size=4)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("there", table_of(there))
        connection.execute("CREATE TABLE rows_of_events AS SELECT * FROM there")
        for statement in statements_from(
            _rows_of(files),
            "rows_of_events",
            key=["event_id", "key"],
            by=["event_id"],
            in_range_of_time=chance.random() < 0.5,
            tombstones=True,
            left_out="left_out",
        ):
            connection.execute(statement)
        found = connection.execute(
            "SELECT event_id, key, epoch(timestamp)::BIGINT, epoch(requested_at)::BIGINT, value,"
            f" {TOMBSTONE.column} FROM rows_of_events"
        ).fetchall()
    assert sorted(found, key=str) == expected(there, new)
