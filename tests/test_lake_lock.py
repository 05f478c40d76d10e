"""Iceberg tables in a local folder: one pipeline after the other, with a wait that ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pytest

from np6_source.dataset_lock import DatasetBusy, Patience, in_database_or_file
from np6_source.lake import filesystem
from tests.cli.test_open_file import LOCKS, another_process
from tests.support import at, event

TMake = Callable[..., Any]


@pytest.fixture(params=["iceberg", "delta"])
def lake(request: Any, tmp_path: Path, serve: TMake, source_of: TMake) -> dlt.Pipeline:
    """A pipeline that has extracted, and not loaded; the client libraries need not be there."""
    pipeline = dlt.pipeline(
        "np6_lake",
        destination=filesystem(str(tmp_path / "lake")),
        dataset_name="NP6",  # Whose folder is np6, as that of a pipeline into "np6".
        pipelines_dir=str(tmp_path / "pipelines"),
    )
    sandbox = serve([event(1, at("03-01T10:00"))], now=at("03-03"))
    pipeline.extract(source_of(sandbox, "actions_events", table_format=request.param))
    return pipeline


def test_a_load_waits_for_another_s_and_ends_when_it_takes_too_long_or_is_asked_to(
    lake: dlt.Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture, request: Any
) -> None:
    lock = tmp_path / "lake" / "np6.np6.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    with another_process(LOCKS, lock, 60) as process:
        if lake.default_schema.tables["events"].get("table_format") == "delta":
            with in_database_or_file(lake, Patience(lock=0)):
                return  # Its commits do not overwrite each other.
        with (
            pytest.raises(DatasetBusy, match=f"process {process}"),
            in_database_or_file(lake, Patience(lock=0.3)),
        ):
            raise AssertionError("the lock is held")
        began = time.monotonic()
        with (
            pytest.raises(DatasetBusy),
            in_database_or_file(lake, Patience(lock=3600, stop_when=lambda: True)),
        ):
            raise AssertionError("the lock is held")
    assert time.monotonic() - began < 30
    assert "Waiting up to 3600 s for the tables of dataset np6: process" in caplog.text
    with in_database_or_file(lake, Patience(lock=0)), in_database_or_file(lake, Patience(lock=0)):
        pass  # It is free, and a load does not wait for itself.
