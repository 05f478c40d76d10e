"""Rules for headers (Q6), from the responses to all other questions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

from ..api.retry_after import EPOCH_SECONDS, seconds_to_wait, whole_number
from ..windows import SECOND
from .control import window_query
from .facts import EVENTS, Response, Verdict
from .question import MINUTE, Known, Question

FEWEST = 20
LEAST_BYTES = 64_000
"""Bytes of a body that a server compresses where it compresses any."""
LIKELY_WAIT = 3_600
"""Seconds up to which a wait is believed: a longer one may be milliseconds, or a moment in another
time zone."""
LEAST_FALL = 3
"""Seconds by which a wait has to fall before it shows that it is seconds."""
CLOCKS_DIFFER = 60
"""Seconds by which a moment may lie in the past."""


def date_is_right(known: Known, question: Question) -> Verdict:
    """Responses have a ``Date``, within a minute of this machine's clock."""
    headed = [one for one in known.asking.headed if one.received_at is not None]
    if len(headed) < FEWEST:
        return question.no(f"under {FEWEST} responses with headers")
    texts = [(one, one.headers.get("Date")) for one in headed]
    if not any(text for _, text in texts):
        text = f"none of {len(headed)} responses has one"
        return question.verdict("contradicted", text, "windows end by this machine's clock alone")
    differences = []
    for one, value in texts:
        try:
            moment = parsedate_to_datetime(value or "").timestamp() * SECOND
        except ValueError:
            return question.no("a Date is missing, or is none")
        differences.append(moment - (one.received_at or 0))
    middle = sorted(differences)[len(differences) // 2]
    if abs(middle) > MINUTE:
        side = "ahead of" if middle > 0 else "behind"
        text = f"NP6's clock is {abs(middle) / SECOND:,.0f} s {side} this machine's"
        meaning = "set this machine's clock; windows end by the earlier of both"
        return question.verdict("contradicted", text, meaning)
    others = sum(abs(one) > MINUTE for one in differences)
    if others:
        return question.no(f"{others} of {len(headed)} responses are over a minute off")
    return question.verdict("confirmed", f"{len(headed)} responses, within a minute")


def reset_is_understood(known: Known, question: Question) -> Verdict:
    """``X-RateLimit-Reset`` is in a form that the connector reads."""
    sent = [one for one in known.asking.headed if one.headers.get("X-RateLimit-Reset")]
    if not sent:
        return question.no("no response has X-RateLimit-Reset")
    limit = sent[-1].headers.get("X-RateLimit-Limit")
    of_limit = f"; {limit} requests" if (limit or "").isdigit() else ""
    texts = [(one.headers["X-RateLimit-Reset"], _moment_of(one, known.now)) for one in sent]
    forms = {_form(text, moment) for text, moment in texts}
    if None in forms or len(forms) > 1:
        text = f"{len(sent)} responses have it, in a form that is not understood{of_limit}"
        meaning = "after a refusal the wait is guessed: set requests_per_minute below NP6's limit"
        return question.verdict("contradicted", text, meaning)
    form = forms.pop()
    longest = max(_wait(text, moment) for text, moment in texts)
    if longest > LIKELY_WAIT:
        text = f"read as {form}, it is {longest:,.0f} s away: it may be of another unit or zone"
        return question.no(f"{text}{of_limit}")
    if form == "seconds from now":
        if not _falls_with_time(sent):
            text = f"read as {form}, it does not fall by one a second: it may be of another unit"
            return question.no(f"{text}{of_limit}")
    elif longest <= 0 or not all(
        _wait(text, moment - CLOCKS_DIFFER * SECOND) for text, moment in texts
    ):
        return question.no(f"read as {form}, it has passed: it may be of another zone{of_limit}")
    return question.verdict("confirmed", f"{form} ({len(sent)} responses){of_limit}")


def _falls_with_time(sent: Sequence[Response]) -> bool:
    """Whether seconds from now, wherever they fall, fall as fast as time passes."""
    fallen = passed = 0.0
    for one, after in itertools.pairwise(sent):
        values = [whole_number(each.headers["X-RateLimit-Reset"]) or 0 for each in (one, after)]
        if values[1] <= values[0] and one.received_at and after.received_at:
            fallen += values[0] - values[1]
            passed += (after.received_at - one.received_at) / SECOND
    return fallen >= LEAST_FALL and 0.5 * fallen <= passed <= 2 * fallen


def _moment_of(response: Response, now: int) -> int:
    """When a response was sent, by the server's clock where it says so."""
    try:
        moment = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except ValueError:
        return response.received_at or now
    return int(moment * SECOND)


def _form(text: str, now: int) -> str | None:
    """The form that the connector reads a reset in; None: it reads none."""
    if seconds_to_wait({"X-RateLimit-Reset": text}, now) is None:
        return None
    number = whole_number(text)
    if number is None:
        return "a date"
    if number < EPOCH_SECONDS:
        return "seconds from now"
    units = {SECOND: "seconds", 1: "milliseconds"}
    near = [unit for ticks, unit in units.items() if 0.9 < number * ticks / now < 1.1]
    return f"{near[0] if near else 'smaller units'} since the epoch"


def _wait(text: str, now: int) -> float:
    """The seconds to wait that the connector reads."""
    return seconds_to_wait({"X-RateLimit-Reset": text}, now) or 0.0


def gzip_is_used(known: Known, question: Question) -> Verdict:
    """Responses are compressed: the connector always asks for gzip."""
    control = known.control
    if control is None:
        return question.no("no events were found")
    response = known.asking.status(window_query(EVENTS, control.window))
    if not response.events or not response.headers:
        return question.no("a response could not be used")
    # A server may leave small ones as they are.
    largest = max((*known.asking.headed, response), key=lambda one: one.byte_count)
    if any(
        one.headers.get("Content-Encoding", "").strip().lower() == "gzip"
        for one in (largest, response)
    ):
        return question.verdict("confirmed", f"{len(response.events)} events came with gzip")
    if largest.byte_count < LEAST_BYTES:
        return question.no("the responses are too small: a server may leave such as they are")
    text = f"{largest.byte_count // 1_000} KB came as they are"
    return question.verdict("contradicted", text, "transfers take their full size")
