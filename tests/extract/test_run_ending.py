"""A failure that ends the run ends it for every resource, however dlt orders them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import raise_if_incomplete
from np6_source.errors import Incomplete
from np6_source.sandbox import Fault
from np6_source.windows import SECOND
from tests.support import Warehouse, at, event

THREE = ("actions_events", "actions_reactivities", "notifications_reactivities")
BY_ID = "action_events_activations"
HOUR = 3600 * SECOND
SPAN: dict[str, Any] = {
    "start": "2024-03-01",
    "end": "2024-03-02",
    "window": 3600,
    "concurrency": 1,
}
TMake = Callable[..., Any]


@pytest.fixture
def sandbox(serve: TMake) -> Any:
    made = [event(n, at("03-01") + n * HOUR + 1, action=f"00000{n % 3}") for n in range(24)]
    return serve(made, now=at("03-02"))


def test_a_refused_key_is_asked_with_once_for_all_resources(
    warehouse: Warehouse, sandbox: Any, source_of: TMake
) -> None:
    source = source_of(sandbox, *THREE, concurrency=1, on_error="keep")
    # On a first run every resource yields the empty tables, so that dlt has all of them open.
    sandbox.now = at("03-01T12:00")
    warehouse.run(source)
    sandbox.now = at("03-02")
    sandbox.requests.clear()
    with sandbox.faults.during("status=401"):
        warehouse.run(source)
    assert len(sandbox.requests) == 1
    failures = [f for name in THREE for f in source.resources[name].custom_metrics["failures"]]
    assert [failure["kind"] for failure in failures] == ["Unauthorized"]
    # The same source asks again when it is run again.
    warehouse.run(source)
    assert len(warehouse.ids()) == 24


def test_an_outage_is_waited_out_for_three_scopes_not_for_each_resource(
    warehouse: Warehouse, sandbox: Any, source_of: TMake
) -> None:
    names = (*THREE, "actions_reactivities_hits_open", "display_events_activations")
    source = source_of(
        sandbox, *names, window=1, concurrency=1, attempts=1, start=at("03-01T23"), on_error="keep"
    )
    with sandbox.faults.during("status=500"):
        warehouse.run(source)
    assert len(sandbox.requests) == 3


class TestRaise:
    """``on_error="raise"``: any failure of any resource or id ends the run."""

    @pytest.mark.parametrize("status", [400, 403, 500])
    def test_an_id_that_fails_raises_and_nothing_is_loaded(
        self, warehouse: Warehouse, sandbox: Any, source_of: TMake, status: int
    ) -> None:
        ids = ["000000", "000001", "000002"]
        source = source_of(sandbox, BY_ID, action_ids=ids, window=86_400, attempts=1)
        with (
            sandbox.faults.during(Fault("status", status, id="000001")),
            pytest.raises(PipelineStepFailed, match=f"id 000001.*status {status}"),
        ):
            warehouse.run(source)
        assert warehouse.ids() == []
        assert warehouse.places(BY_ID) == {}

    def test_an_id_that_np6_does_not_know_is_logged_and_left_out(
        self,
        warehouse: Warehouse,
        sandbox: Any,
        source_of: TMake,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        source = source_of(sandbox, BY_ID, action_ids=["000000", "000001"])
        with (
            sandbox.faults.during(Fault("status", 404, id="000001")),
            caplog.at_level(logging.ERROR, "np6_source"),
        ):
            warehouse.run(source)
        (failure,) = source.resources[BY_ID].custom_metrics["failures"]
        assert failure["kind"] == "NotFound"
        assert "id 000001" in caplog.text
        assert len(warehouse.ids()) == 8


class TestASpanThatIsGiven:
    """A run that is given its span is complete or fails, whatever ends it before."""

    @pytest.fixture(params=["largest_load", "stop_when"])
    def limit(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return {request.param: 3 if request.param == "largest_load" else lambda: True}

    def test_raises_and_loads_nothing(
        self, warehouse: Warehouse, sandbox: Any, source_of: TMake, limit: dict[str, Any]
    ) -> None:
        source = source_of(sandbox, "actions_events", **SPAN, **limit)
        with pytest.raises(PipelineStepFailed, match=r"ended the run before 2024-03-02T00:00:00Z"):
            warehouse.run(source)
        assert warehouse.ids() == []

    def test_is_told_afterwards_where_the_rest_is_kept(
        self, warehouse: Warehouse, sandbox: Any, source_of: TMake, limit: dict[str, Any]
    ) -> None:
        source = source_of(sandbox, "actions_events", **SPAN, **limit, on_error="keep")
        pipeline = warehouse.run(source)
        with pytest.raises(Incomplete, match=f"actions_events: {next(iter(limit))}"):
            raise_if_incomplete(pipeline)
