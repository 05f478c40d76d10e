"""DuckDB without a staging dataset: a pipeline changes to it and back, and loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest

from np6_source import duck
from np6_source.loading import load
from np6_source.windows import SECOND
from tests.support import at, event

ALL = "actions_events"
DAY = 24 * 3600 * SECOND
TMake = Callable[..., Any]
FIFTY = [event(n, at("03-01T12:00") + n, type="hit") for n in range(50)]
PLAIN, DIRECT = dlt.destinations.duckdb, duck.duckdb


def pipeline(folder: Path, destination: Any) -> dlt.Pipeline:
    return dlt.pipeline(
        "np6_test",
        destination=destination(str(folder / "events.duckdb")),
        dataset_name="np6",
        pipelines_dir=str(folder / "pipelines"),
    )


def ids(folder: Path, table: str = "events", column: str = "id") -> list[str]:
    with duckdb.connect(str(folder / "events.duckdb")) as connection:
        return [
            found
            for (found,) in connection.sql(
                f"SELECT {column} FROM np6.{table} ORDER BY ALL"
            ).fetchall()
        ]


def datasets(folder: Path) -> set[str]:
    with duckdb.connect(str(folder / "events.duckdb")) as connection:
        found = connection.sql("SELECT DISTINCT schema_name FROM duckdb_tables()").fetchall()
        return {name for (name,) in found}


EXPECTED = [f"event-{n:05d}" for n in range(50)]


def test_it_has_no_staging_dataset(tmp_path: Path, serve: TMake, make: TMake) -> None:
    load(pipeline(tmp_path, DIRECT), make(serve(FIFTY, now=at("03-02")), ALL))
    assert datasets(tmp_path) == {"np6"}
    assert ids(tmp_path) == ids(tmp_path, "events__hits", "event_id") == EXPECTED


def test_a_pipeline_changes_to_it_and_back(tmp_path: Path, serve: TMake, make: TMake) -> None:
    events = [event(n, at("03-01T12:00") + n * DAY // 10, type="hit") for n in range(50)]
    sandbox = serve(events, now=at("03-02"))
    for day, destination in enumerate((PLAIN, DIRECT, PLAIN, DIRECT)):
        sandbox.now = at(f"03-0{2 * day + 2}T12:30")
        made = pipeline(tmp_path, destination)
        load(made, lambda: make(sandbox, ALL)(overlap=24 * 3600))
        assert made.destination.destination_name == "duckdb"
    assert ids(tmp_path) == ids(tmp_path, "events__hits", "event_id") == EXPECTED


@pytest.mark.parametrize(("first", "second"), [(PLAIN, DIRECT), (DIRECT, PLAIN)])
def test_what_one_left_behind_the_other_loads(
    tmp_path: Path, serve: TMake, make: TMake, first: Any, second: Any
) -> None:
    make_source = make(serve(FIFTY, now=at("03-02")), ALL)
    begun = pipeline(tmp_path, first)
    begun.extract(make_source())
    begun.normalize()
    load(pipeline(tmp_path, second), make_source)
    assert ids(tmp_path) == EXPECTED


def test_what_it_has_half_done_is_extracted_again_for_the_other(
    tmp_path: Path, serve: TMake, make: TMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two operations that return the same events: two files of a table.
    make_source = make(serve(FIFTY, now=at("03-02")), ALL, "actions_reactivities")
    monkeypatch.setenv("DATA_WRITER__FILE_MAX_ITEMS", "10")
    monkeypatch.setenv("EXTRACT__DATA_WRITER__BUFFER_MAX_ITEMS", "10")
    begun = pipeline(tmp_path, DIRECT)
    begun.extract(make_source())
    begun.normalize()
    (load_id,) = begun.list_normalized_load_packages()
    normalized = tmp_path / "pipelines" / "np6_test" / "load" / "normalized" / load_id
    files = sorted((normalized / "new_jobs").glob("events.*.parquet"))
    assert len(files) > 1
    # A kill after some files of a table were done, and none was in work.
    held = tmp_path / files[0].name
    files[0].rename(held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duck.DirectClient, "_merge", interrupted)
        with pytest.raises(Exception, match="interrupted"):
            begun.load()
    held.rename(files[0])
    for file in (normalized / "started_jobs").iterdir():
        file.rename(normalized / "new_jobs" / file.name)
    load(pipeline(tmp_path, PLAIN), make_source)
    assert ids(tmp_path) == EXPECTED


def interrupted(*_: Any) -> Any:
    raise RuntimeError("interrupted")


@pytest.mark.parametrize("name", ["a;b", "[a]*?", "line\nbreak", "sep\u2028"])
def test_files_may_lie_in_any_folder(tmp_path: Path, serve: TMake, make: TMake, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    made = dlt.pipeline(
        "np6_test",
        destination=duck.duckdb(str(tmp_path / "events.duckdb")),
        dataset_name="np6",
        pipelines_dir=str(folder),
    )
    made.run(make(serve(FIFTY, now=at("03-02")), ALL)())
    assert ids(tmp_path) == EXPECTED
