"""What one small response shows of the events around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..windows import SECOND, Window

SENDS = ("execution", "activation", "cancellation")
"""Types of events that are bursts: they happen when a mailing goes out. All others react to one."""


@dataclass(frozen=True)
class SampledEvent:
    """What an estimate uses of an event.

    Attributes:
        timestamp: Milliseconds since the epoch.
        is_send: Whether it is part of a mailing's burst, see ``SENDS``.
        stamped_at: When its message was made, milliseconds since the epoch; None: not known.
        size: Bytes of its JSON.
    """

    timestamp: int
    is_send: bool
    stamped_at: int | None
    size: int


@dataclass(frozen=True)
class Sample:
    """The events of a window, or the first of them.

    Attributes:
        window: What was requested.
        events: The events that were read.
        is_whole: Whether these are all.
        whole_until: Up to where these are all, milliseconds since the epoch, where the API took a
            narrower window only; None: up to the last event.
        whole_from: From where on these are all, where the API has cut the response and keeps the
            newest events; None: it has not.
    """

    window: Window
    events: tuple[SampledEvent, ...]
    is_whole: bool
    whole_until: int | None = None
    whole_from: int | None = None

    @property
    def covered(self) -> int:
        """Milliseconds that the events stand for: of a response that was cut, up to its last."""
        if self.is_whole:
            return self.window.width
        if self.whole_from is not None:
            return max(SECOND, self.window.end - self.whole_from)
        if self.whole_until is not None:
            return self.whole_until - self.window.start
        last = max((event.timestamp for event in self.events), default=self.window.end)
        return max(SECOND, min(last, self.window.end) - self.window.start)

    @property
    def is_ordered(self) -> bool:
        """Whether timestamps ascend; a cut response tells a rate only then."""
        moments = [event.timestamp for event in self.events]
        return moments == sorted(moments)

    def reactions(self) -> list[SampledEvent]:
        """The events that are no sends."""
        return [event for event in self.events if not event.is_send]

    def rate(self, of: Sequence[SampledEvent]) -> float:
        """Events a millisecond.

        Args:
            of: Some of the events.
        """
        return len(of) / self.covered


def sampled_event(element: Any, size: int, default_type: str | None) -> SampledEvent | None:
    """What an estimate uses of an event as the API returns it; None where it is none.

    Args:
        element: An element of the response's array.
        size: Bytes of its JSON.
        default_type: Its type where it names none.
    """
    timestamp = element.get("timestamp") if isinstance(element, dict) else None
    if not isinstance(timestamp, int) or isinstance(timestamp, bool):
        return None
    kind = element.get("type") or default_type
    return SampledEvent(timestamp, kind in SENDS, stamp_time(element), size)


def stamp_time(element: Any) -> int | None:
    """``stamp.time`` of an event's message, milliseconds since the epoch; None: it has none."""
    detail = _at(element, "source", "detail")
    for part in ("activation", "execution"):
        found = _at(detail, part, "stamp", "time")
        if isinstance(found, int) and not isinstance(found, bool):
            return found
    return None


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
