"""How soon events can be read (Q8): the newest two minutes, requested again and again."""

from __future__ import annotations

from collections.abc import Callable

from ..windows import SECOND, Window
from .control import Asking, window_query
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


def watched(
    asking: Asking,
    lasts: int,
    settle: int,
    clock: Callable[[], int],
    sleep: Callable[[float], None],
) -> Verdict:
    """Looks at the newest events for a while, and at when each was seen first.

    An event that one look lacked, and whose timestamp its window covered, came between it and the
    next.

    Args:
        asking: Asks.
        lasts: For how long, milliseconds.
        settle: Milliseconds after which a load takes a window for complete.
        clock: NP6's time, milliseconds since the epoch.
        sleep: Waits so many seconds.
    """
    question = VISIBLE
    seen: set[str] = set()
    before: Window | None = None
    longest: list[int] = []
    missed = 0
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
            if one.id in seen or before is None or one.timestamp < before.start:
                continue
            longest.append(now - one.timestamp)
            missed += one.timestamp < before.end - settle
        seen |= {one.id for one in response.events}
        before = window
        if now >= ends:
            break
        sleep(EVERY / SECOND)
    if len(longest) < WITNESSES:
        return question.no(f"{len(longest)} new events: under {WITNESSES}")
    longest.sort()
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
