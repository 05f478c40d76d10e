"""What a row of ``load_windows`` says of the response it proves, beside its span."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.ledger import coverage
from np6_source.windows import Window
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


class TestReadingsAddUp:
    def test_a_run_stands_apart_from_what_it_reads_again(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake
    ) -> None:
        made = [event(n, at("03-01T00:01") + n * 60_000) for n in range(24 * 60)]
        sandbox = serve(made, now=at("03-01T06:00"))
        for hour in ("06:00", "07:00", "08:00"):
            sandbox.now = at(f"03-01T{hour}")
            warehouse.run(source_of(sandbox, ALL))
        rows = warehouse.rows("load_windows", "window_start, requested_at")
        place = rows[0]["window_end"]
        again = [row for row in rows if row["window_end"] == place]
        assert [row["window_end"] - row["window_start"] for row in again[1:]] == [600_000]
        assert [row["event_count"] for row in again[1:]] == [10]
        first_read = [
            row
            for row in rows
            if row["window_start"] in (at("03-01"), *(r["window_end"] for r in rows))
        ]
        settled = max(row["window_end"] for row in rows)
        there = [row for row in warehouse.rows("events") if row["timestamp"] < settled]
        assert sum(row["event_count"] for row in first_read) == len(there) > 400

    def test_a_response_over_days_has_a_row_for_each(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake
    ) -> None:
        made = [event(n, at("03-01T12:00") + n * 6 * 3_600_000) for n in range(12)]
        made[3] |= {"type": "dismiss", "mood": "glad"}
        api = serve(made, now=at("03-05"))
        warehouse.run(
            source_of(api, ALL, start=at("03-01T06:00"), end=at("03-04T06:00"), window=9e5)
        )
        rows = warehouse.rows("load_windows", "window_start")
        assert [row["window_start"] for row in rows] == [
            *(at("03-01T06:00"), at("03-02"), at("03-03"), at("03-04")),
        ]
        assert [row["event_count"] for row in rows] == [2, 4, 4, 1]
        assert [json.loads(row["type_counts"]).get("dismiss", 0) for row in rows] == [0, 1, 0, 0]
        assert [json.loads(row["unmapped_paths"]).get("mood", 0) for row in rows] == [0, 1, 0, 0]
        assert len({(row["request_id"], row["requested_at"]) for row in rows}) == 1
        assert [bool(row["byte_count"]) for row in rows] == [True, False, False, False]
        assert {row["new_count"] for row in rows} == {None}

    def test_years_of_history_are_no_row_a_day(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake
    ) -> None:
        api = serve([event(1, at("2023-01-05"))], now=at("03-05"))
        warehouse.run(source_of(api, ALL, start=at("2022-01-01"), end=at("03-04")))
        rows = warehouse.rows("load_windows")
        old = [row for row in rows if row["window_end"] < at("2024-01-01")]
        assert len(old) < 730 / 10
        assert len([row for row in rows if row["window_start"] >= at("02-01")]) == 32

    @pytest.mark.parametrize(("days_are_read", "row_count"), [(False, 1), (True, 4)])
    def test_days_of_a_contact_have_rows_only_where_a_recheck_reads_them(
        self,
        warehouse: Warehouse,
        serve: TMake,
        source_of: TMake,
        days_are_read: bool,
        row_count: int,
    ) -> None:
        hits, opens = "targets_events_hits_by_id", "target_events_activations"
        made = [event(n, at("03-01T12:00") + n * 6 * 3_600_000) for n in range(12)]
        options = {"start": at("03-01T06:00"), "end": at("03-04T06:00"), "window": 9e5}
        if days_are_read:
            options |= {"recheck": "2d", "recheck_resources": f"{hits},{opens}"}
        api = serve(made, now=at("03-05"))
        ids = ["CON00001", "CON00002"]
        warehouse.run(source_of(api, opens, target_ids=ids, **options))
        warehouse.run(source_of(api, hits, target_ids=ids, classification="mpp,gsr", **options))

        rows = Counter(
            (row["resource"], row["scope_id"], row["classification"])
            for row in warehouse.rows("load_windows")
        )
        assert rows == {
            (resource, contact, classification): row_count
            for resource, classification in ((opens, ""), (hits, "mpp"), (hits, "gsr"))
            for contact in ids
        }
        covered = coverage(warehouse.pipeline)
        assert len(covered) == len(rows)
        assert set(map(tuple, covered.values())) == {(Window(options["start"], options["end"]),)}
