"""``apply_hints`` and the hints of ``pipeline.run``: kept where they fit, else refused."""

from __future__ import annotations

import re
from typing import Any

import dlt
import pytest
from dlt.destinations.adapters import bigquery_adapter
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.sandbox import Sandbox
from np6_source.schema import EVENTS, LOAD_WINDOWS, TABLES
from np6_source.windows import to_datetime
from tests.guest.conftest import ALL, EVERY_ID, TAt, TMake, refusal


@pytest.mark.parametrize(
    ("hints", "sentence"),
    [
        ({"table_name": "np6_events"}, "table_name='np6_events' cannot be used.*several tables"),
        ({"table_name": lambda row: row["type"]}, "function of the row.*table_name='events'"),
        ({"write_disposition": "append"}, "write_disposition='append'.*refresh='drop_sources'"),
        ({"write_disposition": "replace"}, "write_disposition='replace'.*refresh='drop_sources'"),
        ({"write_disposition": "skip"}, "write_disposition='skip'"),
        (
            {"write_disposition": {"disposition": "merge", "strategy": "upsert"}},
            "'merge', strategy='upsert' cannot be used",
        ),
        (
            {"write_disposition": {"disposition": "merge", "destination_scope": "id > 'e'"}},
            "destination_scope=.id > 'e'. cannot be used",
        ),
        ({"primary_key": "recipient"}, "primary_key or merge_key .recipient. cannot be used"),
        ({"merge_key": "action_id"}, "primary_key or merge_key .action_id. cannot be used"),
        ({"columns": {"recipent": {"x-pii": True}}}, "no table has a column 'recipent'"),
        ({"columns": {"action_id": {"data_type": "bigint"}}}, "data_type='bigint'.*action_id"),
        ({"columns": {"unmapped": {"hard_delete": True}}}, "hard_delete=True.*events.unmapped"),
        (
            {"nested_hints": {"links": dlt.mark.make_nested_hints(primary_key="id")}},
            "nested_hints cannot be used.*flat",
        ),
        (
            {"incremental": dlt.sources.incremental("requested_at", initial_value="2024-03-01")},
            "must go by 'timestamp'",
        ),
        (
            {"incremental": dlt.sources.incremental("timestamp", last_value_func=min)},
            "must go by 'timestamp', forwards",
        ),
        ({"file_format": "jsonl"}, "loader_file_format='jsonl'.*duckdb.*Parquet"),
    ],
)
def test_hints_that_would_change_the_rows_are_refused(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, hints: Any, sentence: str
) -> None:
    source = source_of(sandbox, ALL)
    source.resources[ALL].apply_hints(**hints)
    message = refusal(lambda: warehouse.run(source))
    assert re.search(sentence, message, re.S), message
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "hints",
    [
        {"write_disposition": "append"},
        {"write_disposition": {"disposition": "merge", "strategy": "insert-only"}},
        {"primary_key": "message_id"},
        {"merge_key": "action_id"},
        {"columns": {"timestamp": {"data_type": "text"}}},
    ],
)
def test_the_same_for_one_table(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, hints: Any
) -> None:
    source = source_of(sandbox, ALL)
    source.resources[ALL].apply_hints(table_name="events", create_table_variant=True, **hints)
    assert "cannot be used" in refusal(lambda: warehouse.run(source))


@pytest.mark.parametrize("disposition", ["replace", "append"])
def test_a_disposition_given_to_run_is_refused_before_anything_is_lost(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt, disposition: Any
) -> None:
    sandbox.now = at("03-02")
    warehouse.run(source_of(sandbox, ALL))
    sandbox.now = at("03-03")
    message = refusal(lambda: warehouse.run(source_of(sandbox, ALL), write_disposition=disposition))
    assert f"write_disposition={disposition!r}" in message
    assert len(warehouse.ids()) == 24
    warehouse.run(source_of(sandbox, ALL), write_disposition="merge")
    assert warehouse.ids() == EVERY_ID


