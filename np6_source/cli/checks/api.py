"""Step 3: whether the API answers.

All requests of this step and the next ask for one hour, which ended 26 hours ago: whatever comes
late is there by then.
"""

from __future__ import annotations

import re
import time

from ...api.client import WindowRequest
from ...api.responses import NOTHING_LOADED
from ...assumptions.control import AGE
from ...endpoints import ENDPOINTS
from ...errors import (
    RUN_ENDING,
    Forbidden,
    NotFound,
    RequestFailed,
    TryAgainLater,
    Unauthorized,
)
from ...extract.session import ExtractSession
from ...windows import DAY, SECOND, Window
from ..budget import Budget, Response
from .findings import Finding, Step

HOUR = DAY // 24

TOLERATED_DIFFERENCE = 60
"""Seconds by which the clocks may differ without a warning."""

ALL_EVENTS = next(row for row in ENDPOINTS if row.path == "/actions/events")
_RATE_LIMIT = re.compile(r"(x-)?rate-?limit\b.*|retry-after", re.IGNORECASE)


def hour_before(now_ms: int) -> Window:
    """The hour that every request asks for, in whole seconds.

    Args:
        now_ms: The time, milliseconds since the epoch.
    """
    end = (now_ms - AGE) // SECOND * SECOND
    return Window(end - HOUR, end)


def check_api(budget: Budget, session: ExtractSession) -> tuple[Step, Response]:
    """Asks for all events of the hour, whatever is selected: whether the API answers as NP6 does.

    Returns:
        The step, and the response, for the resource that requests the same.
    """
    window = hour_before(int(time.time() * SECOND))
    response = budget.send(WindowRequest(ALL_EVENTS, window))
    return Step("API", _api_finding(response, session), response.ms), response


def answers(response: Response) -> bool:
    """Whether it shows that further requests make sense."""
    failure = response.failure
    return failure is None or not isinstance(failure, (*RUN_ENDING, NotFound))


def _api_finding(response: Response, session: ExtractSession) -> Finding:
    url = session.base_url
    failure = response.failure
    if isinstance(failure, Forbidden):
        what = f"{url} takes the key; {ALL_EVENTS.path} is not permitted"
        return _with_clock(what, session)
    if isinstance(failure, NotFound):
        return Finding(f"{url} has no {ALL_EVENTS.path} (404)", "error", "Check base_url.")
    if failure is not None:
        return of_failure(failure, prefix=f"{url}: ")
    if response.elements is None:
        advice = "Check base_url: is this NP6's API, or a page of a proxy?"
        return Finding(f"{url} answers, and not with a JSON array", "error", advice)
    gzip = response.headers.get("Content-Encoding", "").lower() == "gzip"
    compressed = "gzip" if gzip else "not compressed"
    return _with_clock(f"{url} answers in {response.ms} ms, {compressed}", session)


def _with_clock(what: str, session: ExtractSession) -> Finding:
    """Adds what the clocks say; a difference that a load refuses is an error."""
    seconds = clock_difference_s(session)
    shown = "no Date header" if seconds is None else f"clock {seconds:+.0f} s"
    problem = session.clocks_differ()
    advice = (
        "Set this machine's clock, or ask NP6 about theirs; clock_tolerance says what is accepted."
    )
    if problem is not None:
        return Finding(f"{what}, {shown}: {problem}", "error", advice)
    if seconds is not None and abs(seconds) > TOLERATED_DIFFERENCE:
        return Finding(f"{what}, {shown}: the clocks differ", "warning", advice)
    return Finding(f"{what}, {shown}")


def clock_difference_s(session: ExtractSession) -> float | None:
    """Seconds by which the server is ahead; 0 within the 2 s that a ``Date`` header can tell."""
    return session.clock.offset_ms / SECOND if session.clock.is_known else None


def rate_limit_of(response: Response) -> dict[str, str] | None:
    """The headers that speak of a rate limit."""
    found = {
        name: "".join(c for c in value if c.isascii() and c.isprintable())[:100]
        for name, value in response.headers.items()
        if _RATE_LIMIT.fullmatch(name)
    }
    return found or None


def _for_check(advice: str) -> str:
    """A request's advice, without what only a load needs: this is ``np6-source check``."""
    advice = advice.replace("; `np6-source check` tries it.", ".")
    for told in (f"{NOTHING_LOADED} ", " `np6-source check` tries it."):
        advice = advice.replace(told, "")
    return advice


def of_failure(failure: RequestFailed, prefix: str = "") -> Finding:
    """What a failed request means.

    Args:
        failure: Why it failed.
        prefix: What to say before.
    """
    status = failure.context.status
    what = prefix + failure.problem + (f" ({status})" if status is not None else "")
    is_later = isinstance(failure, TryAgainLater) or status in (429, 503)
    if isinstance(failure, Unauthorized):
        what = f"{prefix}key refused (401)"
    elif isinstance(failure, Forbidden):
        what = f"{prefix}not permitted (403)"
    advice = "Try again later." if is_later else _for_check(failure.advice)
    if isinstance(failure, TryAgainLater):
        advice = failure.advice
    return Finding(what, "error", advice, is_later)
