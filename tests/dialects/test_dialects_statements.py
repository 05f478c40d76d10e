"""The SQL that dlt would run on destinations that are not there, read in their own dialects."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlglot import exp

from np6_source.destinations import destination
from np6_source.schema import EVENT_TABLES, LOAD_WINDOWS, TABLES, Table
from tests.dialects.offline import Offline

pytestmark = pytest.mark.destinations

EACH_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
EACH_EVENT_TABLE = pytest.mark.parametrize("table", EVENT_TABLES, ids=lambda table: table.name)

PARTITIONS = {
    "bigquery": "PARTITION BY DATE(`timestamp`)",
    "clickhouse": "PARTITION BY toStartOfQuarter(timestamp)",
}


def statements(offline: Offline, table: Table) -> Iterator[str]:
    """Everything that would be run for a table."""
    yield from offline.created(table.name)
    yield from offline.created(table.name, staging=True)
    if table.disposition == "merge":
        yield from offline.merged(table.name)


def created_columns(offline: Offline, table: Table) -> list[exp.ColumnDef]:
    """The columns of the statement that makes a table."""
    create = offline.parsed(offline.created(table.name)[0])
    assert isinstance(create, exp.Create)
    return list(create.this.expressions)


def names(columns: Iterator[exp.Column]) -> set[str]:
    return {column.name.lower() for column in columns}


@EACH_TABLE
def test_every_statement_is_sql_of_the_dialect(offline: Offline, table: Table) -> None:
    for statement in statements(offline, table):
        # What sqlglot does not understand it keeps as an opaque command.
        assert not list(offline.parsed(statement).find_all(exp.Command)), statement


@EACH_TABLE
def test_every_name_is_quoted(offline: Offline, table: Table) -> None:
    """``timestamp``, ``key``, ``type``, ``value`` are words of one dialect or another."""
    ours = {column.name for column in table.columns} | {table.name}
    for statement in statements(offline, table):
        parsed = offline.parsed(statement)
        unquoted = {i.name for i in parsed.find_all(exp.Identifier) if not i.args.get("quoted")}
        allowed = set()
        if isinstance(parsed, exp.Delete) and destination(offline.dialect.name).replaces == "scope":
            allowed = {table.replaced_by}
        if isinstance(parsed, exp.Create) and offline.dialect.name == "clickhouse":
            allowed = {table.partition_by}
        assert (unquoted & ours) <= allowed, statement


@EACH_TABLE
def test_every_column_has_its_type(offline: Offline, table: Table) -> None:
    types = offline.dialect.types
    columns = created_columns(offline, table)

    assert [c.name.lower() for c in columns] == [c.name for c in table.columns]
    for made, column in zip(columns, table.columns, strict=True):
        expected = types[column.data_type]
        if offline.dialect.name == "clickhouse" and column.nullable:
            expected = f"Nullable({expected})"
        assert made.kind == exp.DataType.build(expected, dialect=offline.dialect.name), made


@EACH_TABLE
def test_what_may_not_be_null_may_not_be_null(offline: Offline, table: Table) -> None:
    for made, column in zip(created_columns(offline, table), table.columns, strict=True):
        required = bool(made.find(exp.NotNullColumnConstraint))
        if offline.dialect.name == "clickhouse":
            required = "Nullable" not in made.sql("clickhouse")
        assert required is not column.nullable, made


@EACH_TABLE
def test_staging_is_the_same_table_elsewhere(offline: Offline, table: Table) -> None:
    here = offline.created(table.name)
    there = offline.created(table.name, staging=True)
    again = [re.sub("(?i)(np6)_staging", r"\1", statement) for statement in there]

    assert again == here != there


@EACH_EVENT_TABLE
def test_a_merge_deletes_by_the_key_and_inserts_one_row_of_each_the_latest(
    offline: Offline, table: Table
) -> None:
    *deletes, insert = [offline.parsed(statement) for statement in offline.merged(table.name)]
    columns = [column.name for column in table.columns]

    assert deletes
    assert all(isinstance(delete, exp.Delete) for delete in deletes)
    for delete in deletes:
        (subquery,) = delete.find_all(exp.Select)
        assert "staging" in subquery.args["from_"].sql().lower()
        assert names(delete.find_all(exp.Column)) <= set(table.key)
    assert isinstance(insert, exp.Insert)
    assert [i.name.lower() for i in insert.this.expressions] == columns
    assert [s.name.lower() for s in insert.expression.selects] == columns
    (window,) = insert.find_all(exp.Window)
    assert isinstance(window.this, exp.RowNumber)
    assert [c.name.lower() for c in window.args["partition_by"]] == list(table.key)
    (order,) = window.args["order"].expressions
    assert order.this.name.lower() == "requested_at"
    assert order.args["desc"] is True
    assert re.search(r"_dlt_dedup_rn\W* = 1", insert.sql(offline.dialect.name))


@EACH_EVENT_TABLE
def test_what_a_newer_version_replaces_goes_by_the_column_that_says_so(
    offline: Offline, table: Table
) -> None:
    *deletes, _ = [offline.parsed(statement) for statement in offline.merged(table.name)]
    by = [names(delete.find_all(exp.Column)) for delete in deletes]

    if table.replaced_by is None:
        assert by == [set(table.key)]
    elif destination(offline.dialect.name).replaces == "scope":
        assert by == [{table.replaced_by}]
    else:
        assert by == [set(table.key), {table.replaced_by}]


def test_no_delete_has_an_or(offline: Offline) -> None:
    """What a planner makes of an OR in a subquery differs; most compare row by row."""
    for table in EVENT_TABLES:
        for statement in offline.merged(table.name):
            assert not offline.parsed(statement).find(exp.Or), statement


def test_the_ledger_is_not_merged(offline: Offline) -> None:
    client = offline.pipeline.destination_client()
    table = client.prepare_load_table(LOAD_WINDOWS.name)
    assert client.create_table_chain_completed_followup_jobs([table]) == []


@EACH_TABLE
def test_the_tables_of_events_are_partitioned_where_there_are_partitions(
    offline: Offline, table: Table
) -> None:
    create, *_ = offline.created(table.name)
    expected = PARTITIONS.get(offline.dialect.name) if table is not LOAD_WINDOWS else None
    if expected:
        assert expected in create
    else:
        assert "PARTITION" not in create


@EACH_TABLE
def test_the_tables_of_events_are_clustered_where_that_does_good(
    offline: Offline, table: Table
) -> None:
    create, *_ = offline.created(table.name)
    found = re.search(r"CLUSTER BY \(?([^)\n]*)\)?", create)
    clustered = set(re.findall(r"\w+", found[1])) if found else set()
    expected = {
        "bigquery": set(table.cluster_by),
        "databricks": {"timestamp", *table.cluster_by} if table.partition_by else set(),
    }
    assert clustered == expected.get(offline.dialect.name, set())


@EACH_TABLE
def test_redshift_keeps_an_event_on_one_node_in_the_order_of_time(
    offline_for: object, table: Table
) -> None:
    create, *_ = offline_for("redshift").created(table.name)  # type: ignore[operator]
    keys = dict(re.findall(r'"(\w+)" [^,\n]*(DISTKEY|SORTKEY)', create))
    assert keys == ({table.key[0]: "DISTKEY", "timestamp": "SORTKEY"} if table.partition_by else {})


@EACH_TABLE
def test_clickhouse_sorts_by_the_key(offline_for: object, table: Table) -> None:
    create, *_ = offline_for("clickhouse").created(table.name)  # type: ignore[operator]
    key = ", ".join(f"`{name}`" for name in table.key)
    assert f"ENGINE = MergeTree\nPRIMARY KEY ({key})" in create


def test_each_destination_has_a_way_to_replace_rows(offline: Offline) -> None:
    assert destination(offline.dialect.name).replaces in ("scope", "merge key")
