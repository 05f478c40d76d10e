"""Whether events change or come days late (Q8): what an earlier call knew, asked for once more."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..windows import DAY, Window
from .control import TRIES, Asking, find_control, window_query
from .facts import EVENTS, BudgetUsedUp, Refused, Verdict
from .question import MINUTE, Known, Question

REQUESTS = 20
"""Requests that remembering or comparing takes at most, where each is answered at once."""
SOONEST = DAY
"""Milliseconds that have to pass."""
WITNESSES = 15
WIDER = 3
"""By how many times its width a window is widened, so that it holds more."""
FEWEST_DAYS = 7
UNSTABLE = "responses are not stable: known events vanished"


def _never_compared(known: Known, question: Question) -> Verdict:
    return question.no("give --compare")


FINAL = Question("final", "events keep their timestamps", _never_compared)
LATE = Question("late", "events can be read 26 hours after their timestamps", _never_compared)
"""Both are asked where there is an earlier call to compare with."""


@dataclass(frozen=True)
class Remembered:
    """The events of a window, as a call knew them.

    Attributes:
        asked_at: When it asked, milliseconds since the epoch.
        window: The window.
        events: Timestamp by digest of the id.
        is_whole: Whether these are all of the window's.
    """

    asked_at: int
    window: Window
    events: Mapping[str, int]
    is_whole: bool

    def as_json(self) -> dict[str, Any]:
        """As a file keeps it."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Any) -> Remembered:
        """As a file has it.

        Raises:
            ValueError: It is nothing that ``as_json`` has made.
        """
        try:
            window = Window(**content["window"])
            events = {str(name): int(moment) for name, moment in content["events"].items()}
            return cls(int(content["asked_at"]), window, events, bool(content["is_whole"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not what --compare keeps ({error!r})") from None


def remember(asking: Asking, now: int) -> Remembered | None:
    """Known events, for a later call to compare with.

    Args:
        asking: Asks.
        now: The time, milliseconds since the epoch.

    Returns:
        None where there are none, or known events vanish.

    Raises:
        BudgetUsedUp: No further request may be sent.
        Refused: The API refuses every request.
    """
    control = find_control(asking, now)
    if control is None:
        return None
    found = _asked_again(asking, control.window)
    if found is None or not found.ids_of_all >= {digest(one) for one in control.events}:
        return None
    return Remembered(now, control.window, found.events, control.is_whole and found.is_whole)


def compared(asking: Asking, before: Remembered, now: int) -> list[Verdict]:
    """Verdicts on ``FINAL`` and ``LATE``.

    Args:
        asking: Asks.
        before: What an earlier call knew.
        now: The time, milliseconds since the epoch.
    """
    try:
        return _compared(asking, before, now)
    except (BudgetUsedUp, Refused) as error:
        return _no(str(error))


def _compared(asking: Asking, before: Remembered, now: int) -> list[Verdict]:
    passed = now - before.asked_at
    if passed < SOONEST:
        return _no(f"too soon: the earlier call was {passed / DAY * 24:,.0f} hours ago")
    found = _asked_again(asking, before.window)
    if found is None:
        return _no("a response could not be used")
    there = {**found.events}
    missing = set(before.events) - found.ids_of_all
    if missing:
        # A timestamp that moved may have left the window.
        window = Window(before.window.start - MINUTE, before.window.end + MINUTE)
        around = _asked_again(asking, window)
        if around is None or not around.ids_of_all >= missing:
            return _no(UNSTABLE)
        there |= {name: around.events[name] for name in missing}
    moved = sum(there[name] != moment for name, moment in before.events.items())
    late = _late(before, found, now)
    if moved:  # Into the window as well.
        late = LATE.no("events have other timestamps: which of them are new does not show")
    return [_final(before, moved, passed), late]


def _final(before: Remembered, moved: int, passed: int) -> Verdict:
    text = f"of {len(before.events)} events after {passed / DAY:,.1f} days"
    if moved:
        return FINAL.verdict(
            "contradicted",
            f"{moved} {text} have another timestamp",
            "an event may be in the tables under either: np6-source duplicates finds those",
            ("timestamps_are_final", False),
        )
    if len(before.events) < WITNESSES:
        return FINAL.no(f"under {WITNESSES} events")
    return FINAL.verdict("confirmed", f"none {text} has another timestamp")


def _late(before: Remembered, found: _Again, now: int) -> Verdict:
    if not (before.is_whole and found.is_whole):
        return LATE.no("responses may have been cut: no wider window has more events")
    new = set(found.events) - set(before.events)
    text = f"of {len(found.events)} events"
    if new:
        latest = max(now - found.events[name] for name in new)
        age = (before.asked_at - before.window.end) / DAY * 24
        days = max(FEWEST_DAYS, 2 * -(-latest // DAY))
        return LATE.verdict(
            "contradicted",
            f"{len(new)} {text} came after the earlier call, {age:,.0f} hours after the window",
            "no overlap reads them: read days again",
            ("recheck", f"{days}d"),
        )
    if len(found.events) < WITNESSES:
        return LATE.no(f"under {WITNESSES} events")
    return LATE.verdict("confirmed", f"none {text} came after the earlier call")


@dataclass(frozen=True)
class _Again:
    """What a window has, asked for several times.

    Attributes:
        events: Timestamp by digest of the id, of all responses.
        ids_of_all: Digests that every response had.
        is_whole: Whether every response is known to hold all that there is.
    """

    events: Mapping[str, int]
    ids_of_all: frozenset[str]
    is_whole: bool


def _asked_again(asking: Asking, window: Window) -> _Again | None:
    """Asks for a window several times; None where a response has no events."""
    events: dict[str, int] = {}
    of_all: frozenset[str] | None = None
    is_whole = True
    # One that holds more shows that these are not cut.
    asking.status(window_query(EVENTS, Window(window.start - WIDER * window.width, window.end)))
    asked = window_query(EVENTS, window)
    for _ in range(TRIES):
        response = asking.status(asked)
        if response.events is None:
            return None
        found = {digest(one.id): one.timestamp for one in response.events}
        events |= found
        of_all = frozenset(found) if of_all is None else of_all & set(found)
        is_whole = is_whole and asking.is_all(asked, response)
    return _Again(events, of_all or frozenset(), is_whole)


def _no(evidence: str) -> list[Verdict]:
    return [FINAL.no(evidence), LATE.no(evidence)]


def digest(event_id: str) -> str:
    """What stands for an id in the file: ids are random, nobody finds one by trying."""
    return hashlib.sha256(event_id.encode()).hexdigest()[:16]
