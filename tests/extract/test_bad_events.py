"""Events that cannot be taken, and events of another time: refused, or kept with a word."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.errors import SettingError
from np6_source.sandbox import EventRow
from tests.support import RawServer, Warehouse, at, event, http_answer

ALL = "actions_events"
NOON = at("03-01T12:00")
END = "2024-03-02"

TServe = Callable[..., Any]


def once(body: bytes) -> Callable[[str], bytes]:
    """Answers every request with a body."""
    return lambda _request: http_answer(body)


@pytest.fixture
def loaded(
    warehouse: Warehouse, raw_server: Callable[..., RawServer], source_of: TServe
) -> Callable[..., Warehouse]:
    """Loads a day whose response has a given body."""

    def load(body: bytes, **options: Any) -> Warehouse:
        server = raw_server(once(body))
        warehouse.run(source_of(server, ALL, end=END, **options))
        return warehouse

    return load


def test_a_bad_event_is_kept_as_text_and_its_window_completes(
    loaded: Callable[..., Warehouse], caplog: pytest.LogCaptureFixture
) -> None:
    bad = event(2, NOON)
    del bad["id"]
    body = json.dumps([event(1, NOON), bad, event(3, NOON)]).encode()

    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse = loaded(body, bad_events="keep")

    assert warehouse.ids() == ["event-00001", "event-00003"]
    (row,) = warehouse.rows("rejected_events")
    assert json.loads(row["content"]) == bad
    assert (row["resource"], row["scope_id"], row["reason"]) == (ALL, "", "no usable 'id'")
    (window,) = warehouse.windows(ALL)
    assert (row["window_start"], row["window_end"]) == (window.start, window.end)
    assert "1 events could not be taken; they are in rejected_events" in caplog.text


def test_a_bad_event_is_refused_unless_asked_for(loaded: Callable[..., Warehouse]) -> None:
    body = json.dumps([event(1, NOON), {"timestamp": NOON}]).encode()

    with pytest.raises(Exception, match="event 2 of the response has no usable 'id'"):
        loaded(body)


def test_an_unknown_way_with_bad_events_is_refused(
    raw_server: Callable[..., RawServer], source_of: TServe
) -> None:
    with pytest.raises(SettingError, match="bad_events='drop' must be one of refuse, keep"):
        source_of(raw_server(), ALL, bad_events="drop")


def test_timestamps_in_seconds_are_never_an_empty_window(
    loaded: Callable[..., Warehouse],
) -> None:
    body = json.dumps([event(number, NOON // 1000) for number in range(3)]).encode()

    with pytest.raises(Exception, match="none of the 3 events lies inside the window"):
        loaded(body)


def test_an_event_of_another_day_is_loaded_with_those_of_the_window(
    loaded: Callable[..., Warehouse], caplog: pytest.LogCaptureFixture
) -> None:
    stray = event(2, at("2030-01-01"))

    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse = loaded(json.dumps([event(1, NOON), stray]).encode())

    assert warehouse.ids() == ["event-00001", "event-00002"]
    assert [row["event_count"] for row in warehouse.rows("load_windows")] == [1]
    assert "1 events lie outside the window; they are loaded all the same" in caplog.text


def test_an_event_at_the_end_of_its_window_by_a_fraction_is_loaded_and_counted(
    warehouse: Warehouse, serve: TServe, source_of: TServe
) -> None:
    edge = at("2024-03-02") - 1
    raw = json.dumps(event(1, edge)).replace(f'"timestamp": {edge}', f'"timestamp": {edge}.7')
    sandbox = serve([EventRow(raw, event_id="event-00001", timestamp=edge, type="activation")])

    warehouse.run(source_of(sandbox, ALL, end=END))

    assert warehouse.ids() == ["event-00001"]
    assert sum(row["event_count"] for row in warehouse.rows("load_windows")) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"x\\u0000y", b"x\\ud800y"),
        (b"x\\ud800y", b"x\\ud801y"),
        (b"zo\xe9@a.fr", b"zo\xe8@a.fr"),
        (b"x\\u0000y", "x\ufffdy".encode()),
    ],
    ids=["NUL and surrogate", "two surrogates", "two bytes", "NUL and U+FFFD"],
)
def test_two_ids_never_become_one(
    loaded: Callable[..., Warehouse], caplog: pytest.LogCaptureFixture, one: bytes, other: bytes
) -> None:
    text = json.dumps(event(1, NOON))
    events = [text.replace("event-00001", name) for name in ("ONE", "OTHER")]
    body = f"[{','.join(events)}]".encode().replace(b"ONE", one).replace(b"OTHER", other)

    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse = loaded(body)

    assert len(set(warehouse.ids())) == 2
    assert "characters are no Unicode text" in caplog.text


def test_what_is_no_number_never_reaches_a_json_column(loaded: Callable[..., Warehouse]) -> None:
    odd = event(1, NOON, score="@")

    warehouse = loaded(json.dumps([odd]).replace('"@"', "NaN").encode())

    (row,) = warehouse.rows("events")
    assert json.loads(row["unmapped"]) == {"score": "NaN"}


def test_hits_of_a_robot_class_are_marked(
    warehouse: Warehouse, raw_server: Callable[..., RawServer], source_of: TServe
) -> None:
    hit = event(1, NOON, type="hit")
    server = raw_server(once(json.dumps([hit]).encode()))
    resource = "target_events_hits_open"

    warehouse.run(source_of(server, resource, target_ids=["T1"], end=END, classification="mpp"))

    assert [(row["event_id"], row["robot_class"]) for row in warehouse.rows("events__robots")] == [
        ("event-00001", "mpp")
    ]
    assert "classification=mpp" in server.requests[0]


@pytest.mark.parametrize("table", ["events__robots", "rejected_events"])
def test_the_tables_are_there_also_when_empty(loaded: Callable[..., Warehouse], table: str) -> None:
    assert loaded(b"[]").query(f"SELECT count(*) FROM np6.{table}") == [(0,)]
