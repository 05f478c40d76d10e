"""What a row of ``load_windows`` says of the response it proves, beside its span."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support import Warehouse, at, event

TMake = Callable[..., Any]
ALL = "actions_events"
LONG_KEY = "k" * 41


def counts(warehouse: Warehouse) -> list[dict[str, Any]]:
    """The counts of every row, in order of the windows."""
    return [
        {
            "purpose": row["purpose"],
            "events": row["event_count"],
            "distinct": row["distinct_count"],
            "outside": row["outside_count"],
            "types": json.loads(row["type_counts"]),
            "paths": json.loads(row["unmapped_paths"]),
        }
        for row in warehouse.rows("load_windows", "window_start")
    ]


def test_a_row_counts_types_unknown_ones_included_and_paths_without_a_column(
    warehouse: Warehouse, serve: TMake, source_of: TMake
) -> None:
    made = [
        event(1, at("03-01T01:00")),
        event(2, at("03-01T02:00"), type="dismiss"),
        event(3, at("03-01T03:00"), mood="glad"),
        event(4, at("03-01T04:00"), **{"someone@example.com": 1, LONG_KEY: 2}),
    ]
    warehouse.run(source_of(serve(made, now=at("03-02")), ALL))
    (row,) = counts(warehouse)
    assert (row["purpose"], row["events"], row["distinct"]) == ("load", 4, 4)
    assert row["types"] == {"activation": 3, "dismiss": 1}
    assert row["paths"]["mood"] == 1
    text = json.dumps(row)
    assert "someone" not in text
    assert LONG_KEY not in text
    assert row["paths"]["~"] == 1  # Both are of one event.


def test_events_that_stand_twice_and_those_outside_show(
    warehouse: Warehouse, raw_server: TMake, answer_with: TMake, source_of: TMake
) -> None:
    made = [event(n, at("03-01T01:00") + n) for n in (1, 1, 2, 3, 3)]
    outside = event(9, at("02-01"))
    api = raw_server(answer_with(json.dumps([outside, *made]).encode()))
    span = {"start": at("03-01"), "end": at("03-02")}
    warehouse.run(source_of(api, ALL, **span))
    (row,) = counts(warehouse)
    assert row["purpose"] == "backfill"
    assert (row["events"], row["distinct"], row["outside"]) == (5, 3, 1)
