"""The merges' SQL, run by DuckDB on random rows, beside a merge in plain Python."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from np6_source.destinations import destination
from np6_source.schema import EVENTS, REQUESTED_AT
from np6_source.tables.merge import destination_scope
from np6_source.tables.merge_from_files import ROW_OF_FILE, FileMerge, how_rows_are_replaced

COLUMNS = ("id", "timestamp", "recipient", "channel", "requested_at")
ABSENT = {column.name for column in EVENTS.columns} - set(COLUMNS)
TRow = tuple[str, int, str | None, str | None, int]


def rows(chance: random.Random, first: int) -> list[TRow]:
    """Rows of a load; a moment of a request has one value of a column for each version."""
    return [
        (
            f"event-{chance.randrange(4)}",
            chance.randrange(2),
            chance.choice([None, f"recipient of {requested}"]),
            chance.choice([None, f"channel of {requested}"]),
            requested,
        )
        for requested in chance.sample(range(first, first + 12), chance.randrange(1, 8))
    ]


def merged(loads: Iterable[list[TRow]]) -> set[TRow]:
    """Per event the version requested last, each value that which was requested last."""
    found: dict[str, dict[int, TRow]] = {}
    for load in loads:
        for name in {row[0] for row in load}:
            there = list(found.get(name, {}).values())
            everything = there + [row for row in load if row[0] == name]
            newest = max(everything, key=lambda row: row[4])
            found[name] = {newest[1]: _completed([r for r in everything if r[1] == newest[1]])}
    return {row for versions in found.values() for row in versions.values()}


def _completed(version: list[TRow]) -> TRow:
    by_time = sorted(version, key=lambda row: -row[4])
    recipient, channel = (next((r[n] for r in by_time if r[n]), None) for n in (2, 3))
    return (by_time[0][0], by_time[0][1], recipient, channel, by_time[0][4])


class Database:
    """A table into which loads are merged, directly from files or by way of staging."""

    def __init__(self, folder: Path, way: str, timestamps_are_final: bool) -> None:
        self.way, self.final, self.file = way, timestamps_are_final, folder / "rows.parquet"
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        for table in ("events", "staged"):
            self.connection.execute(
                f"CREATE TABLE {table} (id VARCHAR, timestamp TIMESTAMPTZ, recipient VARCHAR,"
                " channel VARCHAR, requested_at TIMESTAMPTZ)"
            )

    def merge(self, load: list[TRow]) -> None:
        """Merges a load; moments are days and minutes, so that no clock's noise is in play."""
        self.connection.execute("DELETE FROM staged")
        for name, day, recipient, channel, minute in load:
            self.connection.execute(
                "INSERT INTO staged VALUES (?, TIMESTAMPTZ '2024-03-01' + to_days(?), ?, ?,"
                " TIMESTAMPTZ '2024-03-09' + to_minutes(?))",
                [name, day, recipient, channel, minute],
            )
        for statement in self._directly() if self.way == "direct" else self._from_staging():
            self.connection.execute(statement)

    def _directly(self) -> list[str]:
        self.connection.execute(f"COPY staged TO '{self.file}' (FORMAT parquet)")
        file, number = ROW_OF_FILE
        merge = FileMerge(
            source=f"read_parquet('{self.file}', filename = '{file}', {number} = true)",
            target="events",
            key=["id"],
            columns=COLUMNS,
            aside="np6_x",
            **how_rows_are_replaced(EVENTS, destination("duckdb"), self.final),
        )
        return merge.statements()

    def _from_staging(self) -> list[str]:
        scope = destination_scope(EVENTS, destination("duckdb"), self.final, absent=ABSENT)
        # As dlt 1.31 puts them together.
        names = ", ".join(COLUMNS)
        insert = (
            f"INSERT INTO events ({names}) SELECT {names} FROM (SELECT row_number() OVER (PARTITION"
            f" BY id ORDER BY {REQUESTED_AT.name} DESC) AS _dlt_dedup_rn, {names} FROM staged)"
            " WHERE _dlt_dedup_rn = 1"
        )
        delete = f"DELETE FROM {{table}} WHERE {scope}".format(
            table="events", staging_table="staged"
        )
        return [*delete.split("; "), insert]

    def rows(self) -> list[Any]:
        return self.connection.sql(
            "SELECT id, date_diff('day', TIMESTAMPTZ '2024-03-01', timestamp), recipient, channel,"
            " date_diff('minute', TIMESTAMPTZ '2024-03-09', requested_at) FROM events"
        ).fetchall()


@pytest.mark.parametrize("way", ["direct", "staged"])
@pytest.mark.parametrize("seed", range(20))
def test_a_merge_leaves_what_all_operations_said_of_the_newest_version(
    tmp_path: Path, way: str, seed: int
) -> None:
    chance = random.Random(seed)
    # Loads in the order of their requests, and some that were requested before others.
    firsts = [12 * n for n in range(4)]
    if seed % 2:
        chance.shuffle(firsts)
    loads = [rows(chance, first) for first in firsts]
    database = Database(tmp_path, way, timestamps_are_final=False)
    for load in loads:
        database.merge(load)
    found = database.rows()
    assert len(found) == len({row[0] for row in found})
    if seed % 2 == 0:
        assert set(found) == merged(loads)
    else:
        # Values that disagree are kept as they come; versions and moments are the newest.
        expected = merged(loads)
        assert {(r[0], r[1], r[4]) for r in found} == {(r[0], r[1], r[4]) for r in expected}
        known = {(r[0], r[2] is None, r[3] is None) for r in expected}
        assert {(r[0], r[2] is None, r[3] is None) for r in found} == known
