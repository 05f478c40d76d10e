"""dlt's ways to start again: tables, cursors, places of ids and the ledger go together."""

from __future__ import annotations

from typing import Any

import pytest
from dlt.pipeline.helpers import pipeline_drop

from np6_source import np6_source
from np6_source.ledger import coverage, missing
from np6_source.sandbox import Sandbox
from np6_source.windows import Window
from tests.guest.conftest import ALL, EVERY_ID, HOUR, TAt, TMake, refusal

BY_ID = "action_events_activations"
MODES = ("drop_sources", "drop_resources", "drop_data")
ACTIONS = ("000AA1", "000AA2")


@pytest.fixture
def sandbox(serve: TMake, event: TMake, at: TAt) -> Sandbox:
    made = (event(n, at("03-01") + n * HOUR, action=ACTIONS[n % 2]) for n in range(48))
    sandbox: Sandbox = serve(made, now=at("03-03"))
    return sandbox


@pytest.mark.parametrize("mode", MODES)
def test_everything_is_loaded_again(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt, mode: Any
) -> None:
    def source() -> Any:
        return source_of(sandbox, ALL, BY_ID, action_ids=ACTIONS)

    warehouse.run(source())
    warehouse.execute("DELETE FROM np6.events WHERE id > 'event-00010'")
    sandbox.requests.clear()
    pipeline = warehouse.run(source(), refresh=mode)
    assert warehouse.ids() == EVERY_ID
    asked = {(r.path, r.query["start"]) for r in sandbox.requests}
    assert {path for path, start in asked if start == "2024-03-01T00:00:00Z"} == {
        "/actions/events",
        *(f"/actions/{action}/events/activations" for action in ACTIONS),
    }
    loads = {row["_dlt_load_id"] for row in warehouse.rows("load_windows")}
    assert len(loads) == 1
    assert missing(Window(at("03-01"), at("03-02T23:00")), coverage(pipeline)) == []
    sandbox.requests.clear()
    warehouse.run(source())
    assert min(r.query["start"] for r in sandbox.requests) > "2024-03-02T23:00:00Z"
    assert warehouse.ids() == EVERY_ID


@pytest.mark.parametrize("mode", ["drop_resources", "drop_data"])
def test_a_part_that_shares_its_tables_is_refused(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, mode: Any
) -> None:
    warehouse.run(source_of(sandbox, ALL, BY_ID, action_ids=ACTIONS))
    owner = warehouse.pipeline.default_schema.tables["events"]["resource"]
    before = warehouse.contents()
    source = source_of(sandbox, owner, action_ids=ACTIONS)
    message = refusal(lambda: warehouse.run(source, refresh=mode))
    other = ({ALL, BY_ID} - {owner}).pop()
    assert f"refresh={mode!r} would empty tables" in message
    assert f"{other} loaded events into them as well" in message
    assert "refresh='drop_sources'" in message
    assert warehouse.contents() == before
    warehouse.run(source_of(sandbox, ALL))
    assert warehouse.contents() == before


@pytest.mark.parametrize("mode", ["drop_resources", "drop_data"])
def test_a_ledger_that_would_outlive_the_events_is_refused(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, mode: Any
) -> None:
    """A backfill leaves no cursor, but owns the tables that it wrote last."""
    warehouse.run(source_of(sandbox, ALL))
    span = {"start": "2024-03-01", "end": "2024-03-02", "action_ids": ACTIONS}
    backfill = source_of(sandbox, BY_ID, **span)
    backfill.resources[BY_ID].select_tables("load_windows")
    warehouse.run(backfill)
    message = refusal(lambda: warehouse.run(source_of(sandbox, ALL), refresh=mode))
    assert "load_windows would stay" in message
    assert warehouse.ids() == EVERY_ID


