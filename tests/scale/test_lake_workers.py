"""Several processes load parts of a backfill into the same Delta tables."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from np6_source.open_tables.jobs import until_committed
from np6_source.parts import plan_parts
from np6_source.sandbox import Sandbox, generated_account
from np6_source.schema import EVENT_TABLES
from tests.scale.part_workers import Job, load, while_making_table

pytestmark = [pytest.mark.destinations, pytest.mark.timeout(300)]

START = datetime(2024, 3, 1, tzinfo=timezone.utc)
END = START + timedelta(days=8)
TMake = Callable[..., Any]


@pytest.fixture
def sandbox(serve: TMake) -> Sandbox:
    sandbox: Sandbox = serve(generated_account(events=2_000, seed=5, start=START, end=END))
    return sandbox


@pytest.fixture
def job_in(sandbox: Sandbox, tmp_path: Path) -> Callable[[str], Job]:
    def job_in(dataset: str) -> Job:
        options = {"api_key": sandbox.key, "base_url": sandbox.url, "table_format": "delta"}
        return Job(("lake", str(tmp_path / "lake")), dataset, options)

    return job_in


def contents(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Every event table, row by row, without the time of asking."""
    import deltalake

    tables = {}
    for table in EVENT_TABLES:
        rows = deltalake.DeltaTable(str(folder / table.name)).to_pyarrow_table().to_pylist()
        for row in rows:
            del row["requested_at"]
        tables[table.name] = sorted(rows, key=lambda row: [row[name] for name in table.key])
    return tables


def test_parts_at_once_in_any_order_and_twice_give_what_one_load_gives(
    job_in: Callable[[str], Job], workers: ProcessPoolExecutor, tmp_path: Path
) -> None:
    # The tables are made by parts that run at once, too.
    parts = [part.to_json() for part in plan_parts(START, END, timedelta(days=2))]
    order = [*parts, *parts[:2]]
    random.Random(7).shuffle(order)
    for future in [workers.submit(load, job_in("many"), part) for part in order]:
        future.result()
    (whole,) = plan_parts(START, END)
    workers.submit(load, job_in("one"), whole.to_json()).result()
    assert contents(tmp_path / "lake" / "many") == contents(tmp_path / "lake" / "one")
    assert len(contents(tmp_path / "lake" / "one")["events"]) > 1_500


def test_two_that_make_a_table_at_once_put_every_event_in_once(
    job_in: Callable[[str], Job],
    process: TMake,
    in_own_folder: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # One table after the other, so that the other process finds events not made yet.
    monkeypatch.setenv("LOAD__WORKERS", "1")
    (part,) = (part.to_json() for part in plan_parts(START, START + timedelta(days=2)))
    exit_codes = []

    def let_the_other_load() -> None:
        other = process(load, job_in("both"), part)
        other.join()
        exit_codes.append(other.exitcode)

    with while_making_table("events", let_the_other_load):
        load(job_in("both"), part)
    assert exit_codes == [0]
    ids = [row["id"] for row in contents(tmp_path / "lake" / "both")["events"]]
    assert len(ids) > 100
    assert len(ids) == len(set(ids))


def test_a_merge_that_other_commits_come_before_is_tried_until_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import deltalake
    import pyarrow as pa
    from deltalake.exceptions import CommitFailedError

    def rows(value: str) -> pa.Table:
        return pa.table({"id": ["a"], "value": [value]})

    def merge_into(table: deltalake.DeltaTable, value: str) -> None:
        merging = table.merge(rows(value), "t.id = s.id", source_alias="s", target_alias="t")
        merging.when_matched_update_all().execute()

    folder = str(tmp_path / "table")
    deltalake.write_deltalake(folder, rows("first"))
    others = ["second", "third", "fourth"]
    refused = 0

    def merge() -> None:
        nonlocal refused
        table = deltalake.DeltaTable(folder)
        if others:
            merge_into(deltalake.DeltaTable(folder), others.pop(0))
        try:
            merge_into(table, "last")
        except CommitFailedError:
            refused += 1
            raise

    monkeypatch.setattr("np6_source.open_tables.jobs.LONGEST_WAIT", 0.0)
    until_committed(merge, CommitFailedError)
    assert refused == 3
    assert deltalake.DeltaTable(folder).to_pyarrow_table().to_pylist() == [
        {"id": "a", "value": "last"}
    ]
