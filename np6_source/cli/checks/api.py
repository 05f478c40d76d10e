"""Steps 3 and 4: whether the API answers, and each selected resource with one small request.

All requests ask for one hour, which ended 26 hours ago: whatever comes late is there by then.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from ...api.client import ApiRequest, Client, WindowRequest
from ...api.responses import NOTHING_LOADED
from ...dimensions import Dimension
from ...endpoints import ENDPOINTS
from ...errors import (
    RUN_ENDING,
    Forbidden,
    NotFound,
    RequestContext,
    RequestFailed,
    TryAgainLater,
    Unauthorized,
)
from ...extract.action_list import LISTED
from ...extract.chosen_actions import ChosenActions
from ...extract.dimension import NOT_THERE
from ...extract.dimension_rows import NoRow, rows_of
from ...extract.selection import SelectedOperation
from ...extract.session import ExtractSession
from ...windows import DAY, SECOND, Window
from .findings import Finding, ResourceCheck, Step, skipped

READ_AT_MOST = 256 * 1024
"""Bytes of a body that are read, uncompressed."""
_CHUNK = 16 * 1024

HOUR = DAY // 24
AGE = 26 * HOUR
"""Milliseconds since the end of the hour that is asked for."""

IDS_EACH = 3
"""Ids of a kind that are tried."""

APART = 0.2
"""Seconds between the starts of two requests, at least."""

WORTH_SAYING = 60
"""Seconds by which the clocks may differ without a word."""

ALL_EVENTS = next(row for row in ENDPOINTS if row.path == "/actions/events")
_RATE_LIMIT = re.compile(r"(x-)?rate-?limit\b.*|retry-after", re.IGNORECASE)


class _EnoughRead(RequestFailed):
    """Ends a request of which the beginning is enough."""


class _Beginning:
    """A sink for the beginning of a body: so many bytes, or about so many events."""

    def __init__(self, most_bytes: int, most_events: int | None) -> None:
        self.content = bytearray()
        self._most_bytes, self._most_events = most_bytes, most_events
        self._timestamps = 0
        self.status: int | None = None
        self._context = RequestContext("", "", "")

    def start(self, requested_at: int, context: RequestContext) -> None:
        """See ``BodySink``."""
        self.content = bytearray()
        self._timestamps = 0
        self.status, self._context = context.status, context

    def add(self, chunk: bytes) -> None:
        """See ``BodySink``.

        Raises:
            _EnoughRead: There is more than is read.
        """
        self.content += chunk
        # Each event has one at least.
        self._timestamps += chunk.count(b'"timestamp"')
        is_enough = self._most_events is not None and self._timestamps > self._most_events
        if is_enough or len(self.content) > self._most_bytes:
            del self.content[self._most_bytes :]
            raise _EnoughRead(self._context, "enough", "")

    def finish(self) -> None:
        """See ``BodySink``."""

    def discard(self) -> None:
        """See ``BodySink``; the beginning is kept."""


@dataclass(frozen=True)
class Response:
    """What came of one request.

    Attributes:
        status: The HTTP status, None where there was no response.
        headers: Its headers.
        ms: Milliseconds from the request to the last byte that was read.
        elements: The elements of the array, or the object alone; None: the body is neither.
        is_whole: Whether the body was read to its end.
        byte_count: Bytes of the body that were read, uncompressed.
        failure: Why there are no elements, None where there are.
    """

    status: int | None
    headers: Mapping[str, str]
    ms: int
    elements: tuple[Any, ...] | None
    is_whole: bool
    byte_count: int
    failure: RequestFailed | None


class Budget:
    """Sends requests one at a time, up to a number, and counts them.

    Attributes:
        client: The client.
        requests: Requests that were sent.
        byte_count: Bytes of their bodies that were read, uncompressed.
        headed_at: When the last response's headers came, by this machine's clock, milliseconds
            since the epoch; None: the last request had no response.
    """

    def __init__(
        self,
        session: ExtractSession,
        most: int,
        most_bytes: int | None = None,
        attempts: int = 1,
        longest_wait: float = 5.0,
        apart: float = APART,
    ) -> None:
        """Opens a client for the account of a source.

        Args:
            session: What the resources of the source share.
            most: Requests that may be sent.
            most_bytes: Bytes of bodies that may be read in all; None: any number.
            attempts: How often a request is tried.
            longest_wait: Seconds that a wait before another attempt may take.
            apart: Seconds between the starts of two requests, at least.
        """
        settings = session.client_settings
        self.requests = 0
        self.byte_count = 0
        self._most = most
        self._most_bytes = most_bytes
        self._headers: Mapping[str, str] = {}
        self._status: int | None = None
        self.headed_at: int | None = None
        self._responses = 0
        self._once: Response | None = None
        self._apart = max(settings.interval, apart)
        self._began = float("-inf")
        self.client = Client(
            replace(
                settings,
                attempts=attempts,
                concurrency=1,
                longest_wait=longest_wait,
                interval=0.0,
            ),
            session.clock,
            on_response=self._note,
            chunk=_CHUNK,
        )

    def _note(self, status: int, headers: Mapping[str, str]) -> None:
        self._status, self._headers = status, headers
        self.headed_at = time.time_ns() // 1_000_000
        self._responses += 1

    @property
    def is_used_up(self) -> bool:
        """Whether no further request may be sent."""
        is_read = self._most_bytes is not None and self.byte_count >= self._most_bytes
        return is_read or self.requests >= self._most

    def send(
        self,
        request: ApiRequest,
        is_array: bool = True,
        most_bytes: int = READ_AT_MOST,
        most_events: int | None = None,
    ) -> Response:
        """Sends one request and reads the beginning of its body.

        Args:
            request: What to ask for.
            is_array: Whether the body should be an array; else it is an object.
            most_bytes: Bytes of the body that are read at most, uncompressed.
            most_events: Events after which reading ends, about; None: any number.
        """
        self._responses = 0
        self._status, self._headers, self.headed_at = None, {}, None
        sink = _Beginning(most_bytes, most_events)
        failure, is_whole = None, True
        # Here and not in the client, whose waits would count as the API's.
        time.sleep(max(0.0, self._began + self._apart - time.monotonic()))
        began = self._began = time.monotonic()
        try:
            self.client.fetch(request, sink)
        except _EnoughRead:
            is_whole = False
        except RequestFailed as error:
            failure = error
        ms = int((time.monotonic() - began) * SECOND)
        self.requests += max(1, self._responses)
        self.byte_count += len(sink.content)
        elements = None
        if failure is None:
            read = elements_of if is_array else object_of
            elements = read(bytes(sink.content), is_whole)
        size = len(sink.content)
        return Response(self._status, self._headers, ms, elements, is_whole, size, failure)

    def send_once(self, request: ApiRequest) -> Response | None:
        """The response to the one request that several resources need, sent for the first.

        Returns:
            None where no further request may be sent.
        """
        if self._once is None and not self.is_used_up:
            self._once = self.send(request)
        return self._once


def elements_of(content: bytes, is_whole: bool) -> tuple[Any, ...] | None:
    """The elements of a JSON array.

    Args:
        content: The array, or its beginning.
        is_whole: Which of the two; of a beginning the last, cut element is left out.

    Returns:
        None where it is no array.
    """
    text = content.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if not text.startswith("["):
        return None
    if is_whole:
        return _array(text)
    decoder, place = json.JSONDecoder(), 1
    found: list[Any] = []
    while True:
        try:
            element, place = decoder.raw_decode(text, _after_blanks(text, place))
        except (ValueError, RecursionError):
            return tuple(found)
        found.append(element)
        place = _after_blanks(text, place)
        if text[place : place + 1] != ",":
            return tuple(found)
        place += 1


def _array(text: str) -> tuple[Any, ...] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(found)


def _after_blanks(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\t", "\r", "\n"):
        place += 1
    return place


def object_of(content: bytes, is_whole: bool) -> tuple[Any, ...] | None:
    """A JSON object, as the only element; of a beginning nothing, as long as it is an object's."""
    text = content.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if not is_whole:
        return () if text.startswith("{") else None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return (found,) if isinstance(found, dict) else None


