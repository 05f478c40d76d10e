"""An answer in many pieces loads like one in one piece, and fails like it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.api import pieces
from np6_source.events import reader
from np6_source.extract import spool
from np6_source.sandbox import Fault

if TYPE_CHECKING:
    from tests.support import Warehouse

ALL = "actions_events"
TMake = Callable[..., Any]
TAt = Callable[[str], int]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dozens of pieces for a hundred events, in files before they are handed on."""
    monkeypatch.setattr(pieces, "SMALLEST", 1_500)
    monkeypatch.setattr(pieces, "LARGEST", 4_000)
    monkeypatch.setattr(spool, "IN_MEMORY", 10_000)


@pytest.fixture
def pieces_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were parsed."""
    names: list[str] = []
    check = reader.check_brackets
    monkeypatch.setattr(
        reader, "check_brackets", lambda file: names.append(file.name) or check(file)
    )
    return names


def day(event: TMake, at: TAt, **changes: Any) -> list[dict[str, Any]]:
    return [event(n, at("03-01T12:00") + n, **changes) for n in range(200)]


def loaded(warehouse: Warehouse, source_of: TMake, api: Any, **options: Any) -> list[str]:
    warehouse.run(source_of(api, ALL, start="2024-03-01", end="2024-03-02", **options))
    return warehouse.ids()


def test_every_event_of_every_piece_arrives_once(
    warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt, pieces_read: Any
) -> None:
    account = day(event, at)
    assert loaded(warehouse, source_of, serve(account)) == sorted(row["id"] for row in account)
    assert len(pieces_read) > 10
    (window,) = warehouse.rows("load_windows")
    assert window["event_count"] == 200


@pytest.mark.parametrize(
    ("free", "misleads"),
    [
        ({"list": [{"type": 1}, {"type": 2}] * 20}, True),
        ({"list": [{"id": 1}, {"id": 2}] * 20}, False),
        ({"text": '}, {"type": "hit"},{"id":"' * 20}, False),
    ],
)
def test_an_event_that_looks_like_several_is_read_as_one(
    warehouse: Warehouse,
    new_warehouse: TMake,
    serve: TMake,
    source_of: TMake,
    event: TMake,
    at: TAt,
    free: dict[str, Any],
    misleads: bool,
    pieces_read: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account = [{**row, "free": free} for row in day(event, at)]
    api = serve(account)
    assert len(loaded(warehouse, source_of, api)) == 200
    assert any("whole" in name for name in pieces_read) == misleads
    monkeypatch.setattr(pieces, "SMALLEST", 10_000_000)
    other = new_warehouse("in_one_piece")
    loaded(other, source_of, api)
    assert warehouse.contents() == other.contents()


def test_what_is_not_unicode_is_repaired_in_its_piece_or_in_the_whole(
    warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
) -> None:
    account = day(event, at)
    account[150]["source"]["detail"]["activation"]["recipient"] = "lone \ud800 surrogate"
    account[60]["source"]["detail"]["activation"]["recipient"] = "nul \0 character"
    assert len(loaded(warehouse, source_of, serve(account))) == 200
    changed = warehouse.query(
        "SELECT recipient FROM np6.events WHERE recipient LIKE '%\ufffd%' ORDER BY 1"
    )
    assert changed == [("lone \ufffd[U+D800] surrogate",), ("nul \ufffd[U+0000] character",)]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("cut_byte=9000", "breaks off"),
        ("cut_event=77", "breaks off"),
        ("cut_comma=77", "breaks off"),
        ("without_id=123", "event 124 of the response has no usable 'id'"),
        ("without_timestamp=5", "event 6 of the response has no usable 'timestamp'"),
    ],
)
def test_a_bad_response_loads_nothing_and_leaves_no_file(
    warehouse: Warehouse,
    serve: TMake,
    source_of: TMake,
    event: TMake,
    at: TAt,
    fault: str,
    message: str,
) -> None:
    api = serve(day(event, at))
    with api.faults.during(fault), pytest.raises(PipelineStepFailed, match=message):
        loaded(warehouse, source_of, api)
    assert list(warehouse.pipelines_dir.rglob("np6_spool/*")) == []
    assert len(loaded(warehouse, source_of, api)) == 200


def test_a_response_that_breaks_off_after_some_pieces_is_asked_for_again(
    warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
) -> None:
    account = day(event, at)
    api = serve(account)
    half = len(json.dumps(account)) // 2
    with api.faults.during(Fault("abort_body", half, times=1)):
        assert len(loaded(warehouse, source_of, api, backoff=0.01)) == 200
    (window,) = warehouse.rows("load_windows")
    assert window["event_count"] == 200
