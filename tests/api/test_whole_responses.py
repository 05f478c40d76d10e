"""A server that pages or caps says so in its headers: nothing is lost, or the window fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from tests.support import Warehouse, at, event, http_answer

ALL = "actions_events"
MOST = 10
TMake = Callable[..., Any]

TELLING = {
    "Link": lambda total: {"Link": '<https://x/?page=2>; rel="next"'} if total > MOST else {},
    "X-Total-Count": lambda total: {"X-Total-Count": str(total)},
    "Content-Range": lambda total: {
        "Content-Range": f"events 0-{min(total, MOST) - 1}/{total}" if total else "events */0"
    },
    "X-Pagination": lambda total: {"X-Pagination": json.dumps({"totalCount": total})},
}
EVENTS = [event(number, at("03-01") + number * 600_000) for number in range(100)]


def capped(tells: Callable[[int], dict[str, str]], most: int = MOST) -> Callable[[str], bytes]:
    """Answers by window, with no more than so many events, and says how many there are."""

    def answer(head: str) -> bytes:
        query = parse_qs(urlsplit(head.split(" ")[1]).query)
        start, end = (at(query[name][0]) for name in ("start", "end"))
        found = [each for each in EVENTS if start <= each["timestamp"] < end]
        return http_answer(json.dumps(found[:most]).encode(), headers=tells(len(found)))

    return answer


@pytest.mark.parametrize("header", TELLING)
def test_what_a_cap_leaves_out_is_loaded_by_smaller_windows(
    warehouse: Warehouse, raw_server: TMake, source_of: TMake, header: str
) -> None:
    server = raw_server(capped(TELLING[header]))
    source = source_of(server, ALL, start="2024-03-01", end="2024-03-02", attempts=1)
    warehouse.run(source)
    assert warehouse.ids() == sorted(each["id"] for each in EVENTS)
    assert len(server.requests) > 100 / MOST


@pytest.mark.parametrize("header", ["Link", "X-Total-Count"])
def test_a_second_that_is_still_not_whole_fails_and_proves_nothing(
    warehouse: Warehouse, raw_server: TMake, source_of: TMake, header: str
) -> None:
    server = raw_server(capped(lambda total: TELLING[header](total + 1_000), most=1))
    source = source_of(server, ALL, start="2024-03-01", end="2024-03-02", attempts=1)
    with pytest.raises(PipelineStepFailed, match="the response is not whole"):
        warehouse.run(source)
    assert warehouse.rows("load_windows") == []
    assert warehouse.rows("events") == []
