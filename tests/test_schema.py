from __future__ import annotations

import re

import pyarrow as pa
import pytest

from np6_source.schema import (
    EVENT_TABLES,
    EXPECTED_VALUES,
    LOAD_WINDOWS,
    TABLES,
    Column,
    Table,
    text,
)

PROMISED = {
    "events": (
        "id type subtype timestamp channel agency customer action_id action_kind action_version"
        " contact_type contact_id contact_unicity contact_hash recipient recipient_domain"
        " message_id"
        " message_thread_id message_set_id message_stamped_at unmapped"
    ),
    "events__hits": (
        "event_id timestamp link_type link_label link_source link_value link_destination"
        " client_type client_ip_version client_ip user_agent_type user_agent browser_type"
        " browser_name browser_version browser_vendor os_name os_family os_vendor device_type"
        " device_name device_brand"
    ),
    "events__bounces": (
        "event_id timestamp status_type status_code_enhanced diagnostic mta verdict subject_type"
        " subject_detail_type"
    ),
    "events__cancellations": "event_id timestamp cancellation_type value_type value_message",
    "events__execution_data": "event_id key timestamp value value_type",
    "events__campaigns": "event_id campaign_id timestamp",
    "events__robots": "event_id robot_class timestamp",
    "rejected_events": "resource scope_id window_start window_end reason content",
    "load_windows": (
        "resource scope_id classification window_start window_end requested_at event_count"
        " byte_count duration_ms request_id purpose distinct_count outside_count type_counts"
        " unmapped_paths table_counts key_digest new_count _dlt_load_id policy"
    ),
    "lateness": (
        "resource scope_id classification measured_at day age_days bucket late_events"
        " events_read_again _dlt_load_id"
    ),
}
KEYS = {
    "events": ("id",),
    "events__hits": ("event_id",),
    "events__bounces": ("event_id",),
    "events__cancellations": ("event_id",),
    "events__execution_data": ("event_id", "key"),
    "events__campaigns": ("event_id", "campaign_id"),
    "events__robots": ("event_id",),
    "rejected_events": (),
    "load_windows": (
        *("resource", "scope_id", "classification", "window_start", "window_end", "requested_at"),
    ),
    "lateness": (*("resource", "scope_id", "classification", "measured_at", "day", "bucket"),),
}
COLUMNS = [
    pytest.param(table, column, id=f"{table.name}.{column.name}")
    for table in TABLES
    for column in table.columns
]
EACH_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def test_the_tables_are_those_promised() -> None:
    assert [table.name for table in TABLES] == list(PROMISED)


@EACH_TABLE
def test_the_columns_are_those_promised(table: Table) -> None:
    names = {column.name for column in table.columns}

    requested_at = set() if table.name == "lateness" else {"requested_at"}
    assert names == set(PROMISED[table.name].split()) | requested_at


@EACH_TABLE
def test_column_names_are_unique(table: Table) -> None:
    names = [column.name for column in table.columns]

    assert len(names) == len(set(names))


@EACH_TABLE
def test_the_key_is_the_promised_one_and_never_null(table: Table) -> None:
    # Earlier versions do not fill the class of robots, and may load on top of this one.
    later = {"classification"}
    columns = {column.name: column for column in table.columns}

    assert table.key == KEYS[table.name]
    assert not any(columns[name].nullable for name in table.key if name not in later)


@EACH_TABLE
def test_the_arrow_schema_has_the_columns_in_order(table: Table) -> None:
    schema = table.arrow_schema

    assert schema.names == [column.name for column in table.columns]
    for column in table.columns:
        assert schema.field(column.name).nullable is column.nullable


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_every_column_is_described(table: Table, column: Column) -> None:
    assert column.description.strip() == column.description != ""
    assert table.description


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_every_name_is_one_that_destinations_take(table: Table, column: Column) -> None:
    for name in (table.name, column.name):
        assert re.fullmatch(r"(_dlt_)?[a-z][a-z0-9_]*", name)
        assert len(name) <= 63


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_timestamps_are_utc_and_everything_else_is_text_or_a_number(
    table: Table, column: Column
) -> None:
    expected = {
        "timestamp": pa.timestamp("us", tz="UTC"),
        "bigint": pa.int64(),
        "text": pa.string(),
    }

    assert column.arrow_type == expected[column.data_type]


@pytest.mark.parametrize(
    "table",
    [table for table in TABLES if table.disposition == "merge"],
    ids=lambda table: table.name,
)
def test_every_table_of_events_has_the_cursor_column(table: Table) -> None:
    timestamp = next(column for column in table.columns if column.name == "timestamp")

    assert timestamp.data_type == "timestamp"
    assert not timestamp.nullable


def test_events_are_merged_and_the_ledger_is_appended() -> None:
    assert {table.disposition for table in EVENT_TABLES} == {"merge"}
    assert LOAD_WINDOWS.disposition == "append"


def test_child_tables_are_those_with_an_event_id() -> None:
    assert [table.name for table in TABLES if table.is_child] == [
        "events__hits",
        "events__bounces",
        "events__cancellations",
        "events__execution_data",
        "events__campaigns",
        "events__robots",
    ]


@pytest.mark.parametrize(
    ("table_name", "column_name", "personal"),
    [
        ("events", "contact_id", "contact_id"),
        ("events", "contact_hash", "contact_hash"),
        ("events", "contact_unicity", "address"),
        ("events", "recipient", "address"),
        ("events", "unmapped", "free"),
        ("events__hits", "client_ip", "ip"),
        ("events__hits", "user_agent", "user_agent"),
        ("events__bounces", "diagnostic", "free"),
        ("events__execution_data", "value", "free"),
        ("events", "recipient_domain", "domain"),
        ("events", "id", "record"),
        ("events__hits", "event_id", "record"),
        ("events__hits", "link_destination", "url"),
        ("events__hits", "link_label", "free"),
        ("events__bounces", "mta", "domain"),
        ("events__cancellations", "value_message", "free"),
        ("events", "action_id", "no"),
    ],
)
def test_what_identifies_a_person_is_marked(
    table_name: str, column_name: str, personal: str
) -> None:
    table = next(table for table in TABLES if table.name == table_name)
    column = next(column for column in table.columns if column.name == column_name)

    assert column.personal == personal


def test_payload_paths_are_keys_that_need_no_quoting() -> None:
    paths = [path.path for table in TABLES for column in table.columns for path in column.paths] + [
        path.path for path, _ in EXPECTED_VALUES
    ]

    assert all(re.fullmatch(r"[A-Za-z]+(\.[A-Za-z]+)*", path) for path in paths)


def test_a_column_is_one_line() -> None:
    column = text("name", "What it holds", "source.name", personal="free")

    assert (column.data_type, column.paths[0].path, column.personal) == (
        "text",
        "source.name",
        "free",
    )
