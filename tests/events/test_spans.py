"""The spans in which a response is counted, so that the counts of several add up."""

from __future__ import annotations

from collections import Counter
from random import Random

import pyarrow as pa
import pytest

from np6_source.events.spans import SpanCounts, count_by_span, cut, paths_by_span
from np6_source.windows import DAY, SECOND, Window, merged

HOUR = 3600 * SECOND
MINUTE = 60 * SECOND


def column(values: list[object]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


def test_a_window_is_cut_where_an_earlier_request_has_read_and_at_midnights() -> None:
    window = Window(10 * DAY - HOUR, 11 * DAY + HOUR)
    place = 10 * DAY - HOUR + 10 * MINUTE
    cuts = [span.start for span in cut(window, place, 0)]
    assert cuts == [window.start, place, 10 * DAY, 11 * DAY]


@pytest.mark.parametrize("read_until", [None, 10 * DAY, 12 * DAY, 9 * DAY, 10 * DAY + 1])
@pytest.mark.parametrize("midnights_from", [0, 10 * DAY - 1, 10 * DAY, 10 * DAY + 1, 50 * DAY])
def test_the_spans_are_the_window(read_until: int | None, midnights_from: int) -> None:
    window = Window(10 * DAY, 12 * DAY)
    spans = cut(window, read_until, midnights_from)
    assert merged(spans) == [window]
    assert sum(span.width for span in spans) == window.width


def test_midnights_long_ago_cut_nothing() -> None:
    assert len(cut(Window(0, 400 * DAY), None, 365 * DAY)) == 36
    assert len(cut(Window(0, 300 * DAY), None, 365 * DAY)) == 1


def test_every_event_inside_is_counted_once_however_batches_fall() -> None:
    random = Random(5)
    window = Window(10 * DAY - HOUR, 12 * DAY)
    spans = cut(window, 10 * DAY + HOUR, 0)
    times = sorted(random.randrange(window.start - HOUR, window.end + HOUR) for _ in range(500))
    types = [random.choice(["hit", "bounce", None]) for _ in times]
    expected: dict[int, Counter[str]] = {}
    for moment, kind in zip(times, types, strict=True):
        for number, span in enumerate(spans):
            if span.start <= moment < span.end:
                expected.setdefault(number, Counter())[kind or ""] += 1
    for size in (1, 7, 500):
        found: dict[int, SpanCounts] = {}
        for first in range(0, 500, size):
            batch = slice(first, first + size)
            ids = [f"e{n}" for n in range(500)][batch]
            for number, counts in count_by_span(
                spans, column(times[batch]), column(ids), column(types[batch])
            ):
                found.setdefault(number, SpanCounts()).add(counts)
        assert {number: counts.types for number, counts in found.items()} == expected
        assert all(one.events == one.distinct == one.types.total() for one in found.values())


def test_paths_of_events_outside_stand_with_the_nearest_span() -> None:
    spans = cut(Window(0, 2 * DAY), None, 0)
    times = column([-5, 1, DAY + 1, 3 * DAY, None])
    found = dict.fromkeys(range(5), ("mood",))
    numbers = [number for number, _ in paths_by_span(spans, times, found)]
    assert numbers == [0, 0, 1, 1, 0]
