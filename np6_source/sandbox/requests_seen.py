"""What the sandbox remembers of the requests it got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RecordedRequest:
    """One request and what was answered.

    Attributes:
        method: HTTP method.
        path: Path, percent escapes decoded.
        query: Query parameters, decoded.
        headers: Headers as sent; names in any case.
        body: The body's JSON, None where there is none.
        status: Status of the answer, 0 where the connection ended without one.
        event_count: Events in the answer, before any fault cut or changed it.
        byte_count: Bytes of the body that were made, uncompressed.
        request_id: The answer's ``x-request-id``.
        received_at: When it came in, seconds of the machine's monotonic clock.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any
    status: int
    event_count: int
    byte_count: int
    request_id: str
    received_at: float = 0.0
