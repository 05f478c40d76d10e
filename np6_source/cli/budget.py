"""A few requests, one at a time and counted; of their bodies the beginning is read.

For commands that only look: ``check``, ``plan``, ``probe``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..api.client import ApiRequest, Client
from ..errors import RequestContext, RequestFailed
from ..extract.session import ExtractSession
from ..windows import SECOND

READ_AT_MOST = 256 * 1024
"""Bytes of a body that are read, uncompressed."""
_CHUNK = 16 * 1024

APART = 0.2
"""Seconds between the starts of two requests, at least."""


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
    decoder, position = json.JSONDecoder(), 1
    found: list[Any] = []
    while True:
        try:
            element, position = decoder.raw_decode(text, _after_blanks(text, position))
        except (ValueError, RecursionError):
            return tuple(found)
        found.append(element)
        position = _after_blanks(text, position)
        if text[position : position + 1] != ",":
            return tuple(found)
        position += 1


def _array(text: str) -> tuple[Any, ...] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(found)


def _after_blanks(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\r", "\n"):
        position += 1
    return position


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
