"""What dlt is told about the tables, by destination."""

from __future__ import annotations

from typing import Any

import pytest

from np6_source.destinations import DESTINATIONS
from np6_source.schema import EXECUTION_DATA_TABLE, TABLES, Table
from np6_source.tables.hints import table_hints

EACH_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def that_replace_by(way: str) -> list[str]:
    """The destinations whose rows go in a way."""
    return [row.kind for row in DESTINATIONS if row.replaces == way]


def beside_the_plain(table: Table, destination: str) -> dict[str, Any]:
    """What hints for a destination have that those for an unknown one have not."""
    plain, hints = table_hints(table), table_hints(table, destination)
    return {name: value for name, value in hints.items() if plain.get(name) != value}


@EACH_TABLE
@pytest.mark.parametrize("destination", that_replace_by("scope in time"))
def test_hints_for_duckdb_are_the_plain_ones_and_the_range_of_time(
    table: Table, destination: str
) -> None:
    beside = beside_the_plain(table, destination)
    if table.disposition == "append":
        assert beside == {}
        return
    scope = beside.pop("write_disposition")["destination_scope"]
    assert beside == {}
    keys, _, times = scope.partition(" AND ")
    key = ", ".join([table.replaced_by] if table.replaced_by else table.key)
    assert keys.replace("(event_id, campaign_id)", "event_id, campaign_id") == (
        f"{key} IN (SELECT {key} FROM {{staging_table}})"
    )
    assert times == (
        "timestamp BETWEEN (SELECT min(timestamp) FROM {staging_table})"
        " AND (SELECT max(timestamp) FROM {staging_table})"
    )
    whole = table_hints(table, destination, timestamps_are_final=False)
    assert whole["write_disposition"]["destination_scope"] == keys


@pytest.mark.parametrize("destination", that_replace_by("scope"))
def test_rows_are_replaced_by_a_condition_where_the_keys_cost_more(destination: str) -> None:
    hints = table_hints(EXECUTION_DATA_TABLE, destination)

    assert "merge_key" not in hints
    assert hints["write_disposition"] == {
        "disposition": "merge",
        "strategy": "delete-insert",
        "destination_scope": "event_id IN (SELECT event_id FROM {staging_table})",
    }


@pytest.mark.parametrize("destination", that_replace_by("merge key"))
def test_rows_are_replaced_by_the_merge_key_elsewhere(destination: str) -> None:
    hints = table_hints(EXECUTION_DATA_TABLE, destination)

    assert hints["merge_key"] == "event_id"
    assert "destination_scope" not in hints["write_disposition"]


@EACH_TABLE
def test_what_is_replaced_is_part_of_the_key(table: Table) -> None:
    """PostgreSQL reduces "key or part of the key" to the part; other conditions it would not."""
    assert table.replaced_by is None or table.replaced_by in table.key
