"""Settings for an API that differs from what is assumed, as a probe finds out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from np6_source.sandbox import Sandbox, Variants
from np6_source.windows import SECOND, Window

TMake = Callable[..., Any]
NAME = "actions_events"


@pytest.mark.parametrize(
    "variants",
    [
        Variants(start_bound="exclusive"),
        Variants(bounds_cut="minute"),
        Variants(bounds_cut="second_up"),
    ],
    ids=["exclusive", "minute", "second_up"],
)
def test_with_wider_bounds_nothing_is_lost_at_edges_and_nothing_is_twice(
    variants: Variants, serve: TMake, event: TMake, at: TMake, warehouse: Any, source_of: TMake
) -> None:
    start, edge, end = at("2024-03-02"), at("2024-03-03"), at("2024-03-04")
    moments = (start, start + 1, edge - 1, edge, edge + 500, end - 1)
    sandbox: Sandbox = serve(
        [event(n, moment) for n, moment in enumerate(moments)], now=end + 90_000
    )
    other: Sandbox = serve(sandbox.account, now=end + 90_000, variants=variants)
    source = source_of(other, NAME, start=start, end=end, window=86_400, widen_bounds=60)
    warehouse.run(source)
    assert len(warehouse.rows("events")) == len(moments)
    assert warehouse.windows(NAME) == [Window(start, edge), Window(edge, end)]
    assert min(one.query["start"] for one in other.requests) == "2024-03-01T23:59:00Z"


def test_a_window_whose_margin_alone_has_events_is_complete(
    serve: TMake, event: TMake, at: TMake, warehouse: Any, source_of: TMake
) -> None:
    start, end = at("2024-03-02"), at("2024-03-03")
    sandbox = serve([event(1, start - 30 * SECOND)], now=end + 90_000)
    warehouse.run(source_of(sandbox, NAME, start=start, end=end, widen_bounds=60))
    assert warehouse.windows(NAME) == [Window(start, end)]


def test_a_response_of_as_many_rows_as_the_limit_is_halved(
    serve: TMake, event: TMake, at: TMake, warehouse: Any, source_of: TMake
) -> None:
    start, end = at("2024-03-02"), at("2024-03-03")
    # Spread so that nothing in the cut response looks cut: 7 is no round number.
    events = [event(n, start + n * (end - start) // 20) for n in range(20)]
    sandbox = serve(events, now=end + 90_000, variants=Variants(row_cap=7))
    warehouse.run(source_of(sandbox, NAME, start=start, end=end, row_limit=7))
    assert len(warehouse.rows("events")) == 20
