"""How soon events can be read (Q8): the newest two minutes, requested again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..windows import SECOND, Window
from .control import LEAST_CAP, Asking, window_query
from .facts import BudgetUsedUp, Refused, Verdict
from .question import Known, Question

EVERY = 15 * SECOND
SPAN = 120 * SECOND
WITNESSES = 100
RARE = 0.01
"""Share of the events that may be later than ``settle``; the overlap reads them again."""
SETTLES = (30, 60, 90, 120)
"""Seconds that are recommended."""


def _never_asked(known: Known, question: Question) -> Verdict:
    return question.no("give --watch")


VISIBLE = Question("visible", "events can be read within settle", _never_asked)
"""Asked where somebody wants to wait for it."""


@dataclass(frozen=True)
class _Look:
    """What a look showed: its window, the events, and the last of their timestamps."""

    window: Window
    rows: int
    last: int


@dataclass(frozen=True)
class _New:
    """An event that a look showed first, milliseconds after its timestamp, and the look before."""

    timestamp: int
    after: int
    before: _Look


def watched(
    asking: Asking,
    lasts: int,
    settle: int,
    clock: Callable[[], int],
    sleep: Callable[[float], None],
) -> Verdict:
    """Looks at the newest events for a while, and at when each was seen first.

    An event that one look lacked, and whose timestamp its window covered, came between it and the
    next. But the largest of the responses may have been cut: what is newer than its last event
    proves nothing.

    Args:
        asking: Asks.
        lasts: For how long, milliseconds.
        settle: Milliseconds after which a load takes a window for complete.
        clock: NP6's time, milliseconds since the epoch.
        sleep: Waits so many seconds.
    """
    question = VISIBLE
    seen: set[str] = set()
    before: _Look | None = None
    news: list[_New] = []
    most_rows = 0
    ends = clock() + lasts
    while True:
        now = clock()
        end = now // SECOND * SECOND
        window = Window(end - SPAN, end)
        try:
            response = asking.status(window_query("/actions/events", window))
        except (BudgetUsedUp, Refused) as error:
            return question.no(str(error))
        if response.events is None or not response.is_whole:
            return question.no("a response could not be used")
        for one in response.events:
            if one.id in seen or before is None or one.timestamp < before.window.start:
                continue
            news.append(_New(one.timestamp, now - one.timestamp, before))
        seen |= {one.id for one in response.events}
        last = max((one.timestamp for one in response.events), default=window.end)
        before = _Look(window, len(response.events), last)
        most_rows = max(most_rows, before.rows)
        if now >= ends:
            break
        sleep(EVERY / SECOND)
    if len(news) < WITNESSES:
        return question.no(f"{len(news)} new events: under {WITNESSES}")
    late = [one for one in news if one.timestamp < one.before.window.end - settle]
    unclear = sum(
        one.timestamp > one.before.last and LEAST_CAP <= one.before.rows == most_rows
        for one in late
    )
    if unclear > RARE * len(news):
        return question.no("the largest responses may have been cut")
    longest = sorted(one.after for one in news)
    missed = len(late)
    most = longest[int(len(longest) * (1 - RARE))] / SECOND
    text = f"{len(longest):,} events: 99 of 100 could be read within {most:,.0f} s"
    if missed <= RARE * len(longest):
        return question.verdict("confirmed", f"{text}; {missed} later than {settle // SECOND} s")
    setting = next((one for one in SETTLES if one >= most), SETTLES[-1])
    return question.verdict(
        "contradicted",
        f"{text}; {missed} later than {settle // SECOND} s",
        "the overlap of a load reads such events again; with a longer settle they come once",
        ("settle", setting),
    )
