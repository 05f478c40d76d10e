"""How often an id that NP6 does not know is requested, over one resource's state."""

from __future__ import annotations

from typing import Any

from np6_source.extract.unknown_ids import (
    RUNS_UNKNOWN,
    not_due,
    not_requested,
    note_known,
    note_unknown,
)
from np6_source.windows import DAY, SECOND

HOUR = 3_600 * SECOND


def unknown_in(runs: int) -> dict[str, Any]:
    """A state after so many hourly runs in which NP6 did not know the id."""
    state: dict[str, Any] = {}
    for run in range(runs):
        note_unknown(state, "gone", run * HOUR)
    return state


def test_an_id_is_requested_until_it_was_unknown_in_enough_runs() -> None:
    for runs in range(RUNS_UNKNOWN):
        assert not_due(unknown_in(runs), ["gone", "known"], runs * HOUR) == set()
    assert not_due(unknown_in(RUNS_UNKNOWN), ["gone", "known"], 3 * HOUR) == {"gone"}


def test_it_is_requested_again_a_day_after_it_was_last() -> None:
    state, last = unknown_in(RUNS_UNKNOWN), (RUNS_UNKNOWN - 1) * HOUR
    assert not_due(state, ["gone"], last + DAY - 1) == {"gone"}
    assert not_due(state, ["gone"], last + DAY) == set()


def test_a_run_counts_once_however_often_it_asks() -> None:
    state: dict[str, Any] = {}
    for _ in range(RUNS_UNKNOWN):
        note_unknown(state, "gone", HOUR)
    assert not_due(state, ["gone"], 2 * HOUR) == set()


def test_a_response_ends_it() -> None:
    state = unknown_in(RUNS_UNKNOWN)
    note_known(state, "gone")
    assert not_due(state, ["gone"], 3 * HOUR) == set()


def test_an_id_that_was_never_unknown_leaves_the_state_as_it_is() -> None:
    state: dict[str, Any] = {}
    note_known(state, "known")
    assert state == {}


def test_an_id_that_is_left_out_is_a_failure_that_names_it() -> None:
    failure = not_requested("action_events_activations", "gone")
    assert "action_events_activations, id gone" in str(failure)
    assert "what was loaded of it stays" in str(failure)
