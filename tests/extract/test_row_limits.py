"""When a window is compared with parts of itself, because the API may have cut its response."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from np6_source.api.client import ResponseFacts
from np6_source.errors import FewerEvents, RequestContext
from np6_source.events.lateness import BUCKETS
from np6_source.events.reader import ResponseContents
from np6_source.extract.facts import EventFacts
from np6_source.extract.lateness import LatenessProbe
from np6_source.extract.progress import Progress
from np6_source.extract.row_limits import RowLimits
from np6_source.extract.short_responses import is_cut, refuse_fewer_events
from np6_source.extract.spool import TableStash
from np6_source.extract.window import LoadableWindow
from np6_source.windows import SECOND, Window

HOUR = 3_600 * SECOND

DAY_LONG = Window(0, 24 * HOUR)
TResponse = Callable[..., LoadableWindow]


@pytest.fixture
def response(tmp_path: Path) -> TResponse:
    def make(
        count: int, first: int = 1, last: int = 24 * HOUR - 1, buckets: dict[int, int] | None = None
    ) -> LoadableWindow:
        contents = ResponseContents(event_count=count)
        contents.buckets.update(buckets or {})
        return LoadableWindow(
            DAY_LONG,
            ResponseFacts(0, 0, 0, None),
            contents,
            (DAY_LONG,),
            TableStash(tmp_path, "window"),
            (DAY_LONG,),
            EventFacts(earliest=first, latest=last) if count else EventFacts(),
            RequestContext("actions_events", "", str(DAY_LONG)),
        )

    return make


class Server:
    """Counts the events of parts of a window, and how often it was asked."""

    def __init__(self, in_each_part: int) -> None:
        self.in_each_part = in_each_part
        self.asked: list[Window] = []

    def count(self, part: Window) -> int:
        self.asked.append(part)
        return self.in_each_part


def test_parts_that_hold_more_prove_a_limit_which_needs_no_second_comparison(
    response: TResponse,
) -> None:
    limits, server = RowLimits(), Server(in_each_part=90)
    assert is_cut(response(100), "", limits, server.count)
    assert server.asked == [Window(0, 12 * HOUR), Window(12 * HOUR, 24 * HOUR)]
    assert is_cut(response(100), "another", limits, server.count)
    assert len(server.asked) == 2


def test_parts_that_hold_the_same_are_compared_once_unless_the_count_comes_back(
    response: TResponse,
) -> None:
    limits, server = RowLimits(), Server(in_each_part=50)
    assert not is_cut(response(100), "a", limits, server.count)
    assert not is_cut(response(100), "b", limits, server.count)
    assert len(server.asked) == 2
    assert not is_cut(response(100), "b", limits, server.count)  # Twice in a row.
    assert len(server.asked) == 4


@pytest.mark.parametrize("count", [0, 7, 97, 333])
def test_other_counts_whose_events_fill_the_window_are_not_compared(
    response: TResponse, count: int
) -> None:
    server = Server(in_each_part=10**6)
    assert not is_cut(response(count), "", RowLimits(), server.count)
    assert server.asked == []


def test_an_empty_end_of_the_largest_response_is_read_whatever_the_count(
    response: TResponse,
) -> None:
    limits, server = RowLimits(), Server(in_each_part=1)
    assert is_cut(response(97, last=6 * HOUR), "", limits, server.count)
    assert server.asked == [Window(6 * HOUR + SECOND, 24 * HOUR)]
    smaller = response(60, last=6 * HOUR)
    assert not is_cut(smaller, "", limits, server.count)
    assert len(server.asked) == 1


def test_fewer_events_than_the_run_before_saw_are_refused(response: TResponse) -> None:
    before = Progress(0, 24 * HOUR, tail={23: 5}, bucket=HOUR)
    overlap = Window(23 * HOUR, 24 * HOUR)
    probe = LatenessProbe(BUCKETS * HOUR, lambda: 25 * HOUR, before, overlap)
    refuse_fewer_events(response(5, buckets={23: 5}), probe)
    with pytest.raises(FewerEvents, match="lacks 1 events"):
        refuse_fewer_events(response(4, buckets={23: 4}), probe)
