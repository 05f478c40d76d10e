"""What the run before has loaded of the overlap is counted and not loaded again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from np6_source.api import pieces
from np6_source.extract import known_pieces
from np6_source.sandbox import EventRow, Sandbox
from np6_source.windows import SECOND, Window

ALL = "actions_events"
MINUTE = 60 * SECOND
COUNT = 400

TMake = Callable[..., Any]
TAt = Callable[[str], int]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut at about every eighth event."""
    monkeypatch.setattr(pieces, "SMALLEST_BY_CONTENT", 600)
    monkeypatch.setattr(pieces, "EVENTS_BY_CONTENT", 8)
    monkeypatch.setattr(known_pieces, "FEWEST", 1)


@pytest.fixture
def now(at: TAt) -> int:
    return at("03-02")


@pytest.fixture
def events(event: TMake, now: int) -> list[Any]:
    """One every two seconds, over the overlap of ten minutes and before."""
    return [event(n, now - MINUTE - n * 2 * SECOND) for n in range(COUNT)]


@pytest.fixture
def sandbox(serve: TMake, events: list[Any], now: int) -> Sandbox:
    sandbox: Sandbox = serve(events, now=now)
    return sandbox


class Runs:
    """Runs of one schedule into one database."""

    def __init__(self, warehouse: Any, sandbox: Sandbox, source_of: TMake) -> None:
        self.warehouse, self.sandbox, self.source_of = warehouse, sandbox, source_of

    def run(self, **options: Any) -> dict[str, Any]:
        """One more; the metrics of its resource."""
        source = self.source_of(self.sandbox, ALL, **options)
        self.warehouse.run(source)
        metrics: dict[str, Any] = source.resources[ALL].custom_metrics
        return metrics

    def later(self, minutes: float = 1) -> None:
        self.sandbox.now += timedelta(minutes=minutes)


@pytest.fixture
def runs(warehouse: Any, sandbox: Sandbox, source_of: TMake) -> Runs:
    return Runs(warehouse, sandbox, source_of)


def changed(events: list[Any], number: int, *changes: Any) -> list[Any]:
    """The events with others in place of one."""
    return [*events[:number], *changes, *events[number + 1 :]]


def requested(runs: Runs) -> dict[str, int]:
    """When the row of each event was requested, by id."""
    return {row["id"]: row["requested_at"] for row in runs.warehouse.rows("events")}


def test_a_second_run_counts_what_it_knows_and_loads_what_is_new(
    runs: Runs, serve: TMake, events: list[Any], event: TMake, now: int
) -> None:
    first = runs.run()
    assert (first["events"], first["known"]) == (COUNT, 0)
    before = requested(runs)
    runs.sandbox = serve([*events, event(COUNT, now + SECOND)], now=now + MINUTE)
    second = runs.run()
    assert second["events"] > 250
    assert second["known"] > 0.8 * second["events"]
    after = requested(runs)
    assert sorted(after) == sorted([*before, f"event-{COUNT:05d}"])
    assert sum(before[one] == after[one] for one in before) >= COUNT - 50


