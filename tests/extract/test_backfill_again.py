"""A backfill that is asked for again is read whole where the one before was complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from np6_source.windows import SECOND
from tests.support import Warehouse, at, event

ALL = "actions_events"
HOUR = 3600 * SECOND
SPAN = {"start": "2024-03-01", "end": "2024-03-02", "window": 6 * 3600}
TMake = Callable[..., Any]


def test_a_complete_one_is_read_whole_and_finds_what_came_late(
    warehouse: Warehouse, serve: TMake, source_of: TMake
) -> None:
    made = [event(n, at("03-01") + n * HOUR) for n in range(24)]
    first = serve([one for one in made if one["id"] != "event-00003"], now=at("03-03"))
    warehouse.run(source_of(first, ALL, same_account=True, **SPAN))
    assert len(warehouse.ids()) == 23

    again = serve(made, now=at("03-03"))
    warehouse.run(source_of(again, ALL, same_account=True, **SPAN))

    assert min(request.query["start"] for request in again.requests) == "2024-03-01T00:00:00Z"
    assert warehouse.ids() == [one["id"] for one in made]