def hour_before(now_ms: int) -> Window:
    """The hour that every request asks for, in whole seconds.

    Args:
        now_ms: The time, milliseconds since the epoch.
    """
    end = (now_ms - AGE) // SECOND * SECOND
    return Window(end - HOUR, end)


# --- Step 3 ---


def check_api(budget: Budget, session: ExtractSession) -> tuple[Step, Response]:
    """Asks for all events of the hour, whatever is selected: whether the API answers as NP6 does.

    Returns:
        The step, and the response for the resource that asks for the same.
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
    if seconds is not None and abs(seconds) > WORTH_SAYING:
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
    """A request's advice without what a load would be told: this is ``np6-source check``."""
    for told in (f"{NOTHING_LOADED} ", " `np6-source check` tries it."):
        advice = advice.replace(told, "")
    return advice.replace("; `np6-source check` tries it.", ".")


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


# --- Step 4 ---


def check_resources(
    budget: Budget, operations: Sequence[SelectedOperation], first: Response
) -> list[ResourceCheck]:
    """Asks for the same hour of every selected resource; of three ids of a kind.

    Args:
        budget: Sends the requests.
        operations: The selected operations.
        first: The response of ``check_api``, which is not asked for again.
    """
    found: list[ResourceCheck] = []
    window = hour_before(budget.client.clock.now())
    ended: str | None = None
    for operation in operations:
        name = operation.row.name
        ids = skipped(ended) if ended is not None else ids_of(operation, budget, window)
        if isinstance(ids, Finding):
            found.append(ResourceCheck(name, "", ids))
            continue
        for scope_id in ids[:IDS_EACH]:
            label = operation.session.label_of(scope_id, operation.row) if scope_id else ""
            if ended is not None:
                found.append(ResourceCheck(name, label, skipped(ended)))
            elif operation.row == ALL_EVENTS:
                found.append(_resource_check(operation, label, first))
            elif budget.is_used_up:
                text = "not tried: --max-requests is reached"
                found.append(ResourceCheck(name, label, Finding(text, "warning")))
            else:
                response = budget.send(operation.request(window, scope_id), operation.gives_array)
                found.append(_resource_check(operation, label, response))
                if isinstance(response.failure, RUN_ENDING) or found[-1].finding.is_later:
                    ended = name
    return found


