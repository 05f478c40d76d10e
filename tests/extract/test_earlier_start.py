"""A start before that of the first load: what lies between was asked for and is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

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


def test_a_run_that_raises_warns_and_loads_what_is_new(
    warehouse: Warehouse, api: Sandbox, source_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    api.now = at("03-02T12:00")
    warehouse.run(source_of(api, ALL, start=at("03-02")))
    api.now = at("03-03")
    warehouse.run(source_of(api, ALL, start=at("03-01")))
    assert "lies before the first load's start" in caplog.text
    assert len(warehouse.ids()) == 24
