"""Known events, asked for again days later: no false verdict on what changes or comes late."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from np6_source.assumptions.comparison import Remembered, compared, remember
from np6_source.assumptions.control import Asking
from np6_source.assumptions.facts import Verdict
from tests.assumptions.server import DAY, NOW, Knobs, Server
from tests.assumptions.test_probe import CASES

LATER = NOW + 3 * DAY


def asking(server: Server) -> Asking:
    return Asking(server, 40, 40_000_000)


def verdicts(first: Knobs, second: Knobs, seed: int = 7, per_day: float = 500) -> list[Verdict]:
    """What an account tells that behaves in one way at first, and in another three days later."""
    before = remember(asking(Server(seed, first, per_day)), NOW)
    assert before is not None
    kept = Remembered.of_json(json.loads(json.dumps(before.as_json())))
    assert kept == before
    return compared(asking(Server(seed, second, per_day)), kept, LATER)


def results(*servers: Knobs, seed: int = 7, per_day: float = 500) -> dict[str, str]:
    return {one.question: one.result for one in verdicts(*servers, seed=seed, per_day=per_day)}


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"empty is 404"}))
def test_what_stays_as_it_was_is_confirmed_however_the_api_behaves(case: str) -> None:
    knobs, _ = CASES[case]
    found = results(knobs, knobs)
    assert "contradicted" not in found.values()
    # Single events that a response shows twice, or a large window that is cut, change nothing.
    assert found["final"] == "confirmed"


@pytest.mark.parametrize("seed", range(6_000, 6_020))
def test_events_that_moved_and_events_that_came_late_are_told_apart(seed: int) -> None:
    usual, moved, hidden = Knobs(), Knobs(moved=5), Knobs(hidden=5)
    assert results(usual, usual, seed=seed) == {"final": "confirmed", "late": "confirmed"}
    assert results(usual, moved, seed=seed) == {"final": "contradicted", "late": "cannot tell"}
    assert results(hidden, usual, seed=seed) == {"final": "confirmed", "late": "contradicted"}


def test_the_settings_are_named() -> None:
    (final, _) = verdicts(Knobs(), Knobs(moved=5))
    assert final.setting == ("timestamps_are_final", False)
    (_, late) = verdicts(Knobs(hidden=5), Knobs())
    # The late ones were 26 hours old at the first call, and came within three days after it.
    assert late.setting == ("recheck", "10d")


@pytest.mark.parametrize("changes", [{"flapping": 0.1}, {"hidden": 5}])
def test_events_that_vanish_prove_nothing(changes: dict[str, float]) -> None:
    second = replace(Knobs(), **changes)
    assert results(Knobs(), second) == {"final": "cannot tell", "late": "cannot tell"}


def test_nothing_is_kept_of_an_account_whose_events_vanish() -> None:
    assert remember(asking(Server(7, Knobs(flapping=0.1), 500)), NOW) is None


def test_nothing_is_kept_of_an_api_that_is_404_where_it_is_empty() -> None:
    assert remember(asking(Server(7, CASES["empty is 404"][0], 500)), NOW) is None


def test_what_a_cap_hides_may_have_come_late() -> None:
    capped = Knobs(cap=30)
    assert results(capped, capped) == {"final": "confirmed", "late": "cannot tell"}
    assert results(capped, Knobs(cap=60)) == {"final": "confirmed", "late": "cannot tell"}


def test_a_day_has_to_pass() -> None:
    server = Server(7, Knobs(), 500)
    before = remember(asking(server), NOW)
    assert before is not None
    server.requests = 0
    found = compared(asking(server), before, NOW + DAY - 1)
    assert {one.result for one in found} == {"cannot tell"}
    assert "too soon" in found[0].evidence
    assert server.requests == 0


def test_few_events_confirm_nothing() -> None:
    assert results(Knobs(), Knobs(), per_day=0.3) == {"final": "cannot tell", "late": "cannot tell"}


@pytest.mark.parametrize("text", ["[]", "{}", '{"asked_at": 1}', '{"window": 3}'])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--compare"):
        Remembered.of_json(json.loads(text))
