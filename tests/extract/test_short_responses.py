"""A short response is not a whole one: rows cut without a word, arrays that an outage empties."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from np6_source.extract.facts import may_be_a_limit
from np6_source.windows import SECOND, Window, merged, to_ms
from tests.support import RawServer, Warehouse, event, http_answer

ALL = "actions_events"
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
TMake = Callable[..., Any]


@dataclass
class Api:
    """Serves events by window, at most ``cap`` of them.

    Attributes:
        events: The account's events.
        cap: Rows of a response at most; None: all.
        order: Which of the events a response keeps.
        is_out: Whether every response is an empty array.
    """

    events: list[dict[str, Any]]
    cap: int | None = None
    order: Callable[[list[Any]], Iterable[Any]] = iter
    is_out: bool = False
    windows: list[Window] = field(default_factory=list)

    def __call__(self, request: str) -> bytes:
        query = parse_qs(urlsplit(request.split(" ")[1]).query)
        window = Window(*(to_ms(datetime.fromisoformat(query[n][0])) for n in ("start", "end")))
        self.windows.append(window)
        found = [e for e in self.events if window.start <= e["timestamp"] < window.end]
        kept = [] if self.is_out else list(self.order(found))[: self.cap]
        return http_answer(json.dumps(kept).encode())


@pytest.fixture
def begin() -> int:
    """Ten hours ago, a whole hour; the same for all of a test, should another hour begin."""
    return int(time.time() * SECOND) // HOUR * HOUR - 10 * HOUR


@pytest.fixture
def load(
    warehouse: Warehouse, raw_server: TMake, source_of: TMake, begin: int
) -> Callable[..., Any]:
    """Loads an API's events once; gives the resource's metrics."""
    servers: dict[int, RawServer] = {}

    def once(api: Api, **options: Any) -> Any:
        server = servers.setdefault(id(api), raw_server(api) if id(api) not in servers else None)
        settings = {"start": begin, "on_error": "keep", **options}
        source = source_of(server, ALL, **settings)
        warehouse.run(source)
        return source.resources[ALL].custom_metrics

    return once


class TestRowsCutWithoutAWord:
    @pytest.mark.parametrize("cap", [20, 50, 64, 100, 250])
    def test_windows_are_halved_until_they_hold_fewer(
        self, warehouse: Warehouse, load: Callable[..., Any], begin: int, cap: int
    ) -> None:
        api = Api([event(n, begin + n * 30 * SECOND) for n in range(600)], cap)
        assert load(api, window=4 * 3600, concurrency=1)["failures"] == []
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(600)]
        assert all(row["event_count"] < cap for row in warehouse.rows("load_windows"))

    @pytest.mark.parametrize("order", [reversed, lambda rows: sorted(rows, key=str)])
    def test_whichever_rows_the_server_keeps(
        self, warehouse: Warehouse, load: Callable[..., Any], begin: int, order: Any
    ) -> None:
        api = Api([event(n, begin + n * 30 * SECOND) for n in range(600)], 100, order)
        assert load(api, window=4 * 3600, concurrency=3)["failures"] == []
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(600)]

    def test_a_second_with_as_many_events_fails_and_is_not_proven(
        self, warehouse: Warehouse, load: Callable[..., Any], begin: int
    ) -> None:
        api = Api([event(n, begin + HOUR + n) for n in range(300)], 100)
        (failure,) = load(api, window=3600, concurrency=1)["failures"]
        assert "100 events, at which the API cuts responses" in failure["message"]
        assert merged(warehouse.windows(ALL))[-1].end <= begin + HOUR

    def test_it_is_said_once(
        self, load: Callable[..., Any], begin: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        api = Api([event(n, begin + n * 30 * SECOND) for n in range(600)], 100)
        with caplog.at_level(logging.WARNING, "np6_source"):
            load(api)
        assert caplog.text.count("the API returns 100 events at most") == 1

    def test_a_whole_response_with_a_round_number_is_compared_once(
        self, warehouse: Warehouse, load: Callable[..., Any], begin: int
    ) -> None:
        api = Api([event(n, begin + n * MINUTE) for n in range(100)])
        assert load(api, window=86_400)["failures"] == []
        assert len(warehouse.ids()) == 100
        assert len(api.windows) == 3

    @pytest.mark.parametrize("cap", [10, 33, 137, 399])
    @pytest.mark.parametrize("order", [iter, reversed])
    def test_a_cap_at_any_number_shows_by_the_empty_end_that_it_leaves(
        self, warehouse: Warehouse, load: Callable[..., Any], begin: int, cap: int, order: Any
    ) -> None:
        api = Api([event(n, begin + n * 30 * SECOND) for n in range(600)], cap, order)
        assert load(api, window=4 * 3600, concurrency=2)["failures"] == []
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(600)]

    def test_rows_that_cannot_be_taken_count_towards_a_cap(
        self, warehouse: Warehouse, load: Callable[..., Any], begin: int
    ) -> None:
        events = [event(n, begin + n * 30 * SECOND) for n in range(600)]
        del events[7]["id"]
        load(Api(events, 100), window=4 * 3600, concurrency=1, bad_events="keep")
        assert len(warehouse.ids()) == 599
        assert len(warehouse.rows("rejected_events")) == 1

    def test_the_empty_end_of_the_largest_response_is_asked_for_once(
        self, load: Callable[..., Any], begin: int
    ) -> None:
        api = Api([event(n, begin + n * MINUTE) for n in range(97)])
        load(api, window=4 * 3600, concurrency=1)
        assert len([w for w in api.windows if w.start % MINUTE]) == 1

    def test_other_numbers_cost_nothing(self, load: Callable[..., Any]) -> None:
        first = int(time.time() * SECOND) - 97 * 6 * MINUTE
        api = Api([event(n, first + n * 6 * MINUTE) for n in range(97)])
        load(api, window=86_400, start=first)
        assert len(api.windows) == 1


class TestNoEventWasEverSeen:
    def test_a_history_that_an_outage_answers_with_empty_arrays_is_read_again(
        self, warehouse: Warehouse, load: Callable[..., Any], begin: int
    ) -> None:
        api = Api([event(n, begin + n * MINUTE) for n in range(97)], is_out=True)
        load(api)
        assert warehouse.ids() == []
        api.is_out = False
        load(api)
        assert len(warehouse.ids()) == 97

    def test_but_not_once_there_was_one(
        self, warehouse: Warehouse, load: Callable[..., Any], begin: int
    ) -> None:
        api = Api([event(n, begin + n * MINUTE) for n in range(97)])
        load(api)
        api.windows.clear()
        load(api)
        assert min(window.start for window in api.windows) > begin + HOUR


class TestFewerThanBefore:
    @pytest.fixture
    def api(self) -> Api:
        now = int(time.time() * SECOND)
        return Api([event(n, now - 45 * SECOND - n * 10 * SECOND) for n in range(60)])

    def test_an_outage_of_empty_arrays_fails_and_the_progress_stays(
        self, warehouse: Warehouse, load: Callable[..., Any], api: Api
    ) -> None:
        load(api)
        before = warehouse.places(ALL)["places"]
        api.is_out = True
        (failure,) = load(api)["failures"]
        assert failure["kind"] == "FewerEvents"
        assert "that the run before saw in the overlap" in failure["message"]
        assert warehouse.places(ALL)["places"] == before
        api.is_out = False
        assert load(api)["failures"] == []
        assert len(warehouse.ids()) == 60

    def test_one_event_less_is_enough(self, load: Callable[..., Any], api: Api) -> None:
        load(api)
        del api.events[20]
        (failure,) = load(api)["failures"]
        assert "lacks 1 events" in failure["message"]

    def test_fewer_can_be_accepted(self, load: Callable[..., Any], api: Api) -> None:
        load(api)
        del api.events[20]
        assert load(api, accept_fewer_events=True)["failures"] == []
        assert load(api)["failures"] == []

    def test_more_is_late_and_no_failure(self, load: Callable[..., Any], api: Api) -> None:
        load(api)
        api.events.append(event(99, api.events[20]["timestamp"] + 1))
        metrics = load(api)
        assert metrics["failures"] == []
        assert metrics["late_events"] == 1


def test_which_numbers_may_be_a_limit() -> None:
    numbers = [16, 20, 25, 30, 32, 40, 50, 64, 100, 128]
    assert [n for n in range(130) if may_be_a_limit(n)] == numbers
    assert not may_be_a_limit(200_000)
