"""What loading a period costs, from the estimated density of its events."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ..windows import SECOND, Pace
from .estimate import BIN, Density, Estimate, Range

READ_A_SECOND = 30_000
"""Events that a load parses and writes a second, on two cores."""
DISK_PER_EVENT = (200.0, 300.0)
"""Bytes of an event in a DuckDB file."""
MOST_REQUESTS = 1_000_000


@dataclass(frozen=True)
class Transfer:
    """How long responses take: seconds of each request, and of each byte."""

    a_request: float
    a_byte: float


@dataclass(frozen=True)
class Cost:
    """What loading takes.

    Attributes:
        requests: Requests.
        seconds: Seconds, with no rate limit in the way but the configured one.
        disk: Bytes of the DuckDB file.
    """

    requests: Range
    seconds: Range
    disk: Range


def transfer(sizes: Sequence[int], seconds: Sequence[float]) -> Transfer:
    """The line through what requests took, by least squares; neither part is negative.

    Args:
        sizes: Bytes of each response.
        seconds: What each took.
    """
    count = len(sizes)
    if not count:
        return Transfer(0.0, 0.0)
    mean_size, mean_time = sum(sizes) / count, sum(seconds) / count
    spread = sum((size - mean_size) ** 2 for size in sizes)
    slope = 0.0
    if spread:
        pairs = zip(sizes, seconds, strict=True)
        slope = sum((size - mean_size) * (time - mean_time) for size, time in pairs) / spread
    slope = min(max(slope, 0.0), mean_time / mean_size if mean_size else 0.0)
    return Transfer(max(0.0, mean_time - slope * mean_size), slope)


def cost(
    estimate: Estimate,
    first_width: int,
    concurrency: int,
    interval: float,
    pace: Transfer,
    ids: int = 1,
) -> Cost:
    """What a load of the period takes.

    Args:
        estimate: How many events there are, and where.
        first_width: Width of a load's first windows, milliseconds.
        concurrency: Requests that run at once.
        interval: Seconds from one request to the next, at least.
        pace: How long responses take.
        ids: How many ids the period is loaded for, each on its own; 1 for the account.
    """
    events = estimate.events
    scales = [
        value / events.likely if events.likely else 1.0
        for value in (events.low, events.likely, events.high)
    ]
    each = [requests(estimate.density, first_width, scale / max(1, ids)) for scale in scales]
    counts = Range(*(float(count * ids) for count in each))
    size = estimate.bytes
    one_by_one = Range(
        *(
            count * pace.a_request + length * pace.a_byte
            for count, length in zip(_three(counts), _three(size), strict=True)
        )
    )
    seconds = Range(
        max(one_by_one.low / concurrency, events.low / READ_A_SECOND, counts.low * interval),
        max(one_by_one.likely / 2, events.likely / READ_A_SECOND, counts.likely * interval),
        max(one_by_one.high, events.high / READ_A_SECOND, counts.high * interval),
    )
    low, high = DISK_PER_EVENT
    disk = Range(events.low * low, events.likely * (low + high) / 2, events.high * high)
    return Cost(counts, seconds, disk)


def requests(density: Density, first_width: int, scale: float = 1.0) -> int:
    """Windows that a load asks for: ``Pace`` played over the density.

    Args:
        density: Where the events are.
        first_width: Width of the first windows, milliseconds.
        scale: How many times as many events there are.
    """
    period = density.period
    held = _Held(density, scale)
    pace, position, count = Pace(first_width), period.start, 0
    while position < period.end and count < MOST_REQUESTS:
        window = pace.next_window(position, period.end)
        count += 1
        size = held.between(window.start, window.end)
        # What is too large comes all the same: only the next window is narrower.
        pace = pace.answered(window, int(size))
        position = window.end
    return count


class _Held:
    """Bytes of the events of spans."""

    def __init__(self, density: Density, scale: float) -> None:
        self._density, self._scale = density, scale
        self._starts = [start for start, _ in density.sends]
        self._sums = [0.0, *itertools.accumulate(count for _, count in density.sends)]
        parts = density.reactions or (0.0,)
        self._part = max(1.0, density.period.width / len(parts))
        self._reactions = [0.0, *itertools.accumulate(rate * self._part for rate in parts)]

    def between(self, start: int, end: int) -> float:
        density = self._density
        reactions = self._reactions_until(end) - self._reactions_until(start)
        sends = self._sends_until(end) - self._sends_until(start)
        size = reactions * density.reaction_size + sends * density.send_size
        return size * self._scale

    def _reactions_until(self, moment: int) -> float:
        position = (moment - self._density.period.start) / self._part
        whole = min(int(position), len(self._reactions) - 1)
        following = self._reactions[min(whole + 1, len(self._reactions) - 1)]
        return self._reactions[whole] + (position - whole) * (following - self._reactions[whole])

    def _sends_until(self, moment: int) -> float:
        last = bisect.bisect_right(self._starts, moment) - 1
        if last < 0:
            return 0.0
        count = self._sums[last + 1] - self._sums[last]
        return self._sums[last] + count * min(1.0, (moment - self._starts[last]) / BIN)


def _three(of: Range) -> tuple[float, float, float]:
    return of.low, of.likely, of.high


def seconds_of(milliseconds: int) -> float:
    """Milliseconds as seconds."""
    return milliseconds / SECOND
