"""A reload whose pipeline another process runs meanwhile, by dlt's ``run``, which takes no lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from np6_source.errors import AlreadyRunning
from tests.support import Warehouse, at, event

TMake = Callable[..., Any]
EVENTS = [event(n, at("03-01") + n * 3_600_000) for n in range(24)]


def test_a_reload_that_the_state_has_forgotten_is_not_done(
    warehouse: Warehouse, serve: TMake, source_of: TMake
) -> None:
    """The other process writes the state whole, as it was before the reload began."""
    warehouse.run(source_of(serve(EVENTS[1:], now=at("03-03")), "actions_events"))
    state = warehouse.pipelines_dir / warehouse.name / "state.json"
    before = state.read_bytes()
    late = serve(EVENTS, now=at("03-03T01:00"))  # Has one that came after the first load.
    sources = iter(range(9))

    def overtaken(**options: Any) -> Any:
        # One source to plan the reload, one to ask NP6 first, and one for each package.
        if next(sources) == 2:
            state.write_bytes(before)
        return alone(**options)

    def alone(**options: Any) -> Any:
        return source_of(late, "actions_events", on_error="keep", **options)

    with pytest.raises(AlreadyRunning, match="Reload again when no other process runs"):
        warehouse.load(overtaken, reload=True)

    assert warehouse.ids() == [one["id"] for one in EVENTS[1:]]
    assert not warehouse.load(alone, reload=True).failures
    assert warehouse.ids() == [one["id"] for one in EVENTS]
