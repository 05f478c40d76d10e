"""Tables are gathered until they are many rows or many bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from np6_source.extract import spool
from np6_source.extract.batches import (
    BYTES_AT_ONCE,
    FEWEST_BYTES,
    ROWS_AT_ONCE,
    GatheredTables,
)
from np6_source.extract.spool import LARGE_ROW
from tests.support import Warehouse, at, event


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


def test_tables_of_large_rows_are_taken_apart_and_those_of_few_are_not() -> None:
    gathered = GatheredTables()
    gathered.add("events", rows(100, 2 * LARGE_ROW))
    gathered.add("events", rows(100, 2 * LARGE_ROW))
    gathered.add("events__hits", rows(100_000, LARGE_ROW // 100))
    gathered.add("rejected_events", rows(FEWEST_BYTES // LARGE_ROW // 10, 2 * LARGE_ROW))

    assert [(name, taken.num_rows) for name, taken in gathered.take_large()] == [("events", 200)]
    assert len(list(gathered.flush())) == 2


@pytest.mark.parametrize("size", [1_000, 20_000, 100_000])
def test_large_rows_go_to_dlt_in_files_with_small_row_groups(
    warehouse: Warehouse,
    serve: Any,
    source_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    monkeypatch.setattr(spool, "BYTES_PER_GROUP", 1_000_000)
    count = 200
    made = [event(n, at("03-01") + n * 1_000, surprise="x" * size) for n in range(count)]
    sandbox = serve(made, now=at("03-03"))
    pipeline = warehouse.pipeline
    pipeline.extract(source_of(sandbox, "actions_events", window=3_600))
    folder = Path(pipeline.working_dir) / "normalize" / "extracted"
    files = [pq.ParquetFile(file) for file in folder.glob("*/new_jobs/events.*.parquet")]
    groups = [
        file.metadata.row_group(number) for file in files for number in range(file.num_row_groups)
    ]
    assert sum(group.num_rows for group in groups) == count
    if size > LARGE_ROW:
        assert all(group.num_rows * size <= spool.BYTES_PER_GROUP for group in groups)
        assert len(groups) >= count * size // spool.BYTES_PER_GROUP
    else:
        assert len(groups) == len(files) == 1
    assert list(Path(pipeline.working_dir, "np6_spool").iterdir()) == []
