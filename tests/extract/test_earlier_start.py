"""A start before that of the first load: what lies between was asked for and is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import raise_if_incomplete
from np6_source.errors import Incomplete
from np6_source.sandbox import Sandbox
from np6_source.windows import SECOND
from tests.support import at, event

if TYPE_CHECKING:
    from tests.support import Warehouse

ALL = "actions_events"
HOUR = 3600 * SECOND


@pytest.fixture
def api(serve: Any) -> Sandbox:
    """Two days of hourly events."""
    sandbox: Sandbox = serve(
        (event(n, at("03-01") + n * HOUR + 1) for n in range(48)), now=at("03-03")
    )
    return sandbox


def test_it_is_a_failure_until_the_range_is_loaded(
    warehouse: Warehouse, api: Sandbox, source_of: Any
) -> None:
    def load(start: str, end: str | None = None) -> list[str]:
        span = {"start": at(start)} | ({"end": at(end)} if end else {})
        report = warehouse.load(lambda: source_of(api, ALL, on_error="keep", **span))
        return [failure["kind"] for failure in report.failures]

    assert load("03-02") == []
    assert load("03-01") == ["EarlierStart"]
    assert len(warehouse.ids()) == 24
    assert load("03-01", "03-02") == []
    assert len(warehouse.ids()) == 48
    assert load("03-01") == [], "the ledger proves it now, and the schedule may keep its start"


def test_a_run_that_raises_ends_until_the_range_is_loaded(
    warehouse: Warehouse, api: Sandbox, source_of: Any
) -> None:
    api.now = at("03-02T12:00")
    warehouse.run(source_of(api, ALL, start=at("03-02")))
    api.now = at("03-03")
    with pytest.raises(PipelineStepFailed, match="lies before the first load's start"):
        warehouse.run(source_of(api, ALL, start=at("03-01")))
    warehouse.run(source_of(api, ALL, start=at("03-01"), end=at("03-02")))
    warehouse.run(source_of(api, ALL, start=at("03-01")))
    assert len(warehouse.ids()) == 48


def test_where_no_ledger_could_prove_the_range_a_run_that_raises_goes_on_and_says_so(
    api: Sandbox, source_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = dlt.destinations.filesystem(str(tmp_path / "files"))
    pipeline = dlt.pipeline("files", pipelines_dir=str(tmp_path / "p"), destination=files)
    api.now = at("03-02T12:00")
    pipeline.run(source_of(api, ALL, start=at("03-02")))
    api.now = at("03-03")
    pipeline.run(source_of(api, ALL, start=at("03-01")))
    assert "lies before the first load's start" in caplog.text
    with pytest.raises(Incomplete, match="lies before the first load's start"):
        raise_if_incomplete(pipeline)


def test_an_end_before_all_that_is_loaded_is_refused(
    warehouse: Warehouse, api: Sandbox, source_of: Any
) -> None:
    warehouse.run(source_of(api, ALL, start=at("03-02")))
    with pytest.raises(PipelineStepFailed, match="lies before 2024-03-02"):
        warehouse.run(source_of(api, ALL, start=None, end=at("03-01T12:00")))