def test_other_arguments_of_run_are_refused_the_same(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    for arguments in (
        {"table_name": "mine"},
        {"primary_key": "type"},
        {"columns": {"mine": {"data_type": "text"}}},
    ):
        source = source_of(sandbox, ALL)
        refusal(lambda source=source, arguments=arguments: warehouse.run(source, **arguments))


def columns_of(pipeline: dlt.Pipeline, table: str) -> dict[str, Any]:
    columns: dict[str, Any] = pipeline.default_schema.tables[table]["columns"]
    return columns


def test_column_hints_reach_every_table_that_has_the_column(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    source = source_of(sandbox, ALL)
    source.resources[ALL].apply_hints(
        columns={
            "timestamp": {"partition": True},
            "recipient": {"description": "hidden from analysts", "x-masking": "sha256"},
        }
    )
    for _ in range(2):
        pipeline = warehouse.run(source)
        for table in TABLES:
            columns = columns_of(pipeline, table.name)
            assert list(columns) == [column.name for column in table.columns]
            if "timestamp" in columns:
                assert columns["timestamp"]["partition"] is True
        assert columns_of(pipeline, "events")["recipient"]["x-masking"] == "sha256"
        assert columns_of(pipeline, "events")["recipient"]["x-np6-personal"] == "address"
    assert warehouse.ids() == EVERY_ID


def test_an_adapter_of_dlt_s_works_on_a_resource(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    source = source_of(sandbox, ALL)
    bigquery_adapter(source.resources[ALL], partition="timestamp", table_description="from NP6")
    pipeline = warehouse.run(source)
    assert columns_of(pipeline, "events")["timestamp"]["x-bigquery-partition"] is True
    assert "timestamp" not in columns_of(pipeline, "load_windows")
    assert warehouse.ids() == EVERY_ID


def test_hints_that_list_columns_reach_the_tables_that_have_them_all(
    sandbox: Sandbox, source_of: TMake, tmp_path: Any
) -> None:
    """Before the default layout; extraction needs no server."""
    source = source_of(sandbox, ALL)
    bigquery_adapter(source.resources[ALL], cluster=["channel", "type"])
    for destination in ("bigquery", "postgres", "duckdb", "bigquery"):
        pipeline = dlt.pipeline(
            f"np6_to_{destination}", destination=destination, pipelines_dir=str(tmp_path)
        )
        pipeline.extract(source)
        tables = pipeline.default_schema.tables
        clustered = {
            name: table.get("x-bigquery-cluster-columns") for name, table in tables.items()
        }
        assert clustered["events"] == ["channel", "type"]
        assert clustered["load_windows"] is None
        assert "channel" not in (clustered["events__hits"] or [])


def test_hints_for_one_table_stay_in_it(warehouse: Any, sandbox: Sandbox, source_of: TMake) -> None:
    source = source_of(sandbox)
    source.resources[ALL].apply_hints(
        table_name="events",
        create_table_variant=True,
        columns={"timestamp": {"cluster": True}},
        additional_table_hints={"x-owner": "crm"},
    )
    pipeline = warehouse.run(source.with_resources(ALL))
    tables = pipeline.default_schema.tables
    assert columns_of(pipeline, "events")["timestamp"]["cluster"] is True
    assert "cluster" not in columns_of(pipeline, "events__hits")["timestamp"]
    assert [name for name, table in tables.items() if "x-owner" in table] == ["events"]


def test_keys_and_dispositions_are_the_tables_own_whatever_else_is_hinted(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    source = source_of(sandbox, ALL)
    source.resources[ALL].apply_hints(write_disposition="merge", schema_contract="evolve")
    source.resources[ALL].max_table_nesting = 0
    source.max_table_nesting = 1
    pipeline = warehouse.run(source)
    for table in TABLES:
        found = pipeline.default_schema.tables[table.name]
        keys = [name for name, column in found["columns"].items() if column.get("primary_key")]
        # A key that may be NULL is none to dlt: older rows of the ledger have it so.
        expected = [c.name for c in table.columns if c.name in table.key and not c.nullable]
        assert (sorted(keys), found["write_disposition"]) == (sorted(expected), table.disposition)
    assert LOAD_WINDOWS.disposition == "append" != EVENTS.disposition


class TestIncremental:
    """``apply_hints(incremental=...)`` and the incremental as the resource's argument."""

    @pytest.mark.parametrize("as_text", [False, True])
    def test_a_range_is_a_backfill(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt, as_text: bool
    ) -> None:
        bounds = ("2024-03-01T06:00:00Z", "2024-03-01T12:00:00Z")
        start, end = bounds if as_text else map(to_datetime, (at("03-01T06:00"), at("03-01T12:00")))
        sandbox.now = at("03-02") - 1
        warehouse.run(source_of(sandbox, ALL, start=at("03-01T18:00")))
        before = warehouse.places(ALL)
        source = source_of(sandbox, ALL)
        source.resources[ALL].apply_hints(
            incremental=dlt.sources.incremental("timestamp", initial_value=start, end_value=end)
        )
        warehouse.run(source)
        assert warehouse.ids() == EVERY_ID[6:12] + EVERY_ID[18:24]
        assert warehouse.places(ALL) == before

    def test_a_beginning_is_that_of_the_first_load(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
    ) -> None:
        for now in ("03-02", "03-03"):
            sandbox.now = at(now)
            source = source_of(sandbox, ALL)
            source.resources[ALL].apply_hints(
                incremental={"initial_value": "2024-03-01T06:00:00Z", "cursor_path": "timestamp"}
            )
            warehouse.run(source)
        assert warehouse.ids() == EVERY_ID[6:]

    def test_an_earlier_beginning_than_that_of_the_first_load_is_a_failure(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
    ) -> None:
        sandbox.now = at("03-02")
        warehouse.run(source_of(sandbox, ALL, start=at("03-01T06:00")))
        source = source_of(sandbox, ALL, start=at("03-01T06:00"))
        source.resources[ALL].apply_hints(
            incremental={"initial_value": "2024-03-01T03:00:00Z", "cursor_path": "timestamp"}
        )
        with pytest.raises(PipelineStepFailed, match="Load it with start=2024-03-01T03:00:00Z"):
            warehouse.run(source)

    def test_a_lag_reads_that_much_again(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
    ) -> None:
        sandbox.now = at("03-02")
        warehouse.run(source_of(sandbox, ALL))
        sandbox.requests.clear()
        sandbox.now = at("03-02T01:00")
        source = source_of(sandbox, ALL)
        source.resources[ALL].apply_hints(
            incremental=dlt.sources.incremental("timestamp", lag=7200.0)
        )
        warehouse.run(source)
        first = min(request.query["start"] for request in sandbox.requests)
        assert "2024-03-01T21:00:00Z" < first < "2024-03-01T22:00:00Z"
        sandbox.now = at("03-03")
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == EVERY_ID
