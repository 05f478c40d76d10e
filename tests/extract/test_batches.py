"""Tables are gathered until they are many rows or many bytes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from np6_source.extract.batches import BYTES_AT_ONCE, ROWS_AT_ONCE, GatheredTables


def rows(count: int, size: int) -> pa.Table:
    return pa.table({"id": ["x" * size] * count})


@pytest.mark.parametrize("size", [1_000, 20_000, 100_000])
def test_large_rows_are_handed_on_by_their_bytes(size: int) -> None:
    gathered = GatheredTables()
    added = 0
    while not gathered.is_enough:
        gathered.add("events", rows(10, size))
        added += 10 * size

    assert BYTES_AT_ONCE * 0.9 < added < BYTES_AT_ONCE + 11 * size


def test_small_rows_are_handed_on_by_their_number() -> None:
    gathered = GatheredTables()
    added = 0
    while not gathered.is_enough:
        gathered.add("events", rows(1_000, 10))
        added += 1_000

    assert added == ROWS_AT_ONCE


def test_what_was_handed_on_counts_no_more() -> None:
    gathered = GatheredTables()
    gathered.add("events", rows(1, BYTES_AT_ONCE))
    assert gathered.is_enough

    assert len(list(gathered.flush())) == 1

    assert not gathered.is_enough
    assert list(gathered.flush()) == []
