"""What NP6 returns beside what the tables have, event by event."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from np6_source import SettingError
from np6_source.errors import BadAnswer, RequestFailed
from np6_source.reconcile import Reconciliation, reconcile
from np6_source.sandbox import Fault, generated_account
from np6_source.windows import DAY, Window, iso
from tests.support import RawServer, Warehouse, at, event, http_answer

TMake = Callable[..., Any]
BOTH = ("actions_events", "actions_reactivities")
SPAN = Window(at("03-01"), at("03-05"))


@pytest.fixture(scope="module")
def account() -> Any:
    """Four days with sends and reactions."""
    return generated_account(600, seed=3, start="2024-03-01", end="2024-03-05")


@pytest.fixture
def compared(
    warehouse: Warehouse, serve: TMake, source_of: TMake, account: Any
) -> Callable[..., Reconciliation]:
    """Loads the account, lets something happen to the tables, and compares."""
    api = serve(account, now=at("03-07"))
    warehouse.run(source_of(api, *BOTH))

    def compare(*statements: str, **options: Any) -> Reconciliation:
        warehouse.execute(*statements)
        warehouse.api = api  # type: ignore[attr-defined]
        return reconcile(warehouse.pipeline, source_of(api, *BOTH), SPAN, **options)

    return compare


def kinds(found: Reconciliation) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in found.differences:
        counts[one.kind] = counts.get(one.kind, 0) + one.count
    return counts


def test_nothing_differs_where_all_is_loaded(compared: TMake, warehouse: Warehouse) -> None:
    before = warehouse.contents(), warehouse.state(), warehouse.rows("load_windows")
    found = compared()
    assert found.differences == ()
    assert found.missing_days == ()
    in_span = [r for r in warehouse.rows("events") if SPAN.start <= r["timestamp"] < SPAN.end]
    assert found.equal_events == len(in_span) > 400
    assert 0 < found.equal_reactivities < found.equal_events
    assert found.equal_cells > 5
    assert (warehouse.contents(), warehouse.state(), warehouse.rows("load_windows")) == before


def test_what_the_tables_lack_is_missing_by_day_action_and_type(
    compared: TMake, warehouse: Warehouse
) -> None:
    (gone,) = warehouse.query(
        "SELECT id, timestamp::DATE, action_id, type FROM np6.events WHERE type = 'hit' LIMIT 1"
    )
    found = compared(f"DELETE FROM np6.events WHERE id = '{gone[0]}'")
    (one,) = found.differences
    assert (one.kind, one.ids, one.day) == ("missing", (gone[0],), gone[1].isoformat())
    assert (one.action_id, one.type) == (gone[2] or "", "hit")
    assert one.events == one.destination + 1 == one.reactivities
    assert [day.start // DAY for day in found.missing_days] == [at(one.day) // DAY]
    # Only the day in which something differs is read twice.
    assert found.requests < 2 * 2 * 5


def test_what_the_tables_have_otherwise_differs(compared: TMake) -> None:
    found = compared(
        "UPDATE np6.events SET action_id = 'ZZZZZZ' WHERE id ="
        " (SELECT min_by(id, timestamp) FROM np6.events WHERE type = 'hit')",
        "UPDATE np6.events SET timestamp = timestamp - INTERVAL 1 DAY WHERE id ="
        " (SELECT max_by(id, timestamp) FROM np6.events WHERE type = 'hit')",
    )
    assert kinds(found) == {"differs": 2}
    assert {one.day for one in found.differences} == {iso(d.start)[:10] for d in found.missing_days}
    assert len(found.missing_days) == 2


def test_what_np6_does_not_return_any_more_is_gone(compared: TMake) -> None:
    found = compared(
        "INSERT INTO np6.events SELECT * REPLACE ('x-' || id AS id) FROM np6.events"
        " WHERE type = 'bounce' LIMIT 2"
    )
    assert kinds(found) == {"gone": 2}
    assert found.missing_days == ()


def test_hits_of_robots_and_other_channels_are_no_difference(compared: TMake) -> None:
    found = compared(
        "INSERT INTO np6.events SELECT * REPLACE ('r-' || id AS id) FROM np6.events"
        " WHERE type = 'hit' LIMIT 3",
        "INSERT INTO np6.events__robots BY NAME SELECT id AS event_id, 'mpp' AS robot_class,"
        " timestamp, requested_at FROM np6.events WHERE id LIKE 'r-%'",
        "INSERT INTO np6.events SELECT * REPLACE ('n-' || id AS id, 'notification' AS channel)"
        " FROM np6.events WHERE id NOT LIKE 'r-%' LIMIT 3",
    )
    assert found.differences == ()
    assert found.of_robots == 3


def test_a_reaction_that_one_operation_leaves_out_is_named(
    compared: TMake, warehouse: Warehouse
) -> None:
    compared()
    with warehouse.api.faults.during(  # type: ignore[attr-defined]
        Fault("raw", b"[]", path="/actions/reactivities")
    ):
        found = compared()
    assert set(kinds(found)) == {"only_events"}
    assert {one.type for one in found.differences}.isdisjoint({"execution", "activation"})
    assert all(one.reactivities == 0 for one in found.differences)
    assert found.missing_days == ()


def test_a_response_that_lacked_something_once_is_no_difference(
    compared: TMake, warehouse: Warehouse
) -> None:
    compared()
    with warehouse.api.faults.during(  # type: ignore[attr-defined]
        Fault("raw", b"[]", times=1, path="/actions/reactivities")
    ):
        assert compared().differences == ()


def test_what_cannot_be_read_is_no_result(compared: TMake, warehouse: Warehouse) -> None:
    compared()
    with (
        warehouse.api.faults.during(Fault("status", 403, path="/actions/reactivities")),  # type: ignore[attr-defined]
    ):
        with pytest.raises(RequestFailed):
            compared()
        assert compared(with_reactivities=False).differences == ()


def test_another_accounts_key_is_refused(
    compared: TMake, warehouse: Warehouse, source_of: TMake
) -> None:
    compared()
    other = source_of(
        warehouse.api,  # type: ignore[attr-defined]
        *BOTH,
        base_url="http://127.0.0.1:9/",
        same_account=False,
    )
    with pytest.raises(SettingError, match="Nothing was loaded"):
        reconcile(warehouse.pipeline, other, SPAN)


def test_an_event_without_action_has_a_cell_of_its_own(
    warehouse: Warehouse, serve: TMake, source_of: TMake
) -> None:
    odd = event(1, at("03-02"), type="dismiss", source={"type": "email"})
    api = serve([odd, event(2, at("03-02"))], now=at("03-07"))
    warehouse.run(source_of(api, "actions_events"))
    found = reconcile(
        warehouse.pipeline, source_of(api, "actions_events"), SPAN, with_reactivities=False
    )
    assert found.differences == ()
    assert found.equal_cells == 2


def test_responses_at_a_known_limit_are_read_in_halves(
    compared: TMake, warehouse: Warehouse, source_of: TMake
) -> None:
    """As it stands in the settings: no window of a second has as many."""
    whole = compared()
    ((rows,),) = warehouse.query(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM np6.events"
        " WHERE timestamp < '2024-03-05' GROUP BY timestamp::DATE)"
    )
    source = source_of(warehouse.api, *BOTH, row_limit=rows)  # type: ignore[attr-defined]
    found = reconcile(warehouse.pipeline, source, SPAN)
    assert found.differences == ()
    assert found.requests > whole.requests


def test_an_event_that_cannot_be_taken_is_no_difference_where_such_are_kept(
    warehouse: Warehouse, raw_server: Callable[..., RawServer], source_of: TMake
) -> None:
    """It has no day, action or type to be counted by."""
    bad = {**event(2, at("03-02")), "timestamp": "yesterday"}
    body = json.dumps([event(1, at("03-02")), bad]).encode()
    api = raw_server(lambda _request: http_answer(body))
    day = Window(at("03-02"), at("03-03"))

    def source(**options: Any) -> Any:
        return source_of(api, "actions_events", start=iso(day.start), end=iso(day.end), **options)

    warehouse.run(source(bad_events="keep"))
    found = reconcile(warehouse.pipeline, source(bad_events="keep"), day, with_reactivities=False)
    assert found.differences == ()
    assert found.equal_events == 1
    with pytest.raises(BadAnswer, match="no usable 'timestamp'"):
        reconcile(warehouse.pipeline, source(), day, with_reactivities=False)
