"""How soon events can be read, against a server whose events take a while."""

from __future__ import annotations

import random

import pytest

from np6_source.assumptions.control import Asking
from np6_source.assumptions.facts import Asked, Response, Seen, Verdict, seen
from np6_source.assumptions.visibility import watched
from np6_source.windows import SECOND
from tests.support import at

BEGIN = at("2024-03-01")


def watching(
    mean: float,
    per_second: float = 1.0,
    settle: int = 30,
    status: int = 200,
    cap: int | None = None,
    slow: float = 0.0,
) -> Verdict:
    """Ten minutes of a server whose events can be read after so many seconds on average.

    A share of them, ``slow``, takes five minutes.
    """
    dice = random.Random(3)
    events: list[tuple[int, Seen]] = []
    for number in range(int(900 * per_second)):
        timestamp = BEGIN - 200 * SECOND + int(number * SECOND / per_second)
        event = seen({"id": str(number), "timestamp": timestamp, "type": "hit"})
        assert event is not None
        delay = dice.expovariate(1 / mean) if mean else 0.0
        delay = 300.0 if dice.random() < slow else delay
        events.append((timestamp + int(delay * SECOND), event))
    now = BEGIN

    def ask(asked: Asked) -> Response:
        start, end = at(str(asked.start)), at(str(asked.end))
        found = [
            event
            for readable, event in events
            if readable <= now and start <= event.timestamp < end
        ]
        return Response(status, tuple(found[:cap]) if status == 200 else None)

    def sleep(seconds: float) -> None:
        nonlocal now
        now += int(seconds * SECOND)

    asking = Asking(ask, 200, 10**9)
    return watched(asking, 600 * SECOND, settle * SECOND, lambda: now, sleep)


def test_events_that_come_at_once_are_within_settle() -> None:
    verdict = watching(0)
    assert (verdict.result, verdict.setting) == ("confirmed", None)
    assert "within 15 s; 0 later than 30 s" in verdict.evidence


def test_events_that_take_longer_ask_for_a_longer_settle() -> None:
    verdict = watching(20)
    assert (verdict.result, verdict.setting) == ("contradicted", ("settle", 90))
    assert watching(20, settle=90).result == "confirmed"


def test_events_that_no_look_had_are_late() -> None:
    verdict = watching(0, slow=0.2)
    assert verdict.result == "contradicted"
    assert "99 of 100 could be read within 15 s" not in verdict.evidence
    assert "if it is as long as they take" in verdict.meaning


def test_a_longer_settle_is_watched_for_as_long() -> None:
    assert watching(0, settle=240).result == "confirmed"
    assert watching(400, settle=200).result == "contradicted"


@pytest.mark.parametrize(("per_second", "status"), [(0.1, 200), (1.0, 403)])
def test_too_few_events_tell_nothing(per_second: float, status: int) -> None:
    assert watching(20, per_second, status=status).result == "cannot tell"


@pytest.mark.parametrize(("per_second", "cap"), [(2.0, 100), (4.0, 250), (1.0, 60)])
def test_what_a_cap_has_cut_did_not_come_late(per_second: float, cap: int) -> None:
    verdict = watching(0, per_second, cap=cap)
    assert verdict.result == "cannot tell"
    assert "cut" in verdict.evidence
    # A cap that is never reached changes nothing.
    assert watching(0, per_second, cap=10_000).result == "confirmed"
