"""The rule for requests without a start (Q4). Asked only where that is wanted (``--wide``)."""

from __future__ import annotations

from ..windows import DAY, SECOND, Window, iso
from .control import AGE, Control, Found, window_query
from .facts import EVENTS, Asked, Seen, Verdict
from .question import Known, Question

MOST_BYTES = 64_000
WHOLE_BYTES = 4_000_000
BEFORE = (3_600 * SECOND, DAY, 10 * DAY)
NOTHING_RELIES = "nothing relies on it: both bounds are always sent"
OLD_ENOUGH = 32
"""Days: a span without bounds is a day, a week or a month."""


def no_start_is_from_the_beginning(known: Known, question: Question) -> Verdict:
    """Without a start, events come from the very first on."""
    control = known.control
    if control is None:
        return question.no("no events were found")
    if not control.is_ordered:
        return question.no("events are not in the order of their timestamps")
    end = (known.now - AGE) // SECOND * SECOND
    requests = [Asked(EVENTS, None, bound, "asc", MOST_BYTES) for bound in (iso(end), None)]
    without: list[Found] = []
    for asked in requests:
        found = known.asking.ids(asked)
        if found is not None and not found.events:
            # Once more: for a moment there may have been none.
            found = known.asking.ids(asked)
            if found is not None and not found.events and found.is_whole:
                return question.verdict(
                    "contradicted", "known events do not come without a start", NOTHING_RELIES
                )
        if found is None or not found.events:
            return question.no("a response could not be used")
        without.append(found)
    earliest = min(one.timestamp for found in without for one in found.events.values())
    earliest = earliest // SECOND * SECOND
    days = (known.now - earliest) / DAY
    # Windows before the first event show whether there was one.
    for width in BEFORE:
        before = known.asking.status(
            window_query(EVENTS, Window(earliest - width, earliest), MOST_BYTES)
        )
        if before.events is None:
            return question.no("a response could not be used")
        older = [one for one in before.events if one.timestamp < earliest]
        if older and not _is_span(known, control, requests, without, older, end):
            return question.no("older events came meanwhile, or responses may have been cut")
        if older:
            return question.verdict(
                "contradicted",
                f"the first event is {days:,.1f} days old; there are older ones",
                NOTHING_RELIES,
            )
    if days < OLD_ENOUGH:
        return question.no(f"the oldest event is {days:,.1f} days old: a span may be as long")
    return question.verdict("confirmed", f"the first event is {days:,.0f} days old, none is older")


def _is_span(
    known: Known,
    control: Control,
    requests: list[Asked],
    without: list[Found],
    older: list[Seen],
    end: int,
) -> bool:
    """Whether older events lack because there is no start.

    Not where they have come since, and not where the API cuts by rows: with a start, a response
    has to have them, all that comes without, and the newest.
    """
    names = {one.id for one in older}
    for asked in requests:
        again = known.asking.ids(asked)
        if again is None or not again.events or again.ids & names:
            return False
    youngest = max(older, key=lambda one: one.timestamp)
    start = youngest.timestamp // SECOND * SECOND - SECOND
    with_start = known.asking.ids(window_query(EVENTS, Window(start, end), WHOLE_BYTES))
    if with_start is None or not with_start.whole:
        return False
    return with_start.ids >= {youngest.id, *without[0].events, *control.events}
