"""The events that every rule rests on, and the ways to ask that keep chance out of the verdicts.

Only ids that an earlier response held count: they are there or they are not. What is new proves
nothing: it may have come late. What is absent is requested twice more. A response that was cut, or
that an API may have cut without saying so, shows what is there, never what is not.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ..windows import DAY, SECOND, Window, iso
from .facts import EVENTS, Asked, BudgetUsedUp, Response, Seen, TAsk

AGE = 26 * 3600 * SECOND
"""Milliseconds since the end of every window: by then, what comes late is there."""
FIRST_WIDTH = 30 * SECOND
WIDEST = 32 * DAY
REFUSED = (400, 422)
"""Statuses that say that a parameter is not understood."""
FEW = 4
ENOUGH = 40
MOST = 400
TRIES = 3
KEPT = 9
"""Requests that are kept for the control at the end."""
LEAST_CAP = 10
"""Rows that an API returns at least before it cuts a response."""
MANY_BYTES = 50_000
"""Bytes from which on the responses of one operation alone may be cut by them."""
LOOKED_BACK = 60
"""Responses whose headers are kept."""
ROUND = 10
"""The rows at which an API cuts are a multiple of this, more often than not."""


@dataclass(frozen=True)
class Control:
    """Known events.

    Attributes:
        window: Their window.
        events: The events, by id; of more than ``MOST`` the newest.
        is_ordered: Whether they came in the order of their timestamps, to the second.
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
    """What a request showed, sent up to three times.

    Attributes:
        events: Events that are there, by id.
        whole: Timestamps of each response that was read to its end, in its order, and whether it
            is known to hold all that there is.
    """

    events: Mapping[str, Seen]
    whole: tuple[tuple[tuple[int, ...], bool], ...]

    @property
    def ids(self) -> set[str]:
        """Ids that are there."""
        return set(self.events)

    @property
    def is_whole(self) -> bool:
        """Whether what is not among the events is not there."""
        return any(is_all for _, is_all in self.whole)

    def has(self, one: Seen) -> bool | None:
        """Whether an event is there; None: the responses may have been cut before it.

        A response that ascends and has earlier events and later ones was not cut between them.
        """
        if one.id in self.events:
            return True
        is_shown = any(
            is_all
            or (
                len(moments) > 1
                and moments[0] < one.timestamp < moments[-1]
                and moments == tuple(sorted(moments))
            )
            for moments, is_all in self.whole
        )
        return False if is_shown else None


class Asking:
    """Asks, and remembers what every response showed.

    Attributes:
        repeats: Ids that one response held twice.
        held: Events of all responses, by id.
        mixed: Those that ``/actions/events`` returned.
        responses: How many had events.
        requests: Requests that were sent.
        byte_count: Bytes of bodies that were read.
        had_outage: Whether a response was empty that had known events when it was requested again.
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
        self.had_outage = False
        self.is_final = False
        self.headed: deque[Response] = deque(maxlen=LOOKED_BACK)
        self._remembered: dict[Asked, Response] = {}
        self._most_rows: Counter[str] = Counter()
        self._largest: Counter[str] = Counter()

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
            rows = len(response.events)
            self._most_rows[asked.path] = max(rows, self._most_rows[asked.path])
            self._largest[asked.path] = max(response.byte_count, self._largest[asked.path])
            ids = [one.id for one in response.events]
            self.repeats += len(ids) - len(set(ids))
            self.held.update((one.id, one) for one in response.events)
        return response

    def is_all(self, asked: Asked, response: Response) -> bool:
        """Whether a response is known to hold all events of its window.

        An API may cut responses at some number of rows and say nothing. One with fewer rows than
        another of the same operation was not cut. Where it is the largest of its operation,
        another operation has to have returned more, and the number must not be a round one. One
        that is cut at some number of bytes has about as many as the largest.

        Args:
            asked: The request.
            response: What came of it.
        """
        if response.events is None or not response.is_whole or response.says_more:
            return False
        rows = len(response.events)
        if rows < LEAST_CAP:
            return True
        # Cut at a number of bytes, it lacks an event of twice the usual size at most.
        of_any = max(self._largest.values(), default=0)
        of_same = self._largest[asked.path]
        largest = of_same if response.byte_count >= MANY_BYTES else of_any
        if response.byte_count * (1 + 2 / rows) > largest > 0:
            return False
        if rows < self._most_rows[asked.path]:
            return True
        return rows < max(self._most_rows.values(), default=0) and rows % ROUND > 0

    def ids(self, asked: Asked, expected: Collection[str] = ()) -> Found | None:
        """The events that are there; where an expected one is absent, asks twice more.

        Returns:
            None where no response has events: another status, or no array.
        """
        found: dict[str, Seen] = {}
        whole: list[tuple[tuple[int, ...], bool]] = []
        has_events = was_empty = False
        for _ in range(TRIES):
            response = self.once(asked)
            if response.events is not None:
                has_events = True
                self.had_outage |= was_empty and any(one.id in expected for one in response.events)
                was_empty |= not response.events
                if response.is_whole and not response.says_more:
                    moments = tuple(one.timestamp for one in response.events)
                    whole.append((moments, self.is_all(asked, response)))
                found |= {one.id: one for one in response.events}
                if found.keys() >= set(expected):
                    break
            elif response.status is not None and response.status < 500:
                break
        return Found(found, tuple(whole)) if has_events else None

    def still_there(
        self, control: Control, events: Iterable[Seen], path: str = EVENTS
    ) -> list[Seen]:
        """Those of some known events that the control's request still returns, dated as before.

        A verdict that rests on what is absent elsewhere counts these alone: an event may have been
        erased or changed since it became known.

        Args:
            control: The known events.
            events: Some of them.
            path: The operation that the control was requested of.
        """
        wanted = list(events)
        asked = window_query(path, control.window)
        found = self.ids(asked, {one.id for one in wanted})
        if found is None:
            return []
        return [
            one
            for one in wanted
            if one.id in found.events and found.events[one.id].timestamp == one.timestamp
        ]

    def remembered(self, asked: Asked) -> Response:
        """As ``status``, but requested once only: two questions rest on the same responses."""
        if asked not in self._remembered:
            self._remembered[asked] = self.status(asked)
        return self._remembered[asked]

    def remembered_requests(self) -> list[Asked]:
        """The requests whose responses are remembered."""
        return list(self._remembered)

    def status(self, asked: Asked) -> Response:
        """The response, where it is none of a moment.

        A status that passes by itself is requested twice more; one that refuses counts where it
        comes twice.
        """
        before: int | None = None
        for _ in range(TRIES):
            response = self.once(asked)
            status = response.status
            if status is not None and (status < 400 or (status < 500 and status == before)):
                break
            before = status
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
    moments = [one.timestamp // SECOND for one in there]
    newest = sorted(events, key=lambda one: one.timestamp)[-MOST:]
    if not newest:
        return None
    return Control(
        window, {one.id: one for one in newest}, moments == sorted(moments), response.is_whole
    )
