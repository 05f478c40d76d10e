"""What the events of a response say about the response: who they belong to, where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import AGENCY, CUSTOMER, EVENTS, TIMESTAMP
from ..windows import SECOND, Window

HUNDREDS = 100
FIFTIES = 50
SMALL_LIMITS = (16, 20, 25, 30, 32, 40)
MOST = 100_000
"""Rows up to which a count may be a server's limit; nobody gives more at once by a round number."""

FEWEST = 10
"""Rows from which on the empty end of a window is looked at whatever their number."""

WELL_BEFORE = 10
"""Mean distances between events after which an empty stretch at a window's edge is remarkable."""


@dataclass
class EventFacts:
    """What the events of a response have in common.

    Attributes:
        accounts: Agency and customer of the events' identities.
        earliest: Timestamp of the first event inside the window, milliseconds since the epoch; None
            where there is none.
        latest: Timestamp of the last.
        ids: The events' ids, where they are to be compared with those of another response.
    """

    accounts: set[tuple[str, str]] = field(default_factory=set)
    earliest: int | None = None
    latest: int | None = None
    ids: list[pa.Array] = field(default_factory=list)

    def see(self, tables: Mapping[str, pa.Table], window: Window, keep_ids: bool = False) -> None:
        """Takes note of a batch, as the reader yields it.

        Args:
            tables: The batch.
            window: The window of the response; events may lie outside it.
            keep_ids: Keep the events' ids.
        """
        events = tables.get(EVENTS.name)
        if events is None or not events.num_rows:
            return
        if keep_ids:
            self.ids.append(events["id"].combine_chunks())
        for agency, customer in _pairs(events[AGENCY.name], events[CUSTOMER.name]):
            if agency is not None or customer is not None:
                self.accounts.add((agency or "", customer or ""))
        times = events[TIMESTAMP.name].cast(pa.timestamp("ms", "UTC")).cast(pa.int64())
        inside = pc.and_(
            pc.greater_equal(times, pa.scalar(window.start)), pc.less(times, pa.scalar(window.end))
        )
        ends = pc.min_max(times.filter(inside))
        if ends["min"].is_valid:
            self._extend(ends["min"].as_py(), ends["max"].as_py())

    def add(self, other: EventFacts) -> None:
        """Adds what another part of the response has."""
        self.accounts |= other.accounts
        self.ids += other.ids
        if other.earliest is not None and other.latest is not None:
            self._extend(other.earliest, other.latest)

    def leaves_an_end_empty(self, window: Window, event_count: int) -> bool:
        """Whether the events end well before their window does, or begin well after it."""
        return bool(self.empty_ends(window, event_count))

    def empty_ends(self, window: Window, event_count: int) -> list[Window]:
        """The stretches at a window's edges that are remarkably empty; none where there is none.

        They begin and end at the next whole second, for a server that reads no fractions.
        """
        if self.earliest is None or self.latest is None:
            return []
        usual = (self.latest - self.earliest) / max(1, event_count - 1)
        first, last = self.earliest // SECOND * SECOND, (self.latest // SECOND + 1) * SECOND
        ends = (
            (window.start, first, self.earliest - window.start),
            (last, window.end, window.end - self.latest),
        )
        least = max(WELL_BEFORE * usual, SECOND)
        return [Window(start, end) for start, end, empty in ends if empty > least and start < end]

    def parts(self, window: Window) -> tuple[list[Window], bool]:
        """Two windows that replace one, cut between its events, so that each holds some of them.

        Returns:
            The windows, and whether they hold the events of the response. Not where all of these
            have one timestamp: the windows are then what lies before and after it.
        """
        assert self.earliest is not None
        assert self.latest is not None
        if self.earliest == self.latest:
            around = ((window.start, self.earliest), (self.latest + 1, window.end))
            return [Window(start, end) for start, end in around if start < end], False
        middle = (self.earliest + self.latest) // 2 + 1
        whole = middle // SECOND * SECOND
        cut = whole if whole > self.earliest else middle
        return [Window(window.start, cut), Window(cut, window.end)], True

    def _extend(self, earliest: int, latest: int) -> None:
        self.earliest = earliest if self.earliest is None else min(self.earliest, earliest)
        self.latest = latest if self.latest is None else max(self.latest, latest)


def may_be_a_limit(event_count: int) -> bool:
    """Whether a server may have cut a response at so many rows.

    >>> [n for n in (0, 7, 20, 100, 333, 1024, 5000) if may_be_a_limit(n)]
    [20, 100, 1024, 5000]
    """
    if event_count > MOST:
        return False
    is_power_of_two = event_count >= 16 and event_count & (event_count - 1) == 0
    is_round = event_count >= FIFTIES and event_count % FIFTIES == 0
    return is_power_of_two or is_round or event_count in SMALL_LIMITS


def is_most_likely_a_limit(event_count: int) -> bool:
    """Whether a count is looked at wherever its events lie."""
    return 0 < event_count <= MOST and event_count % HUNDREDS == 0


def _pairs(
    agencies: pa.ChunkedArray, customers: pa.ChunkedArray
) -> set[tuple[str | None, str | None]]:
    """The different pairs of values."""
    one, other = agencies.unique(), customers.unique()
    if len(one) == len(other) == 1:  # Nearly always, and a tenth of the time.
        return {(one[0].as_py(), other[0].as_py())}
    grouped = pa.table([agencies, customers], ["agency", "customer"])
    found = grouped.group_by(["agency", "customer"]).aggregate([])
    return set(zip(found["agency"].to_pylist(), found["customer"].to_pylist(), strict=True))
