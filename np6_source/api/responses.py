"""What a response's status and headers mean. Pure: nothing here sends, waits or reads a body."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..errors import (
    ExchangeFailed,
    Forbidden,
    IncompleteResponse,
    NotFound,
    RequestContext,
    RequestFailed,
    TryAgainLater,
    Unauthorized,
    UnexpectedStatus,
    WindowTooLarge,
)
from .retry_after import DEFAULT_RETRY_AFTER, seconds_to_wait, whole_number
from .server_clock import as_utc

NOTHING_LOADED = "Nothing of the window was loaded."

NEVER_BY_WAITING = (501, 505)
"""The 5xx that say what the server cannot do at all; the others may pass."""

_NEXT = {"nextpage", "nextcursor", "nexttoken", "nextlink", "nextrange", "continuationtoken"}
_MORE = {"hasmore", "hasnext", "hasnextpage", "more", "truncated", "istruncated", "partial"}
_PAGES = {"totalpages", "pagecount", "pages", "lastpage"}
_TOTAL = {
    "totalcount",
    "total",
    "totalresults",
    "totalitems",
    "totalrecords",
    "totalelements",
    "totalrows",
    "resultcount",
    "recordcount",
    "itemcount",
    "count",
}
_NOTHING = ("", "0", "-1", "null", "none", "false", "undefined")
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([^\s;\"',]+)", re.IGNORECASE)
_RANGE = re.compile(r"\s*[\w-]+[\s=]+(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)\s*")


@dataclass(frozen=True)
class Refusal:
    """Why a response's body is not read.

    Attributes:
        failure: What to raise where the request is not sent again.
        may_repeat: Whether the same request may succeed later.
        wait: Seconds that the API asks to wait before, None: not said.
    """

    failure: RequestFailed
    may_repeat: bool = False
    wait: float | None = None


def refusal(
    status: int,
    headers: Mapping[str, str],
    context: RequestContext,
    now_ms: int,
    longest_wait: float,
    key_origin: str | None = None,
) -> Refusal | None:
    """Judges a response by its status.

    Args:
        status: The HTTP status.
        headers: The response's headers.
        context: What the request is for.
        now_ms: The server's time, milliseconds since the epoch.
        longest_wait: Seconds that the run may wait at once.
        key_origin: Where the API key was found, for the message.

    Returns:
        None where the body is to be read (200, and 204 and 206, whose bodies are judged by
        ``partial``), else why not.
    """
    if status in (200, 204, 206):
        return None
    if status == 401:
        origin = f" in {key_origin}" if key_origin else ""
        advice = f"Check the key{origin}; `np6-source check` tries it."
        return Refusal(Unauthorized(context, "NP6 refused the API key", advice))
    if status == 403:
        problem = "the API key's user may not call this operation"
        advice = "Ask NP6 for the right, or leave the resource out; `np6-source check` tries all."
        return Refusal(Forbidden(context, problem, advice))
    if status == 404:
        of_id = (
            "NP6 does not know this id",
            "Check the id; nothing that was loaded of it is touched.",
        )
        of_all = "NP6 does not know the operation", "Check base_url."
        return Refusal(NotFound(context, *(of_id if context.scope else of_all)))
    if status == 413:
        return Refusal(too_large(context, "the response would be too large for the API"))
    if status in (408, 425, 429) or (500 <= status < 600 and status not in NEVER_BY_WAITING):
        return _for_now(status, headers, context, now_ms, longest_wait)
    if 300 <= status < 400:
        problem = "the API redirects elsewhere, which is refused to protect the key"
        return Refusal(UnexpectedStatus(context, problem, "Check base_url."))
    problem, advice = "the API refused the request", "Check the parameters of the resource."
    return Refusal(UnexpectedStatus(context, problem, advice))


def _for_now(
    status: int,
    headers: Mapping[str, str],
    context: RequestContext,
    now_ms: int,
    longest_wait: float,
) -> Refusal:
    # An API that sends its limit with every response sends it with failures too: others than 429
    # are not waited for until it begins anew.
    is_limited = status == 429 or whole_number(headers.get("X-RateLimit-Remaining")) == 0
    asks = headers if is_limited else {"Retry-After": headers.get("Retry-After", "")}
    wait = seconds_to_wait(asks, now_ms)
    if status == 429:
        problem = "the account's rate limit is used up"
        failure: RequestFailed = later(context, problem, now_ms, wait or DEFAULT_RETRY_AFTER)
    else:
        problem = "the API failed" if status >= 500 else "the API gave the request up"
        failure = too_large(context, problem)
    if wait is not None and wait > longest_wait:
        if status != 429:
            problem = "the API is not available"
        return Refusal(later(context, problem, now_ms, wait))
    return Refusal(failure, may_repeat=True, wait=wait)


def later(context: RequestContext, problem: str, now_ms: int, wait: float) -> TryAgainLater:
    """The failure that says when to come back.

    Args:
        context: What the request is for.
        problem: Why not now.
        now_ms: The server's time, milliseconds since the epoch.
        wait: Seconds from then.
    """
    resume_at = as_utc(now_ms) + timedelta(seconds=int(wait) + 1)
    return TryAgainLater(
        context,
        problem,
        f"Try again after {resume_at:%Y-%m-%d %H:%M:%S} UTC; what is complete is kept.",
        resume_at,
    )


def too_large(context: RequestContext, problem: str) -> WindowTooLarge:
    """The failure that a smaller window may not have."""
    return WindowTooLarge(context, problem, NOTHING_LOADED)


def unreadable(error: Exception, context: RequestContext) -> RequestFailed:
    """The failure of a window whose response cannot be read for a reason of its own.

    Args:
        error: What was raised. Its text may quote the body or a URL: only its kind is shown, and
            the line of code that raised it.
        context: What the request is for.
    """
    if isinstance(error, MemoryError):
        return too_large(context, "reading the response takes more memory than there is")
    stack = traceback.extract_tb(error.__traceback__)
    line = f" in {Path(stack[-1].filename).name}, line {stack[-1].lineno}" if stack else ""
    problem = f"the response cannot be read ({type(error).__name__}{line})"
    return ExchangeFailed(context, problem, f"{NOTHING_LOADED} Tell the connector's maintainers.")


def partial(
    status: int, headers: Mapping[str, str], context: RequestContext
) -> IncompleteResponse | None:
    """Judges by status and headers whether a response is the whole or a part of it.

    The reference knows no paging; should the API begin to page, to cap or to cut, it will most
    likely say so in one of the ways that HTTP and other APIs have.

    Args:
        status: The HTTP status.
        headers: The response's headers.
        context: What the request is for.

    Returns:
        A failure that names the header; None where nothing says that there is more.
    """
    sign = _sign_of_more(status, headers)
    if sign is None:
        return None
    return IncompleteResponse(
        context,
        f"the response is not whole: {sign}",
        f"{NOTHING_LOADED} Give smaller windows (window), and tell the connector's maintainers.",
    )


def fewer_than_announced(
    total_count: int | None, row_count: int, context: RequestContext
) -> IncompleteResponse | None:
    """Compares the rows of a body with the total that its headers announced.

    Args:
        total_count: See ``total_count``.
        row_count: Elements of the body's array.
        context: What the request is for.
    """
    if total_count is None or total_count <= row_count:
        return None
    return IncompleteResponse(
        context,
        f"the response is not whole: its headers announce {total_count} events,"
        f" it holds {row_count}",
        f"{NOTHING_LOADED} Give smaller windows (window), and tell the connector's maintainers.",
    )


def total_count(headers: Mapping[str, str]) -> int | None:
    """How many rows there are in all by the headers (``X-Total-Count`` and kin), None: not said."""
    counts = [
        count
        for name, value in _paging_facts(headers)
        if name in _TOTAL and (count := _count(value)) is not None
    ]
    ranges = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if ranges and ranges[3] != "*":
        counts.append(int(ranges[3]))
    return max(counts, default=None)


def _sign_of_more(status: int, headers: Mapping[str, str]) -> str | None:
    if status == 206:
        return "status 206 (partial content)"
    if _links_next(headers.get("Link", "")):
        return 'a header Link with rel="next"'
    content_range = headers.get("Content-Range")
    if content_range is not None and not _is_whole(content_range):
        return "a header Content-Range that is not about everything"
    for name, value in _paging_facts(headers):
        text = str(value).strip().lower()
        if (name in _NEXT and text not in _NOTHING) or (
            name in _MORE and text in ("true", "1", "yes", "y")
        ):
            return f"a header says that there is more ({name})"
        pages = _count(value)
        if name in _PAGES and pages is not None and pages > 1:
            return f"a header says that there are {pages} pages ({name})"
    return None


def _links_next(header: str) -> bool:
    parameters = re.sub(r"<[^>]*>", "", header)
    found = re.findall(r"\brel\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;,\"']+))", parameters, re.I)
    return any("next" in " ".join(values).lower().split() for values in found)


def _is_whole(content_range: str) -> bool:
    found = _RANGE.fullmatch(content_range)
    if found is None or found[3] == "*":
        return False
    first, last, total = found[1], found[2], int(found[3])
    if first is None:
        return total == 0
    return int(first) == 0 and int(last) + 1 >= total


def _paging_facts(headers: Mapping[str, str]) -> list[tuple[str, Any]]:
    """The headers under the bare names that paging goes by: ``X-Total-Count`` is ``totalcount``.

    ``X-Pagination`` may hold several as a JSON object.
    """
    facts: list[tuple[str, Any]] = []
    for name, value in headers.items():
        bare = _bare(name)
        if bare in ("pagination", "paging"):
            try:
                inside = json.loads(value)
            except ValueError:
                continue
            if isinstance(inside, dict):
                facts.extend((_bare(str(key)), found) for key, found in inside.items())
        elif bare:
            facts.append((bare, value))
    return facts


def _bare(name: str) -> str:
    letters = re.sub(r"[^a-z]", "", name.lower().removeprefix("x-").removeprefix("ms-"))
    for prefix in ("pagination", "paging"):
        if letters != prefix:
            letters = letters.removeprefix(prefix)
    return letters


def _count(value: object) -> int | None:
    """A count of rows or pages; None: digits of a likely length are not all there is.

    ``retry_after.whole_number`` takes more: a sign, a fraction, the ticks of a clock.
    """
    text = str(value).strip()
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None


def declared_charset(headers: Mapping[str, str]) -> str | None:
    """The charset of the ``Content-Type`` header; None where it names none."""
    found = _CHARSET.search(headers.get("Content-Type", ""))
    return found[1] if found else None
