"""Steps that a host puts behind a resource: they get Arrow tables, several kinds of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import raise_if_incomplete
from np6_source.extract import batches
from np6_source.sandbox import Sandbox, sample_account
from np6_source.schema import TABLES
from np6_source.windows import Window
from tests.guest.conftest import ALL, EVERY_ID, HOUR, TAt, TMake, refusal, unproven

# A key that may be NULL is none to dlt: older rows of the ledger have it so.
MERGED_BY_ID = {
    table.name: (
        table.disposition,
        [c.name for c in table.columns if c.name in table.key and not c.nullable],
    )
    for table in TABLES
}


def hints_of(pipeline: Any) -> dict[str, Any]:
    """Disposition and key of every table, as dlt's schema has them."""
    return {
        table["name"]: (
            table["write_disposition"],
            [name for name, column in table["columns"].items() if column.get("primary_key")],
        )
        for table in pipeline.default_schema.data_tables()
    }


def test_a_step_is_told_which_table_a_batch_belongs_to(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    seen = set()

    def note(table: pa.Table, meta: Any = None) -> pa.Table:
        seen.add((meta.table_name, tuple(table.column_names)))
        return table

    source = source_of(sandbox, ALL)
    source.resources[ALL].add_map(note)
    warehouse.run(source)
    assert seen == {(t.name, tuple(column.name for column in t.columns)) for t in TABLES}


@pytest.mark.parametrize("returns", ["table", "batch", "yields"])
def test_new_tables_of_a_step_land_where_the_old_ones_would(
    warehouse: Any, new_warehouse: TMake, serve: TMake, source_of: TMake, returns: str
) -> None:
    def anew(table: pa.Table) -> Any:
        table = pa.table(table.to_pydict(), schema=table.schema)
        return table if returns == "table" else table.combine_chunks().to_batches()[0]

    def in_halves(table: pa.Table) -> Iterator[pa.Table]:
        yield table.slice(0, table.num_rows // 2)
        yield table.slice(table.num_rows // 2)

    sandbox = serve(sample_account())
    span = {"start": "2021-02-23", "end": "2021-06-15", "window": 86_400 * 365}
    plain = new_warehouse("plain")
    plain.run(source_of(sandbox, ALL, "actions_reactivities", **span))
    source = source_of(sandbox, ALL, "actions_reactivities", **span)
    for resource in source.resources.values():
        if returns == "yields":
            resource.add_yield_map(in_halves)
        else:
            resource.add_filter(lambda table: table.num_rows > 0).add_map(anew)
    pipeline = warehouse.run(source)
    assert warehouse.contents() == plain.contents()
    assert len(warehouse.rows("events")) == 9
    assert hints_of(pipeline).items() <= MERGED_BY_ID.items()


def test_a_step_that_drops_the_first_batches_does_not_take_the_keys_away(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", 5)
    for now in ("03-02", "03-03"):
        dropped = set()

        def not_the_first(table: pa.Table, meta: Any = None, dropped: set[str] = dropped) -> bool:
            is_first = meta.table_name not in dropped
            dropped.add(meta.table_name)
            return not is_first

        sandbox.now = at(now)
        source = source_of(sandbox, ALL, window=3600, overlap=HOUR)
        source.resources[ALL].add_filter(not_the_first)
        pipeline = warehouse.run(source)
        assert hints_of(pipeline)["events"] == ("merge", ["id"])
    ids = warehouse.ids()
    assert sorted(set(ids)) == ids


def test_rows_are_filtered_by_a_map(warehouse: Any, sandbox: Sandbox, source_of: TMake) -> None:
    def of_one_contact(table: pa.Table, meta: Any = None) -> pa.Table:
        if meta.table_name != "events":
            return table
        return table.filter(pc.equal(table["contact_id"], "CON00003"))

    source = source_of(sandbox, ALL)
    source.resources[ALL].add_map(of_one_contact)
    warehouse.run(source)
    assert {row["contact_id"] for row in warehouse.rows("events")} == {"CON00003"}


def test_a_column_can_be_added_to_one_table(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    def with_shop(table: pa.Table, meta: Any = None) -> pa.Table:
        if meta.table_name != "events":
            return table
        return table.append_column("shop", pa.array(["Lyon"] * table.num_rows, pa.string()))

    for _ in range(2):
        source = source_of(sandbox, ALL)
        source.resources[ALL].add_map(with_shop).apply_hints(
            table_name="events",
            create_table_variant=True,
            columns={"shop": {"data_type": "text", "description": "The shop."}},
        )
        pipeline = warehouse.run(source)
    assert {row["shop"] for row in warehouse.rows("events")} == {"Lyon"}
    assert warehouse.ids() == EVERY_ID
    columns = pipeline.default_schema.tables["events"]["columns"]
    assert columns["shop"]["description"] == "The shop."


def test_tables_can_be_selected(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
) -> None:
    for now in ("03-02", "03-03"):
        sandbox.now = at(now)
        source = source_of(sandbox, ALL)
        source.resources[ALL].select_tables("events")
        pipeline = warehouse.run(source)
    assert warehouse.ids() == EVERY_ID
    assert [table["name"] for table in pipeline.default_schema.data_tables()] == ["events"]


class TestLimit:
    """``add_limit``: a cursor never runs ahead of what passed the limit."""

    @pytest.fixture(autouse=True)
    def small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batches, "ROWS_AT_ONCE", 5)

    def limited(self, source_of: TMake, sandbox: Sandbox, *limit: Any, **options: Any) -> Any:
        source = source_of(sandbox, ALL, window=3600)
        source.add_limit(*limit, **options)
        return source

    def test_the_first_batch_has_events(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        warehouse.run(self.limited(source_of, sandbox, 1))
        assert 0 < len(warehouse.ids()) < 48

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 11])
    def test_wherever_it_cuts_nothing_is_lost_and_no_proof(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt, limit: int
    ) -> None:
        warehouse.run(self.limited(source_of, sandbox, limit))
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == EVERY_ID
        assert unproven(warehouse, Window(at("03-01"), at("03-02T23:00"))) == []

    def test_it_loads_in_portions(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
    ) -> None:
        period = Window(at("03-01"), at("03-02T23:00"))
        runs, missing = 0, [period]
        # The limit may take the ledger's row of a window whose events it let pass: proven later.
        while len(warehouse.ids()) < 48 or missing:
            before = len(warehouse.ids()), missing
            warehouse.run(self.limited(source_of, sandbox, 4))
            missing = unproven(warehouse, period)
            assert (len(warehouse.ids()), missing) != before
            runs += 1
        assert runs > 2
        assert warehouse.ids() == EVERY_ID

    def test_what_is_not_reached_limits_nothing(
        self, warehouse: Any, new_warehouse: TMake, sandbox: Sandbox, source_of: TMake
    ) -> None:
        other = new_warehouse()
        other.run(source_of(sandbox, ALL, window=3600))
        warehouse.run(self.limited(source_of, sandbox, 1000))
        assert warehouse.contents() == other.contents()
        cursors = [w.places(ALL)["incremental"]["timestamp"] for w in (warehouse, other)]
        assert cursors[0]["last_value"] == cursors[1]["last_value"]

    @pytest.mark.parametrize(
        ("limit", "options"), [((0,), {}), ((None, 1e-9), {}), ((3,), {"count_rows": True})]
    )
    def test_in_its_other_forms(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake, limit: Any, options: Any
    ) -> None:
        warehouse.run(self.limited(source_of, sandbox, *limit, **options))
        assert len(warehouse.ids()) < 48
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == EVERY_ID

    def test_ids_keep_their_places(
        self, warehouse: Any, serve: TMake, event: TMake, source_of: TMake, at: TAt
    ) -> None:
        actions = ("000AA1", "000AA2")
        made = (event(n, at("03-01") + n * HOUR, action=actions[n % 2]) for n in range(48))
        sandbox = serve(made, now=at("03-03"))
        name = "action_events_activations"
        for limit in (1, 3, 1000):
            source = source_of(sandbox, name, action_ids=actions, window=3600)
            warehouse.run(source.add_limit(limit))
        assert warehouse.ids() == EVERY_ID
        assert sorted(warehouse.places(name)["places"]) == list(actions)

    def test_a_backfill_goes_on_after_what_passed(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        span = {"start": "2024-03-01", "end": "2024-03-02", "window": 3600}
        for limit in (4, 1000):
            sandbox.requests.clear()
            source = source_of(sandbox, ALL, on_error="keep", **span).add_limit(limit)
            pipeline = warehouse.run(source)
            left_out = source.resources[ALL].custom_metrics["incomplete"]
            assert ["add_limit" in one["message"] for one in left_out] == [True] * (limit == 4)
        raise_if_incomplete(pipeline)
        assert warehouse.ids() == EVERY_ID[:24]
        assert min(request.query["start"] for request in sandbox.requests) > "2024-03-01T00:00:00Z"
        assert "backfills" not in warehouse.places(ALL)

    def test_a_given_span_that_it_cuts_is_not_loaded(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        span = {"start": "2024-03-01", "end": "2024-03-02", "window": 3600}
        with pytest.raises(PipelineStepFailed, match="add_limit ended the run before 2024-03-02"):
            warehouse.run(source_of(sandbox, ALL, **span).add_limit(4))
        assert warehouse.ids() == []
        warehouse.run(source_of(sandbox, ALL, **span).add_limit(1000))
        assert warehouse.ids() == EVERY_ID[:24]

    @pytest.mark.parametrize("limit", [5, 13])
    def test_of_a_parallelized_resource_moves_no_cursor(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake, limit: int
    ) -> None:
        source = self.limited(source_of, sandbox, limit)
        source.resources[ALL].parallelize()
        warehouse.run(source)
        assert "places" not in warehouse.places(ALL) or not warehouse.places(ALL)["places"]
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == EVERY_ID


def test_parallelized_resources_load_the_same(
    warehouse: Any, new_warehouse: TMake, serve: TMake, source_of: TMake
) -> None:
    sandbox = serve(sample_account())
    names = (ALL, "actions_reactivities", "notifications_reactivities")
    span = {"start": "2021-02-23", "end": "2021-06-15"}
    plain = new_warehouse("plain")
    plain.run(source_of(sandbox, *names, **span))
    source = source_of(sandbox, *names, **span)
    for name in names:
        source.resources[name].parallelize()
    warehouse.run(source)
    assert warehouse.contents() == plain.contents()
    assert len(warehouse.rows("events")) == 9


def test_a_step_that_fails_leaves_the_cursor(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    def broken(table: pa.Table) -> pa.Table:
        raise KeyError("shop")

    source = source_of(sandbox, ALL)
    source.resources[ALL].add_map(broken)
    with pytest.raises(PipelineStepFailed, match="shop"):
        warehouse.run(source)
    warehouse.run(source_of(sandbox, ALL))
    assert warehouse.ids() == EVERY_ID


@pytest.mark.parametrize("is_loaded_itself", [True, False])
def test_a_transformer_is_refused(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, is_loaded_itself: bool
) -> None:
    """What it yields would be marked for the table of the batch that it was given."""

    @dlt.transformer
    def sizes(table: pa.Table) -> Any:
        yield [{"rows": table.num_rows}]

    resource = source_of(sandbox, ALL).resources[ALL]
    data = [resource, resource | sizes] if is_loaded_itself else resource | sizes
    message = refusal(lambda: warehouse.run(data))
    assert "rows of transformer sizes would land in the tables of the events" in message
