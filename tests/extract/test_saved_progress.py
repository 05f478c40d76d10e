"""The progress in dlt's resource state, and up to where the whole resource is complete."""

from __future__ import annotations

from typing import Any

from np6_source.endpoints import ENDPOINTS
from np6_source.extract.progress import Progress, Scope, ScopeRun
from np6_source.extract.saved_progress import Reached, SavedProgress
from np6_source.windows import SECOND

HOUR = 3_600 * SECOND

OVER_ACCOUNT = next(row for row in ENDPOINTS if row.name == "actions_events")
OVER_ACTIONS = next(row for row in ENDPOINTS if row.name == "action_events_activations")


def runs_of(*labels: str) -> list[ScopeRun]:
    return [ScopeRun(Scope(one, one, 0, 9 * HOUR), {"": None}) for one in labels]


def moved(saved: SavedProgress, until: dict[str, int], *labels: str) -> int | None:
    """Up to where the resource is complete once some scopes have got so far."""
    after = Reached({key: Progress(0, end) for key, end in until.items()}, is_done=True)
    return saved.move(after, runs_of(*labels), OVER_ACTIONS)


def test_the_cursor_of_ids_follows_the_one_that_is_least_advanced() -> None:
    state: dict[str, Any] = {}
    saved = SavedProgress(state, None)
    assert moved(saved, {"a": 5 * HOUR, "b": 3 * HOUR}, "a", "b") == 3 * HOUR
    assert state["places"]["a"]["until"] == 5 * HOUR
    assert SavedProgress(state, None).of("b") == Progress(0, 3 * HOUR)


def test_the_cursor_waits_for_an_id_without_progress() -> None:
    assert moved(SavedProgress({}, None), {"a": 5 * HOUR}, "a", "failed") is None


def test_the_cursor_of_the_account_is_of_requests_without_a_class() -> None:
    saved = SavedProgress({"places": {"": {"start": 0, "until": 4 * HOUR}}}, None)
    robots = ScopeRun(Scope("", "", 0, 9 * HOUR, ("mpp",)), {"mpp": None})
    after = Reached({" robots=mpp": Progress(0, HOUR)}, is_done=True)
    assert saved.move(after, [robots], OVER_ACCOUNT) == 4 * HOUR


def test_a_backfill_moves_no_cursor_and_leaves_no_trace_once_it_is_complete() -> None:
    state: dict[str, Any] = {"places": {"a": {"start": 0, "until": HOUR}}}
    first = SavedProgress(state, (0, 9 * HOUR))
    half = Reached({"a": Progress(0, 4 * HOUR)}, is_done=False)
    assert first.move(half, runs_of("a"), OVER_ACTIONS) is None
    assert not first.is_whole

    second = SavedProgress(state, (0, 9 * HOUR))
    assert second.of("a") == Progress(0, 4 * HOUR)
    assert moved(second, {"a": 9 * HOUR}, "a") is None
    assert second.is_whole
    assert state == {"places": {"a": {"start": 0, "until": HOUR}}}
