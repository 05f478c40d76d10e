"""The events that every rule rests on, and the ways to ask that keep chance out of the verdicts.

Only ids that an earlier response held count: they are there or they are not. What is new proves
nothing: it may have come late. What is absent is requested twice more. A response that was cut
shows what is there, never what is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from ..windows import DAY, SECOND, Window, iso
from .facts import EVENTS, Asked, BudgetUsedUp, Response, Seen, TAsk

AGE = 26 * 3600 * SECOND
"""Milliseconds since the end of every window: by then, what comes late is there."""
FIRST_WIDTH = 30 * SECOND
WIDEST = 32 * DAY
FEW = 4
ENOUGH = 40
MOST = 400
TRIES = 3
KEPT = 9
"""Requests that are kept for the control at the end."""


@dataclass(frozen=True)
class Control:
    """Known events.

    Attributes:
        window: Their window.
        events: The events, by id; of more than ``MOST`` the newest.
        is_ordered: Whether they came in the order of their timestamps.
        is_whole: Whether the response was read to its end.
    """

    window: Window
    events: dict[str, Seen]
    is_ordered: bool
    is_whole: bool

    def inside(self, window: Window) -> set[str]:
        """Ids of the known events with a timestamp in a window."""
        return {
            one.id for one in self.events.values() if window.start <= one.timestamp < window.end
        }

    def in_order(self) -> list[Seen]:
        """The known events by timestamp."""
        return sorted(self.events.values(), key=lambda one: (one.timestamp, one.id))


@dataclass(frozen=True)
class Found:
    """What a request showed.

    Attributes:
        ids: Ids that are there.
        is_whole: Whether what is not among them is not there.
    """

    ids: frozenset[str]
    is_whole: bool

    def has(self, name: str) -> bool | None:
        """Whether an id is there; None: the response was cut."""
        return True if name in self.ids else (False if self.is_whole else None)


class Asking:
    """Asks, and remembers what every response showed.

    Attributes:
        repeats: Ids that one response held twice.
        held: Events of all responses, by id.
        mixed: Those that ``/actions/events`` returned.
        responses: How many had events.
        requests: Requests that were sent.
        byte_count: Bytes of bodies that were read.
        is_final: The last requests, for which some were kept, are sent.
        headed: The last responses that had headers, without their events.
    """

    def __init__(self, ask: TAsk, most_requests: int, most_bytes: int) -> None:
        self._ask = ask
        self._most_requests, self._most_bytes = most_requests, most_bytes
        self.repeats = 0
        self.held: dict[str, Seen] = {}
        self.mixed: dict[str, Seen] = {}
        self.responses = 0
        self.requests = 0
        self.byte_count = 0
        self.is_final = False
        self.headed: deque[Response] = deque(maxlen=20)
        self._remembered: dict[Asked, Response] = {}

    def once(self, asked: Asked) -> Response:
        """Sends a request.

        Raises:
            BudgetUsedUp: No further request may be sent.
            Refused: The API refuses every request.
        """
        left = self._most_requests - self.requests - (0 if self.is_final else KEPT)
        if left <= 0 or (self.byte_count >= self._most_bytes and not self.is_final):
            raise BudgetUsedUp("budget: --max-requests or --max-bytes is reached")
        self.requests += 1
        response = self._ask(asked)
        self.byte_count += response.byte_count
        if response.headers:
            self.headed.append(replace(response, events=None))
        if response.events:
            if asked.path == EVENTS:
                self.mixed.update((one.id, one) for one in response.events)
            self.responses += 1
            ids = [one.id for one in response.events]
            self.repeats += len(ids) - len(set(ids))
            self.held.update((one.id, one) for one in response.events)
        return response

    def ids(self, asked: Asked, expected: Collection[str] = ()) -> Found | None:
        """The ids that are there; what is expected and absent is requested twice more.

        Returns:
            None where no response has events: another status, or no array.
        """
        found: set[str] = set()
        has_events, is_whole = False, False
        for _ in range(TRIES):
            response = self.once(asked)
            if response.events is not None:
                has_events, is_whole = True, is_whole or response.is_whole
                found |= {one.id for one in response.events}
                if found >= set(expected):
                    break
            elif response.status is not None and response.status < 500:
                break
        return Found(frozenset(found), is_whole) if has_events else None

    def remembered(self, asked: Asked) -> Response:
        """As ``status``, but requested once only: two questions rest on the same responses."""
        if asked not in self._remembered:
            self._remembered[asked] = self.status(asked)
        return self._remembered[asked]

    def status(self, asked: Asked) -> Response:
        """The response; one with a status that passes by itself is requested twice more."""
        for _ in range(TRIES):
            response = self.once(asked)
            if response.status is not None and response.status < 500:
                return response
        return response


def window_query(path: str, window: Window, most_bytes: int = 2_000_000) -> Asked:
    """The request that the connector sends for a window."""
    return Asked(path, iso(window.start), iso(window.end), "asc", most_bytes)


def find_control(
    asking: Asking, now: int, path: str = EVENTS, of: Iterable[str] | None = None
) -> Control | None:
    """Searches for a window with enough events, from 26 hours ago backwards.

    Args:
        asking: Asks.
        now: The time, milliseconds since the epoch.
        path: The operation.
        of: Types that count; None: all.

    Returns:
        None where no response could be used, or none had an event.
    """
    end = (now - AGE) // SECOND * SECOND
    width = FIRST_WIDTH
    types = None if of is None else set(of)
    while True:
        window = Window(end - width, end)
        response = asking.status(window_query(path, window))
        if response.events is None and not (response.status == 200 and response.is_empty):
            return None
        there = response.events or ()
        events = [one for one in there if types is None or one.type in types]
        count = len({one.id for one in events})
        if count >= ENOUGH or width >= WIDEST or not response.is_whole:
            break
        factor = 16.0 if count < FEW else min(16.0, 1.6 * ENOUGH / count)
        width = min(WIDEST, int(width * max(1.5, factor)) // SECOND * SECOND)
    moments = [one.timestamp for one in there]
    newest = sorted(events, key=lambda one: one.timestamp)[-MOST:]
    if not newest:
        return None
    return Control(
        window, {one.id: one for one in newest}, moments == sorted(moments), response.is_whole
    )
