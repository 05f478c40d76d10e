"""PostgreSQL by binary COPY where the driver is there: exact, and no file without rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from np6_source.indexes import make_indexes
from np6_source.sandbox import sample_account
from tests.destinations.stores import DATASET, PostgresStore
from tests.support import at, event

ALL = "actions_events"
TMake = Callable[..., Any]

ODD = (
    "",
    "\\N",
    "\\",
    "\\.",
    "NULL",
    "null",
    '"',
    "'",
    "''",
    "a\tb",
    "a\nb",
    "a\r\nb",
    "\u2028",
    "é\U0001f600",
    "\u0001\u001f\u007f",
    "x" * 5_000,
    "{}",
    ",;|",
    " leading and trailing ",
    "%s $1 :name {0}",
)


def odd_event(number: int, text: str | None) -> Any:
    made = event(number, at("03-01") + number)
    made["source"]["detail"]["activation"]["recipient"] = text
    return made


@pytest.fixture
def store(make_store: Callable[[str], Any]) -> PostgresStore:
    store: PostgresStore = make_store("postgres")
    return store


def pipeline_of(store: PostgresStore, folder: Path, name: str = "np6_test") -> dlt.Pipeline:
    return dlt.pipeline(
        name,
        destination=store.destination,
        dataset_name=DATASET if name == "np6_test" else name,
        pipelines_dir=str(folder / name),
    )


def formats(pipeline: dlt.Pipeline) -> dict[str, set[str]]:
    """The formats of the files that the last run has loaded, by table."""
    found: dict[str, set[str]] = {}
    for package in pipeline.last_trace.last_load_info.load_packages:
        for job in package.jobs["completed_jobs"]:
            file = job.job_file_info
            if not file.table_name.startswith("_dlt") and file.file_format != "sql":
                found.setdefault(file.table_name, set()).add(file.file_format)
    return found


def recipients(store: PostgresStore, dataset: str = DATASET) -> list[Any]:
    _, rows = store.execute(f"SELECT recipient FROM {dataset}.events ORDER BY id")
    return [text for (text,) in rows]


@pytest.fixture
def odd(serve: TMake, make: TMake) -> Any:
    texts = [*ODD, None]
    made = (odd_event(number, text) for number, text in enumerate(texts))
    return make(serve(made, now=at("03-02")), ALL, start="2024-03-01", end="2024-03-01T12:00:00")


def test_odd_texts_and_null_arrive_as_they_are_in_both_ways(
    store: PostgresStore, tmp_path: Path, odd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = pipeline_of(store, tmp_path)
    for _ in range(2):
        copied.run(odd())
        assert formats(copied)["events"] == {"parquet"}
    assert recipients(store) == [*ODD, None]
    monkeypatch.setenv("DISABLE_ADBC_DETECTION", "true")
    inserted = pipeline_of(store, tmp_path, "inserted")
    inserted.run(odd())
    assert formats(inserted)["events"] == {"insert_values"}
    digest = "md5(string_agg((to_jsonb(e) - 'requested_at')::text, '|' ORDER BY id))"
    digests = [
        store.execute(f"SELECT {digest} FROM {dataset}.events e")[1]
        for dataset in (DATASET, "inserted")
    ]
    assert digests[0] == digests[1]


def test_tables_that_have_no_rows_yet_are_there_and_take_some_later(
    store: PostgresStore, tmp_path: Path, serve: TMake, make: TMake
) -> None:
    pipeline = pipeline_of(store, tmp_path)
    pipeline.run(make(serve([event(1, at("03-01"))], now=at("03-02")), ALL)())
    assert formats(pipeline)["events"] == {"parquet"}
    assert formats(pipeline)["events__hits"] == {"insert_values"}
    assert store.execute(f"SELECT count(*) FROM {DATASET}.events__hits")[1] == [(0,)]
    span = {"start": "2021-02-23", "end": "2021-06-15", "window": 86_400 * 365}
    both = make(serve(sample_account()), "actions_reactivities", ALL, **span)
    for _ in range(2):
        pipeline.run(both())
        assert formats(pipeline)["events__hits"] == {"parquet"}
    ((hits,),) = store.execute(f"SELECT count(*) FROM {DATASET}.events__hits")[1]
    assert hits > 0


def test_a_resource_without_events_does_not_spoil_anothers_file(
    store: PostgresStore, tmp_path: Path, serve: TMake, make: TMake
) -> None:
    """Both make the same tables, in one load package."""
    span = {"start": "2021-02-23", "end": "2021-06-15", "window": 86_400 * 365}
    names = ("display_events_activations", "actions_reactivities", ALL)
    pipeline = pipeline_of(store, tmp_path)
    pipeline.run(make(serve(sample_account()), *names, **span)())
    ((count,),) = store.execute(f"SELECT count(*) FROM {DATASET}.events")[1]
    assert count >= 9


def test_a_step_of_the_host_may_leave_nothing_of_a_table(
    store: PostgresStore, tmp_path: Path, odd: Any
) -> None:
    def nobody(rows: pa.Table, meta: Any = None) -> pa.Table:
        return rows.filter(pc.is_null(rows["id"])) if meta.table_name == "events" else rows

    source = odd()
    source.resources[ALL].add_map(nobody)
    pipeline = pipeline_of(store, tmp_path)
    pipeline.run(source)
    assert formats(pipeline)["events"] == {"insert_values"}
    assert recipients(store) == []


def test_indexes_are_made_on_request_once(store: PostgresStore, tmp_path: Path, odd: Any) -> None:
    pipeline = pipeline_of(store, tmp_path)
    pipeline.run(odd())
    made = make_indexes(pipeline)
    assert "events (id)" in made
    assert "events__hits (event_id)" in made
    assert make_indexes(pipeline) == []
    _, rows = store.execute(
        f"SELECT count(*) FROM pg_indexes WHERE schemaname = '{DATASET}'"
        " AND indexname LIKE 'np6\\_%'"
    )
    assert rows == [(len(made),)]
    pipeline.run(odd())
    assert recipients(store) == [*ODD, None]


def test_indexes_are_refused_where_there_are_none(warehouse: Any, odd: Any) -> None:
    pipeline = warehouse.run(odd())
    with pytest.raises(ValueError, match="duckdb needs no indexes"):
        make_indexes(pipeline)
