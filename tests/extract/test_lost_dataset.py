"""A dataset that is gone while its pipeline is there: the history begins where it began."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import np6_source
from np6_source.__main__ import main
from np6_source.sandbox import Sandbox, account_from_events
from np6_source.windows import DAY, SECOND, iso
from tests.support import Warehouse, event

ALL, OTHER = "actions_events", "actions_reactivities"
TMake = Callable[..., Any]
EVERY_ID = ["event-00000", "event-00001", "event-00002"]


@pytest.fixture
def long_ago() -> int:
    """A midnight 60 days ago."""
    return int(time.time() * SECOND) // DAY * DAY - 60 * DAY


@pytest.fixture
def sandbox(serve: TMake, long_ago: int) -> Sandbox:
    """An event 59, 39 and 19 days ago."""
    events = [event(n, long_ago + (1 + 20 * n) * DAY) for n in range(3)]
    sandbox: Sandbox = serve(account_from_events(events))
    return sandbox


@pytest.fixture
def source(sandbox: Sandbox) -> TMake:
    """Makes the source as a host does; without a start it begins 30 days ago."""

    def make(*names: str, **options: Any) -> Any:
        settings = {"base_url": sandbox.url, "backoff": 0.01, "attempts": 1} | options
        return np6_source(sandbox.key, **settings).with_resources(*(names or (ALL,)))

    return make


@pytest.fixture
def lost(warehouse: Warehouse, source: TMake, long_ago: int) -> Warehouse:
    """Was loaded from long ago; the file is gone."""
    warehouse.run(source(start=iso(long_ago)))
    assert warehouse.ids() == EVERY_ID
    warehouse.database.unlink()
    return warehouse


def test_a_run_of_dlt_s_loads_all_of_it_again_and_says_so(
    lost: Warehouse, source: TMake, caplog: pytest.LogCaptureFixture, long_ago: int
) -> None:
    lost.run(source())
    assert lost.ids() == EVERY_ID
    assert f"loaded from {iso(long_ago)} on: all of it is loaded again" in caplog.text
    caplog.clear()
    lost.run(source())
    assert "loaded again" not in caplog.text


def test_a_source_that_is_made_before_its_pipeline_does_the_same(
    lost: Warehouse, source: TMake
) -> None:
    made = source()
    lost.run(made)
    assert lost.ids() == EVERY_ID


def test_one_that_failed_first_does_not_forget(
    lost: Warehouse, source: TMake, sandbox: Sandbox
) -> None:
    for _ in range(2):
        with sandbox.faults.during("status=503"), pytest.raises(PipelineStepFailed):
            lost.run(source())
    lost.run(source())
    assert lost.ids() == EVERY_ID


def test_a_resource_that_the_first_run_did_not_get_to_begins_there_as_well(
    lost: Warehouse, source: TMake, long_ago: int
) -> None:
    lost.run(source())
    lost.run(source(ALL, OTHER))
    assert lost.windows(OTHER)[0].start == long_ago


def test_a_start_that_is_given_takes_precedence(
    lost: Warehouse, source: TMake, caplog: pytest.LogCaptureFixture, long_ago: int
) -> None:
    lost.run(source(start=iso(long_ago + 30 * DAY)))
    assert lost.ids() == EVERY_ID[2:]
    assert "what was before is not loaded again" in caplog.text
    lost.database.unlink()
    lost.run(source())
    assert lost.windows(ALL)[0].start == long_ago + 30 * DAY


def test_another_file_never_had_the_history(
    warehouse: Warehouse, source: TMake, caplog: pytest.LogCaptureFixture, long_ago: int
) -> None:
    warehouse.run(source(start=iso(long_ago)))
    warehouse.database = warehouse.folder / "trial.duckdb"
    warehouse.run(source())
    assert warehouse.ids() == EVERY_ID[2:]
    assert "is gone" not in caplog.text


def test_a_pipeline_from_before_there_were_notes_is_known_by_its_state(
    warehouse: Warehouse, source: TMake, long_ago: int
) -> None:
    warehouse.run(source(start=iso(long_ago)))
    (warehouse.pipelines_dir / f"{warehouse.name}.np6.json").unlink()
    warehouse.database.unlink()
    pipeline = warehouse.pipeline
    pipeline.run(source())
    assert isinstance(pipeline, dlt.Pipeline)
    assert warehouse.ids() == EVERY_ID


def test_the_command_does_the_same(
    lost: Warehouse, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: Any, long_ago: int
) -> None:
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
    where = ["--pipeline", lost.name, "--duckdb-file", str(lost.database)]
    where += ["--pipelines-dir", str(lost.pipelines_dir), "--resources", ALL]
    assert main(["load", *where, "--progress", "none"]) == 0
    said = capsys.readouterr()
    assert f"loaded from {iso(long_ago)} on: all of it is loaded again" in said.err
    assert said.out.startswith("3 new events, in np6 of ")
    assert lost.ids() == EVERY_ID