def ids_of(operation: SelectedOperation, budget: Budget, window: Window) -> Sequence[str] | Finding:
    """The ids of an operation, an empty one for the account; a finding where there are none.

    Args:
        operation: The operation.
        budget: Asks for the list of actions where the ids come from it; its beginning is read.
        window: Any.
    """
    chosen = operation.scope_ids
    if not operation.takes_ids:
        return ("",)
    if not isinstance(chosen, ChosenActions):
        advice = "Give the ids, or leave the resource out."
        text = f"loads by id, and {operation.row.ids} is not given"
        return chosen or Finding(text, "error", advice)
    listed = budget.send_once(SelectedOperation(LISTED, (), operation.session).request(window))
    if listed is None:
        return Finding("not tried: --max-requests is reached", "warning")
    prefix = f"action_ids={str(chosen)!r}: the list of actions"
    if listed.failure is not None:
        return of_failure(listed.failure, f"{prefix}: ")
    if listed.elements is None:
        return Finding(f"{prefix} is no JSON array", "error", "Give the ids.")
    now = datetime.now(timezone.utc)
    ids = chosen.choose(_rows(listed.elements, now), now)
    none_is_meant = Finding(
        f"{prefix} has none that is meant",
        "warning" if listed.is_whole else None,
        "Nothing is loaded by id.",
    )
    return ids or none_is_meant


def _rows(elements: Sequence[Any], now: datetime) -> Iterator[Mapping[str, Any]]:
    for element in elements:
        try:
            rows = list(rows_of(element, LISTED, "", now))
        except NoRow:
            continue
        yield from (row for table, row in rows if table == LISTED.table.name)


def _resource_check(operation: SelectedOperation, label: str, response: Response) -> ResourceCheck:
    name = operation.row.name
    count = None if response.elements is None else len(response.elements)
    finding = _resource_finding(operation, response)
    return ResourceCheck(name, label, finding, response.status, response.ms, count)


def _resource_finding(operation: SelectedOperation, response: Response) -> Finding:
    failure, is_dimension = response.failure, isinstance(operation.row, Dimension)
    if failure is not None:
        finding = of_failure(failure)
        may_lack = isinstance(failure, Forbidden) or failure.context.status in NOT_THERE
        if is_dimension and may_lack:
            # A load leaves it out with a warning.
            return replace(finding, severity="warning")
        return finding
    elements = response.elements
    if elements is None:
        what = "the response is no JSON array" if not is_dimension else "the response is no JSON"
        return Finding(what, "error", "Check base_url; else tell NP6's support.")
    if is_dimension:
        return Finding(_count(len(elements), response.is_whole, "row"))
    bad = sum(not _can_be_taken(element) for element in elements)
    if bad and operation.session.settings.bad_events == "refuse":
        what = f"{bad} of {len(elements)} events have no id or no timestamp"
        advice = 'bad_events="keep" puts such into rejected_events; else their window fails.'
        return Finding(what, "error", advice)
    if not elements and response.is_whole:
        return Finding("answers, no events in that hour")
    return Finding(_count(len(elements), response.is_whole, "event"))


def _can_be_taken(element: Any) -> bool:
    return isinstance(element, dict) and bool(element.get("id")) and "timestamp" in element


def _count(count: int, is_whole: bool, noun: str) -> str:
    if not is_whole:
        return f"over {count:,} {noun}s"
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