def test_a_resource_that_owns_no_table_is_read_again_without_dropping_any(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    warehouse.run(source_of(sandbox, ALL, BY_ID, action_ids=ACTIONS))
    owner = warehouse.pipeline.default_schema.tables["events"]["resource"]
    other = ({ALL, BY_ID} - {owner}).pop()
    sandbox.requests.clear()
    warehouse.run(source_of(sandbox, other, action_ids=ACTIONS), refresh="drop_resources")
    assert min(r.query["start"] for r in sandbox.requests) == "2024-03-01T00:00:00Z"
    assert warehouse.ids() == EVERY_ID


def test_after_dlt_pipeline_drop_of_one_resource_the_others_do_not_go_on(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    pipeline = warehouse.run(source_of(sandbox, ALL, BY_ID, action_ids=ACTIONS))
    owner = pipeline.default_schema.tables["events"]["resource"]
    other = ({ALL, BY_ID} - {owner}).pop()
    pipeline_drop(pipeline, resources=[owner])()
    message = refusal(lambda: warehouse.run(source_of(sandbox, other, action_ids=ACTIONS)))
    assert "table events was dropped" in message
    warehouse.run(source_of(sandbox, ALL, BY_ID, action_ids=ACTIONS), refresh="drop_sources")
    assert warehouse.ids() == EVERY_ID


def test_a_refresh_that_would_empty_another_account_s_tables_is_refused(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
) -> None:
    other = np6_source.clone(name="np6_shop", section="np6_shop")
    warehouse.run(source_of(sandbox, ALL))
    options = {"base_url": sandbox.url, "start": at("03-01")}
    warehouse.run(other(sandbox.key, **options).with_resources(ALL))
    message = refusal(
        lambda: warehouse.run(
            other(sandbox.key, **options).with_resources(ALL), refresh="drop_sources"
        )
    )
    assert "np6 has loaded events into as well" in message
    assert "use_single_dataset=false" in message
    assert warehouse.ids() == EVERY_ID


class TestWhatWouldNotBeReadAgain:
    """A refresh drops before it reads: what it does not read again would be gone for good."""

    @pytest.fixture
    def loaded(self, warehouse: Any, sandbox: Sandbox, source_of: TMake) -> Any:
        warehouse.run(source_of(sandbox, ALL))
        return warehouse

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(
        "options", [{"end": "2024-03-02"}, {"start": "2024-03-02"}, {"start": None}], ids=str
    )
    def test_a_shorter_span_is_refused(
        self, loaded: Any, sandbox: Sandbox, source_of: TMake, mode: Any, options: dict[str, Any]
    ) -> None:
        message = refusal(lambda: loaded.run(source_of(sandbox, ALL, **options), refresh=mode))
        assert "would empty tables and not load again what this or another pipeline" in message
        assert loaded.ids() == EVERY_ID
        loaded.run(source_of(sandbox, ALL))
        assert loaded.ids() == EVERY_ID

    def test_another_pipeline_s_is_refused(
        self, loaded: Any, sandbox: Sandbox, source_of: TMake, new_warehouse: TMake
    ) -> None:
        other = new_warehouse(name="other", database=loaded.database)
        source = source_of(sandbox, BY_ID, action_ids=ACTIONS)
        message = refusal(lambda: other.run(source, refresh="drop_sources"))
        assert f"{ALL} from 2024-03-01T00:00:00Z" in message
        assert loaded.ids() == EVERY_ID


@pytest.mark.parametrize("on_error", ["raise", "keep"])
def test_a_refresh_that_would_lose_an_id_s_rows_is_refused(
    warehouse: Any,
    sandbox: Sandbox,
    serve: TMake,
    event: TMake,
    at: TAt,
    source_of: TMake,
    on_error: Any,
) -> None:
    warehouse.run(source_of(sandbox, BY_ID, action_ids=ACTIONS))
    before = warehouse.contents()
    made = (event(n, at("03-01") + n * HOUR, action=ACTIONS[0]) for n in range(0, 48, 2))
    without = serve(made, now=at("03-03"))  # The other action is deleted.
    refused = refusal(
        lambda: warehouse.run(
            source_of(without, BY_ID, action_ids=ACTIONS, on_error=on_error),
            refresh="drop_sources",
        )
    )
    assert "refresh would empty the tables of what it has loaded" in refused
    assert ACTIONS[1] in refused
    assert warehouse.contents() == before
