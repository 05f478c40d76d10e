"""What dlt is told about the tables, by destination."""

from __future__ import annotations

from typing import Any

import pytest

from np6_source.destinations import DESTINATIONS
from np6_source.schema import CAMPAIGNS, EVENTS, EXECUTION_DATA_TABLE, TABLES, Table
from np6_source.tables.hints import table_hints

EACH_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def that_replace_by(way: str) -> list[str]:
    """The destinations whose rows go in a way."""
    return [row.kind for row in DESTINATIONS if row.replaces == way]


def beside_the_plain(table: Table, destination: str) -> dict[str, Any]:
    """What hints for a destination have that those for an unknown one have not."""
    plain, hints = table_hints(table), table_hints(table, destination)
    return {name: value for name, value in hints.items() if plain.get(name) != value}


EACH_WITH_VERSIONS = pytest.mark.parametrize("destination", that_replace_by("versions"))


def statements(table: Table, destination: str, **options: Any) -> list[str]:
    """What a merge runs before its INSERT, as dlt puts it together and cuts it again."""
    disposition = table_hints(table, destination, **options)["write_disposition"]
    scope = disposition["destination_scope"]
    assert "\n" not in scope
    return [part.strip() for part in f"DELETE FROM {{table}} WHERE {scope}".split(";")]


@EACH_TABLE
@EACH_WITH_VERSIONS
def test_hints_with_versions_are_the_plain_ones_and_the_statements(
    table: Table, destination: str
) -> None:
    beside = beside_the_plain(table, destination)
    beside.pop("file_format", None)
    if destination == "duckdb" and table.disposition == "merge":
        assert set(beside.pop("additional_table_hints")) == {"x-np6-merge"}
    if table.disposition == "append":
        assert beside == {}
    else:
        assert set(beside) == {"write_disposition"}


@EACH_WITH_VERSIONS
def test_a_merge_deletes_nothing_before_it_has_left_out_what_the_table_has_newer(
    destination: str,
) -> None:
    first, *rest, stale, replaced = statements(EVENTS, destination)
    lock = [part for part in rest if not part.startswith("UPDATE {staging_table}")]

    assert first == "DELETE FROM {table} WHERE 1 = 0"
    assert stale.startswith("DELETE FROM {staging_table} WHERE (id, requested_at) IN (SELECT s.id")
    assert replaced.startswith(
        "DELETE FROM {table} WHERE id IN (SELECT id FROM {staging_table}) /* CREATE"
    )
    locks = ["LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"] if destination == "postgres" else []
    assert lock == locks


def test_rows_of_an_event_that_go_together_go_by_the_event() -> None:
    *_, replaced, tombstones = statements(EXECUTION_DATA_TABLE, "duckdb")
    assert tombstones == "DELETE FROM {staging_table} WHERE value_type = 'none'"
    assert "WHERE event_id IN (SELECT event_id FROM {staging_table})" in replaced
    *_, replaced = statements(CAMPAIGNS, "duckdb")
    assert "WHERE (event_id, campaign_id) IN (SELECT event_id, campaign_id FROM" in replaced


@pytest.mark.parametrize("destination", ["duckdb", "ducklake", "motherduck"])
def test_final_timestamps_bound_what_is_read(destination: str) -> None:
    *_, whole = statements(EVENTS, destination, timestamps_are_final=False)  # The DELETE.
    *_, bounded = statements(EVENTS, destination, timestamps_are_final=True)

    assert "timestamp" not in whole
    assert (
        "timestamp BETWEEN (SELECT min(timestamp) FROM {staging_table})"
        " AND (SELECT max(timestamp) FROM {staging_table})"
    ) in bounded


@EACH_WITH_VERSIONS
def test_staged_rows_are_completed_before_any_is_left_out(destination: str) -> None:
    late, each_other, same = (
        part for part in statements(EVENTS, destination) if part.startswith("UPDATE")
    )
    assert "recipient = COALESCE(t.recipient, s.recipient)" in late
    assert "requested_at = t.requested_at" in late
    for part in (same, each_other):
        assert "recipient = COALESCE(s.recipient, t.recipient)" in part
    for part in (late, same, each_other):
        assert "t.id = s.id AND t.timestamp = s.timestamp" in part
    for part in (late, same):
        assert "t.timestamp BETWEEN (SELECT min(timestamp) FROM {staging_table})" in part


@EACH_WITH_VERSIONS
@pytest.mark.parametrize("table", [CAMPAIGNS, EXECUTION_DATA_TABLE], ids=lambda t: t.name)
def test_tables_of_which_a_row_says_all_are_not_completed(table: Table, destination: str) -> None:
    assert not any(part.startswith("UPDATE") for part in statements(table, destination))


@EACH_WITH_VERSIONS
def test_a_column_that_a_contract_keeps_out_is_not_completed(destination: str) -> None:
    scope = " ".join(statements(EVENTS, destination, absent=["recipient_domain"]))
    assert "recipient_domain" not in scope
    assert "t.recipient IS NULL" in scope


def test_names_are_quoted_where_the_destination_wants_them_so() -> None:
    *_, replaced = statements(EVENTS, "postgres", name=lambda name: f'"{name}"')
    assert 'WHERE "id" IN (SELECT "id" FROM {staging_table})' in replaced


@pytest.mark.parametrize("destination", that_replace_by("scope"))
def test_rows_are_replaced_by_a_condition_where_the_keys_cost_more(destination: str) -> None:
    hints = table_hints(EXECUTION_DATA_TABLE, destination)

    assert "merge_key" not in hints
    assert statements(EXECUTION_DATA_TABLE, destination) == [
        "DELETE FROM {table} WHERE event_id IN (SELECT event_id FROM {staging_table})",
        "DELETE FROM {staging_table} WHERE value_type = 'none'",
    ]


def test_rows_are_replaced_by_the_merge_key_elsewhere() -> None:
    hints = table_hints(EXECUTION_DATA_TABLE, "mssql")

    assert hints["merge_key"] == "event_id"
    assert "destination_scope" not in hints["write_disposition"]


@EACH_TABLE
def test_what_is_replaced_is_part_of_the_key(table: Table) -> None:
    """PostgreSQL reduces "key or part of the key" to the part; other conditions it would not."""
    assert table.replaced_by is None or table.replaced_by in table.key
