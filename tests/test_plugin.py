"""``np6_source()`` in a dlt project of somebody else's: it behaves like dlt's own sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from np6_source import np6_source
from np6_source.sandbox import Sandbox
from np6_source.windows import SECOND, merged

ALL = "actions_events"
HOUR = 3600 * SECOND
TMake = Callable[..., Any]
TAt = Callable[[str], int]
EVERY_ID = [f"event-{n:05d}" for n in range(48)]


@pytest.fixture
def sandbox(serve: TMake, event: TMake, at: TAt) -> Sandbox:
    sandbox: Sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(48)), now=at("03-03"))
    return sandbox


@dlt.source(name="shop")
def shop() -> Any:
    @dlt.resource(primary_key="id", write_disposition="merge")
    def orders(
        changed: dlt.sources.incremental[int] = dlt.sources.incremental("changed", initial_value=0),
    ) -> Any:
        yield [{"id": n, "changed": n, "lines": [{"article": n}]} for n in range(3)]

    return orders


def test_beside_an_unrelated_source_in_one_run(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
) -> None:
    sandbox.now = at("03-02")
    warehouse.run([shop(), source_of(sandbox, ALL)])
    sandbox.now = at("03-03")
    warehouse.run([source_of(sandbox, ALL), shop()])
    assert warehouse.ids() == EVERY_ID
    assert warehouse.query("SELECT count(*) FROM np6.orders") == [(3,)]
    assert warehouse.query("SELECT count(*) FROM np6.orders__lines") == [(3,)]
    assert len(merged(warehouse.windows(ALL))) == 1


def test_a_resource_at_a_time(warehouse: Any, sandbox: Sandbox, source_of: TMake) -> None:
    source = source_of(sandbox, action_ids=["000AA1"])
    warehouse.run(source.with_resources("action_events_activations"))
    assert warehouse.ids() == EVERY_ID
    assert {row["resource"] for row in warehouse.rows("load_windows")} == {
        "action_events_activations"
    }
    warehouse.run(source_of(sandbox, "display_events_activations", ALL))
    assert warehouse.ids() == EVERY_ID


def test_configuration_comes_from_its_section(
    warehouse: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, at: TAt
) -> None:
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
    monkeypatch.setenv("SOURCES__NP6__START", "2024-03-02")
    monkeypatch.setenv("SOURCES__NP6__ACTION_IDS", '["000AA1"]')
    source = np6_source()
    assert "action_events_activations" in source.selected_resources
    warehouse.run(source.with_resources("action_events_activations"))
    assert warehouse.ids() == EVERY_ID[24:]


def test_a_limit_loads_a_part_and_the_next_run_the_rest(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    warehouse.run(source_of(sandbox, ALL).add_limit(1))
    assert set(warehouse.ids()) <= set(EVERY_ID)
    warehouse.run(source_of(sandbox, ALL))
    assert warehouse.ids() == EVERY_ID


def test_steps_of_ones_own_get_arrow_tables(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
) -> None:
    def without_recipient(table: pa.Table) -> pa.Table:
        if "recipient" not in table.column_names:
            return table
        place = table.column_names.index("recipient")
        return table.set_column(
            place, "recipient", pc.if_else(pc.is_valid(table["recipient"]), "hidden", None)
        )

    source = source_of(sandbox, ALL)
    source.resources[ALL].add_map(without_recipient)
    source.resources[ALL].add_filter(lambda table: table.num_rows > 0)
    warehouse.run(source)
    assert warehouse.ids() == EVERY_ID
    assert {row["recipient"] for row in warehouse.rows("events")} == {"hidden"}
    assert len(merged(warehouse.windows(ALL))) == 1


def test_two_accounts_in_one_pipeline_keep_their_cursors_apart(
    warehouse: Any,
    sandbox: Sandbox,
    serve: TMake,
    event: TMake,
    at: TAt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other: Sandbox = serve(
        (event(n, at("03-01") + n * HOUR) for n in range(100, 110)),
        key="the-other-key",
        now=at("03-10"),
    )
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
    monkeypatch.setenv("SOURCES__NP6_OTHER__API_KEY", other.key)
    monkeypatch.setenv("SOURCES__NP6_OTHER__BASE_URL", other.url)
    second = np6_source.clone(name="np6_other", section="np6_other")
    for now in ("03-02", "03-03"):
        sandbox.now = at(now)
        warehouse.run(
            [
                np6_source(start=at("03-01")).with_resources(ALL),
                second(start=at("03-05")).with_resources(ALL),
            ]
        )
    assert warehouse.ids() == EVERY_ID + [f"event-{n:05d}" for n in range(100, 110)]
    assert {request.headers["X-Key"] for request in sandbox.requests} == {sandbox.key}
    assert {request.headers["X-Key"] for request in other.requests} == {other.key}
    assert {request.status for request in [*sandbox.requests, *other.requests]} == {200}


def test_another_dataset_of_the_same_source_starts_from_the_beginning(
    warehouse: Any, new_warehouse: TMake, sandbox: Sandbox, source_of: TMake
) -> None:
    warehouse.run(source_of(sandbox, ALL))
    other = new_warehouse(name="np6_again")
    other.run(source_of(sandbox, ALL))
    assert other.contents() == warehouse.contents()


def test_a_source_can_be_run_again(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
) -> None:
    source = source_of(sandbox, ALL)
    sandbox.now = at("03-02")
    warehouse.run(source)
    sandbox.now = at("03-03")
    warehouse.run(source)
    assert warehouse.ids() == EVERY_ID


def test_a_refresh_of_dlt_s_loads_everything_again(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    warehouse.run(source_of(sandbox, ALL))
    sandbox.requests.clear()
    warehouse.run(source_of(sandbox, ALL), refresh="drop_sources")
    assert warehouse.ids() == EVERY_ID
    assert min(r.query["start"] for r in sandbox.requests) == "2024-03-01T00:00:00Z"


def test_the_trace_tells_what_a_run_did(warehouse: Any, sandbox: Sandbox, source_of: TMake) -> None:
    pipeline = warehouse.run(source_of(sandbox, ALL))
    counts = pipeline.last_trace.last_normalize_info.row_counts
    assert counts["events"] == 48
    assert "'events': 48" in str(pipeline.last_trace.asdict())
    assert "'late_events': 0" in str(pipeline.last_trace.asdict())


def test_a_configuration_that_takes_failed_jobs_for_loaded_is_refused(
    warehouse: Any, serve: Any, source_of: Any, event: Any, at: Any, monkeypatch: Any
) -> None:
    """The ledger's row would prove events of a table that was not loaded."""
    sandbox = serve([event(1, at("03-01") + 1)], now=at("03-02"))
    monkeypatch.setenv("LOAD__RAISE_ON_FAILED_JOBS", "false")
    with pytest.raises(Exception, match="raise_on_failed_jobs=false lets a package count as"):
        warehouse.run(source_of(sandbox, "actions_events"))
    monkeypatch.delenv("LOAD__RAISE_ON_FAILED_JOBS")
    warehouse.run(source_of(sandbox, "actions_events"))
    assert warehouse.ids() == ["event-00001"]