def test_the_tables_and_the_ledger_are_as_without(
    runs: Runs, new_warehouse: TMake, source_of: TMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = Runs(new_warehouse("plain"), runs.sandbox, source_of)
    for _ in range(3):
        assert runs.run()
        with monkeypatch.context() as patch:
            patch.setattr(pieces, "SMALLEST_BY_CONTENT", 10**9)
            assert others.run()["known"] == 0
        runs.later(2)
    assert runs.warehouse.contents() == others.warehouse.contents()
    counts = ("window_start", "window_end", "event_count", "distinct_count", "type_counts")
    ledgers = [
        [
            {name: row.get(name) for name in counts}
            for row in warehouse.rows("load_windows", "requested_at")
        ]
        for warehouse in (runs.warehouse, others.warehouse)
    ]
    assert ledgers[0] == ledgers[1]


def test_one_changed_event_costs_its_own_piece(
    runs: Runs, serve: TMake, events: list[Any], event: TMake, now: int
) -> None:
    runs.run()
    other = event(50, events[50]["timestamp"], action="000AA9")
    runs.sandbox = serve(changed(events, 50, other), now=now + MINUTE)
    metrics = runs.run()
    assert 0.7 * metrics["events"] < metrics["known"] < metrics["events"]
    (row,) = [row for row in runs.warehouse.rows("events") if row["id"] == "event-00050"]
    assert row["action_id"] == "000AA9"
    assert len(runs.warehouse.ids()) == len(set(runs.warehouse.ids())) == COUNT


def test_what_changes_there_and_back_ends_as_it_is(
    runs: Runs, serve: TMake, events: list[Any], event: TMake, now: int
) -> None:
    """Only what the very last run has seen is known."""
    for number, action in enumerate(("000AA1", "000AA9", "000AA1")):
        other = event(50, events[50]["timestamp"], action=action)
        runs.sandbox = serve(changed(events, 50, other), now=now + number * MINUTE // 2)
        runs.run()
    (row,) = [row for row in runs.warehouse.rows("events") if row["id"] == "event-00050"]
    assert row["action_id"] == "000AA1"


def test_a_late_event_is_loaded_and_measured(
    warehouse: Any, serve: TMake, source_of: TMake, events: list[Any], event: TMake, now: int
) -> None:
    late = EventRow(event(999, now - 3 * MINUTE + 1), visible_at=now + 10 * SECOND)
    runs = Runs(warehouse, serve([*events, late], now=now), source_of)
    runs.run()
    runs.later()
    metrics = runs.run()
    assert metrics["late_events"] == 1
    assert metrics["known"] > 0
    assert "event-00999" in warehouse.ids()


def test_events_that_are_gone_are_missed(
    runs: Runs, serve: TMake, events: list[Any], now: int
) -> None:
    runs.run()
    runs.sandbox = serve(changed(events, 50), now=now + MINUTE)
    with pytest.raises(Exception, match="lacks 1 events that the run before saw"):
        runs.run()


def test_events_with_something_unknown_are_told_by_every_run(
    warehouse: Any, serve: TMake, source_of: TMake, events: list[Any], now: int
) -> None:
    odd = [one | {"surprise": 1} if n == 50 else one for n, one in enumerate(events)]
    runs = Runs(warehouse, serve(odd, now=now), source_of)
    runs.run()
    runs.later()
    metrics = runs.run()
    assert metrics["unmapped"] == {"surprise": 1}
    assert metrics["known"] > 0
    assert len(warehouse.ids()) == COUNT


@pytest.mark.parametrize("what", ["backfill", "another policy", "emptied"])
def test_known_pieces_are_loaded_where_somebody_wants_them(
    runs: Runs, what: str, at: TAt, now: int
) -> None:
    runs.run()
    runs.later()
    if what == "backfill":
        runs.warehouse.execute("DELETE FROM np6.events WHERE id = 'event-00050'")
        runs.run(start=now - 10 * MINUTE, end=now - MINUTE)
        assert len(runs.warehouse.ids()) == COUNT
    elif what == "another policy":
        assert runs.run(bad_events="keep")["known"] == 0
    else:
        runs.warehouse.execute("DELETE FROM np6.events", "DELETE FROM np6.load_windows")
        assert runs.run()["known"] == 0
        assert len(runs.warehouse.ids()) == COUNT


def test_a_reload_loads_everything(runs: Runs) -> None:
    runs.run()
    before = max(requested(runs).values())
    runs.later()
    runs.warehouse.load(lambda: runs.source_of(runs.sandbox, ALL), reload=True)
    assert len(runs.warehouse.ids()) == COUNT
    assert min(requested(runs).values()) > before


def test_a_run_that_fails_leaves_what_was_known(runs: Runs, at: TAt) -> None:
    runs.run()
    runs.later()

    def broken(_: Any) -> Any:
        raise KeyError("shop")

    source = runs.source_of(runs.sandbox, ALL)
    source.resources[ALL].add_map(broken)
    before = runs.warehouse.state()
    with pytest.raises(Exception, match="shop"):
        runs.warehouse.run(source)
    assert runs.warehouse.state() == before
    assert runs.run()["known"] > 0
    assert len(runs.warehouse.ids()) == COUNT
    assert runs.warehouse.windows(ALL)[-1].end >= Window(at("03-02"), at("03-02T00:01")).start


@pytest.mark.parametrize(("fewest", "are_kept"), [(1, True), (COUNT + 1, False)])
def test_small_pieces_leave_nothing_in_the_state(
    runs: Runs, fewest: int, are_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_pieces, "FEWEST", fewest)
    runs.run()
    assert ('"pieces"' in runs.warehouse.state()) == are_kept
