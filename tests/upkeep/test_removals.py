"""What retention removes when the span that is kept changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from np6_source.upkeep.removals import remove
from tests.support import Warehouse, at, event

FIRST, SECOND, THIRD = (at("03-01T12:00") + hour * 3_600_000 for hour in range(3))
SHORT, LONG = SECOND + 1, FIRST + 1
"""Cutoffs of a short and of a long span: what is before them goes."""


@pytest.fixture
def load(warehouse: Warehouse, serve: Any, source_of: Any) -> Callable[[], None]:
    events = [event(n, moment) for n, moment in enumerate((FIRST, SECOND, THIRD))]
    sandbox = serve(events, now=at("03-02T03:00"))
    span = {"start": "2024-03-01", "end": "2024-03-02"}

    def call() -> None:
        warehouse.load(lambda: source_of(sandbox, "actions_events", on_error="keep", **span))

    return call


def left(warehouse: Warehouse) -> list[int]:
    return [row["timestamp"] for row in warehouse.rows("events", "timestamp")]


@pytest.mark.parametrize(("cutoff", "kept"), [(SHORT, [THIRD]), (LONG, [SECOND, THIRD])])
def test_what_was_loaded_again_goes_whatever_went_before(
    load: Any, warehouse: Warehouse, cutoff: int, kept: list[int]
) -> None:
    load()
    remove(warehouse.pipeline, SHORT)
    assert left(warehouse) == [THIRD]
    load()  # A longer span was wanted for a time.
    assert left(warehouse) == [FIRST, SECOND, THIRD]

    removal = remove(warehouse.pipeline, cutoff)

    assert removal.rows == {"events": 3 - len(kept)}
    assert left(warehouse) == kept
    assert remove(warehouse.pipeline, cutoff).rows == {}


def test_a_load_looks_once_a_day_and_again_where_the_span_has_changed(
    load: Any, warehouse: Warehouse
) -> None:
    load()
    remove(warehouse.pipeline, SHORT)
    load()

    assert remove(warehouse.pipeline, SHORT, once_a_day=True).rows == {}
    assert remove(warehouse.pipeline, LONG, once_a_day=True).rows == {"events": 1}
    assert remove(warehouse.pipeline, SHORT, once_a_day=True).rows == {"events": 1}
