"""How soon events can be read (Q8): the newest two minutes, requested again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..windows import SECOND, Window
from .control import LEAST_CAP, Asking, window_query
from .facts import EVENTS, BudgetUsedUp, Refused, Verdict
from .question import MINUTE, Known, Question

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
    """An event, and when it could be read.

    Attributes:
        timestamp: Milliseconds since the epoch.
        after: Milliseconds after it, until a request showed it first.
        before: The last look that lacked it.
    """

    timestamp: int
    after: int
    before: _Look

    def is_later(self, settle: int) -> bool:
        """Whether a look lacked it so many milliseconds after its timestamp."""
        return self.timestamp < self.before.window.end - settle


def watched(
    asking: Asking,
    lasts: int,
    settle: int,
    clock: Callable[[], int],
    sleep: Callable[[float], None],
) -> Verdict:
    """Looks at the newest events for a while, and at when each was seen first.

    An event that one look lacked, and whose timestamp its window covered, came between it and the
    next; one that no look had, and a last request has, after all of them. But the largest of the
    responses may have been cut: what is newer than its last event proves nothing.

    Args:
        asking: Asks.
        lasts: For how long, milliseconds.
        settle: Milliseconds after which a load takes a window for complete.
        clock: NP6's time, milliseconds since the epoch.
        sleep: Waits so many seconds.
    """
    question = VISIBLE
    span = max(SPAN, 2 * settle)
    seen: set[str] = set()
    looks: list[_Look] = []
    news: list[_New] = []
    ends = clock() + lasts
    try:
        while True:
            now = clock()
            end = now // SECOND * SECOND
            window = Window(end - span, end)
            response = asking.status(window_query(EVENTS, window))
            if response.events is None or not response.is_whole:
                return question.no("a response could not be used")
            for one in response.events:
                if one.id in seen or not looks or one.timestamp < looks[-1].window.start:
                    continue
                news.append(_New(one.timestamp, now - one.timestamp, looks[-1]))
            seen |= {one.id for one in response.events}
            last = max((one.timestamp for one in response.events), default=window.end)
            looks.append(_Look(window, len(response.events), last))
            if now >= ends:
                break
            sleep(EVERY / SECOND)
        never_seen = _never_seen(asking, seen, looks, now)
    except (BudgetUsedUp, Refused) as error:
        return question.no(str(error))
    if never_seen is None:
        return question.no("a response could not be used")
    news += never_seen
    if len(news) < WITNESSES:
        return question.no(f"{len(news)} new events: under {WITNESSES}")
    most_rows = max(one.rows for one in looks)
    unclear = sum(
        one.is_later(settle)
        and one.timestamp > one.before.last
        and LEAST_CAP <= one.before.rows == most_rows
        for one in news
    )
    if unclear > RARE * len(news):
        return question.no("the largest responses may have been cut")
    longest = sorted(one.after for one in news)
    missed = _later(news, settle)
    most = longest[int(len(longest) * (1 - RARE))] / SECOND
    minutes = f"{lasts / MINUTE:,.0f} minutes"
    text = (
        f"{len(longest):,} events that came in {minutes}:"
        f" 99 of 100 could be read within {most:,.0f} s"
    )
    if missed <= RARE * len(longest):
        return question.verdict("confirmed", f"{text}; {missed} later than {settle // SECOND} s")
    enough = (one for one in SETTLES if _later(news, one * SECOND) <= RARE * len(news))
    setting = next(enough, SETTLES[-1])
    meaning = "the overlap of a load reads such events again; with a longer settle they come once"
    if most > SETTLES[-1]:
        meaning = "the overlap of a load reads such events again, if it is as long as they take"
    return question.verdict(
        "contradicted",
        f"{text}; {missed} later than {settle // SECOND} s",
        meaning,
        ("settle", setting),
    )


def _later(news: list[_New], settle: int) -> int:
    return sum(one.is_later(settle) for one in news)


def _never_seen(asking: Asking, seen: set[str], looks: list[_Look], now: int) -> list[_New] | None:
    """Events of the time of the looks that none of them had, though several covered it.

    Returns:
        None where they cannot be asked for.
    """
    first, last = looks[0].window.end, looks[-1].window.start
    if first >= last:
        return []
    response = asking.status(window_query(EVENTS, Window(first, last)))
    if response.events is None:
        return None
    found = []
    for one in response.events:
        if one.id not in seen and first <= one.timestamp < last:
            before = [
                look for look in looks if look.window.start <= one.timestamp < look.window.end
            ][-1]
            found.append(_New(one.timestamp, now - one.timestamp, before))
    return found
