"""Rows about persons who were erased, before they leave ``events``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest

from np6_source.dimensions import SUBSCRIPTIONS
from np6_source.events.digests import DigestKey
from np6_source.events.suppression import (
    NOBODY,
    Suppression,
    personal_columns,
    quoting_columns,
    suppression,
)
from np6_source.schema import EVENT_TABLES, EVENTS, HITS, REJECTED_EVENTS, TABLES, Table
from np6_source.windows import to_datetime

KEY = DigestKey("a key of the company's, 32 bytes or more")
MARIE, PHONE = "marie@lab.example", "+33 6 12 34 56 78"
BEFORE = 1_000_000


def listed(*addresses: str, contacts: Iterable[str] = ()) -> Suppression:
    return suppression(
        KEY,
        [KEY.exact(one) for one in contacts],
        [(KEY.of(one, "address"), BEFORE) for one in addresses],
    )


def rows(table: Table, *values: dict[str, Any]) -> pa.Table:
    """Rows of a table; a time is in milliseconds since the epoch."""
    full = [
        {
            column.name: to_datetime(row[column.name])
            if column.data_type == "timestamp" and column.name in row
            else row.get(column.name)
            for column in table.columns
        }
        for row in values
    ]
    return pa.Table.from_pylist(full, schema=table.arrow_schema)


def event(number: int, time: int = 0, **values: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "timestamp": time, "requested_at": 0, **values}


def hit(number: int, time: int = 0, **values: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "timestamp": time, "requested_at": 0, **values}


def test_without_a_list_nothing_changes() -> None:
    tables = {"events": rows(EVENTS, event(1, contact_id="M1"))}
    assert NOBODY.of_events(tables) == tables


@pytest.mark.parametrize(
    ("values", "is_hers"),
    [
        ({"contact_id": "M1", "recipient": "x@y.example"}, True),
        ({"contact_id": "P1", "contact_unicity": MARIE}, False),
        ({"contact_unicity": MARIE.upper()}, True),
        ({"contact_hash": "0123456789ABCDEF0123456789abcdef"}, True),
        ({"recipient": MARIE}, True),
        ({"contact_unicity": "x@y.example", "recipient": MARIE}, False),
        ({"contact_unicity": MARIE, "timestamp": BEFORE}, False),
        ({"contact_id": "M1", "timestamp": BEFORE}, True),
        ({"contact_unicity": MARIE, "timestamp": BEFORE - 1}, True),
    ],
    ids=str,
)
def test_whose_an_event_is(values: dict[str, Any], is_hers: bool) -> None:
    her = listed(MARIE, "0123456789abcdef0123456789abcdef", contacts=["M1"])

    stored = her.of_events({"events": rows(EVENTS, event(1, **values))})["events"]

    (row,) = stored.to_pylist()
    kept = {name for name in values if name != "timestamp" and row[name] is not None}
    if is_hers:
        assert kept == set()
    else:
        late = values.get("timestamp", 0) >= BEFORE
        assert kept == {n for n in values if n != "timestamp"} - (
            {"recipient"} if values.get("recipient") == MARIE and not late else set()
        )
    assert (row["id"], stored.schema) == ("e1", EVENTS.arrow_schema)


def test_every_personal_column_of_every_table_is_blanked() -> None:
    tables = {
        table.name: rows(
            table,
            {
                column.name: 0 if column.data_type in ("timestamp", "bigint") else "text"
                for column in table.columns
            }
            | {"contact_id": "M1", "id": "text"},
        )
        for table in EVENT_TABLES
    }

    stored = listed(contacts=["M1"]).of_events(tables)

    assert set(tables) - set(stored) == {"events__execution_data"}
    for table in EVENT_TABLES:
        if table.name in stored:
            (row,) = stored[table.name].to_pylist()
            personal = {column.name for column in personal_columns(table)}
            assert {name for name, value in row.items() if value is None} == personal


@pytest.mark.parametrize(
    "text",
    [
        f"for {MARIE}.",
        f"<{MARIE.upper()}>",
        "https://shop.example/?to=marie%40lab.example",
        "https://r.example/?u=https%3A%2F%2Fshop.example%2F%3Fto%3Dmarie%2540lab.example",
        '{"a":["marie@lab.example"]}',
        "call 0033612345678 now",
        "tel:+33-6-12-34-56-78",
    ],
)
def test_texts_that_quote_an_address_go_from_others_rows(text: str) -> None:
    her = listed(MARIE, PHONE)
    tables = {
        "events": rows(EVENTS, event(1, contact_id="P1"), event(2, BEFORE, contact_id="P1")),
        "events__hits": rows(
            HITS,
            hit(1, link_label=text, link_destination="https://shop.example/"),
            hit(2, BEFORE, link_label=text),
        ),
    }

    first, late = her.of_events(tables)["events__hits"].to_pylist()

    assert (first["link_label"], first["link_destination"]) == (None, "https://shop.example/")
    assert late["link_label"] == text


@pytest.mark.parametrize("text", ["mary@lab.example", "marie at lab.example", "marie@lab.examples"])
def test_texts_that_do_not_stay(text: str) -> None:
    rejected = rows(REJECTED_EVENTS, {"content": text, "window_start": 0})
    stored = listed(MARIE).of_events({"rejected_events": rejected})
    assert stored["rejected_events"]["content"].to_pylist() == [text]


def test_data_that_quotes_an_address_goes_by_its_row() -> None:
    table = next(table for table in TABLES if table.name == "events__execution_data")
    data = rows(
        table,
        hit(1, key="sponsor", value=MARIE),
        hit(1, key=MARIE, value="1"),
        hit(1, key="city", value="Paris"),
    )
    tables = {"events": rows(EVENTS, event(1, contact_id="P1")), table.name: data}

    stored = listed(MARIE).of_events(tables)[table.name]

    assert stored["key"].to_pylist() == ["city"]


def test_names_about_her_are_left_out_by_id_and_by_address_alone() -> None:
    one = {"contact_id": "M1", "contact_unicity": "new@lab.example"}
    other = {"contact_id": "P1", "contact_unicity": MARIE}
    alone = {"contact_unicity": MARIE}
    given = rows(SUBSCRIPTIONS, one, other, alone)

    stored = listed(MARIE, contacts=["M1"]).of_names(SUBSCRIPTIONS, given)

    assert stored["contact_id"].to_pylist() == ["P1"]


def test_columns_follow_from_the_schema() -> None:
    assert "link_destination" in quoting_columns(HITS)
    assert "user_agent" in {column.name for column in personal_columns(HITS)}
    assert "event_id" not in {column.name for column in personal_columns(HITS)}
