"""The rule for requests without a start (Q4). Asked only where that is wanted (``--wide``)."""

from __future__ import annotations

from ..windows import DAY, SECOND, Window, iso
from .control import AGE, window_query
from .facts import EVENTS, Asked, Verdict
from .question import Known, Question

MOST_BYTES = 64_000
BEFORE = 10 * DAY
NOTHING_RELIES = "nothing relies on it: both bounds are always sent"
OLD_ENOUGH = 32
"""Days: a span without bounds is a day, a week or a month."""


def no_start_is_from_the_beginning(known: Known, question: Question) -> Verdict:
    """Without a start, events come from the very first on."""
    if known.control is None:
        return question.no("no events were found")
    if not known.control.is_ordered:
        return question.no("events are not in the order of their timestamps")
    end = (known.now - AGE) // SECOND * SECOND
    first: list[int] = []
    for bound in (iso(end), None):
        response = known.asking.status(Asked(EVENTS, None, bound, "asc", MOST_BYTES))
        if response.events == () and response.is_whole:
            # Flapping would be seen by the control at the end.
            return question.verdict(
                "contradicted", "known events do not come without a start", NOTHING_RELIES
            )
        if not response.events:
            return question.no("a response could not be used")
        first.append(min(one.timestamp for one in response.events))
    # A window long before the first event shows whether there was one.
    earliest = min(first) // SECOND * SECOND
    before = known.asking.status(
        window_query(EVENTS, Window(earliest - BEFORE, earliest), MOST_BYTES)
    )
    if before.events is None:
        return question.no("a response could not be used")
    older = [one for one in before.events if one.timestamp < earliest]
    days = (known.now - earliest) / DAY
    if older:
        return question.verdict(
            "contradicted",
            f"the first event is {days:,.1f} days old; there are older ones",
            NOTHING_RELIES,
        )
    if days < OLD_ENOUGH:
        return question.no(f"the oldest event is {days:,.1f} days old: a span may be as long")
    return question.verdict("confirmed", f"the first event is {days:,.0f} days old, none is older")
