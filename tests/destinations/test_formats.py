"""Loader file formats that change values are refused, whatever sets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import duck
from tests.destinations.stores import DATASET, PostgresStore, Store
from tests.support import at, event

ALL = "actions_events"
TMake = Callable[..., Any]


def into(folder: Path, destination: Any) -> dlt.Pipeline:
    return dlt.pipeline(
        "np6_test", destination=destination, dataset_name=DATASET, pipelines_dir=str(folder / "p")
    )


@pytest.fixture
def source(serve: TMake, make: TMake) -> Any:
    return make(serve([event(1, at("03-01"))], now=at("03-02")), ALL)()


def test_csv_for_postgres_in_the_call(
    make_store: Callable[[str], Store], source: Any, tmp_path: Path
) -> None:
    store = make_store("postgres")
    with pytest.raises(PipelineStepFailed, match=r"'csv' cannot be used with postgres: .* NULL"):
        into(tmp_path, store.destination).run(source, loader_file_format="csv")


def test_csv_for_postgres_in_the_destination(
    make_store: Callable[[str], Store], source: Any, tmp_path: Path
) -> None:
    store = make_store("postgres")
    assert isinstance(store, PostgresStore)
    source.resources[ALL].apply_hints(file_format="preferred")
    prefers = dlt.destinations.postgres(store.url, preferred_loader_file_format="csv")
    with pytest.raises(PipelineStepFailed, match=r"'csv' cannot be used with postgres"):
        into(tmp_path, prefers).run(source)


@pytest.mark.parametrize("destination", [dlt.destinations.duckdb, duck.duckdb])
def test_json_lines_for_duckdb_in_the_destination(
    source: Any, tmp_path: Path, destination: Any
) -> None:
    prefers = destination(str(tmp_path / "events.duckdb"), preferred_loader_file_format="jsonl")
    with pytest.raises(PipelineStepFailed, match=r"'jsonl' cannot be used with duckdb: .* UUID"):
        into(tmp_path, prefers).run(source)
