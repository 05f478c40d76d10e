"""Ids from names: all actions, the active ones, those of a category."""

from __future__ import annotations

import logging
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import SettingError, np6_source
from np6_source.extract.chosen_actions import ChosenActions, can_be_requested
from np6_source.parts import plan_parts
from np6_source.sandbox import Account, Fault, Sandbox, account_from_events
from tests.support import Warehouse, at, event

NOW = datetime(2025, 6, 1, tzinfo=timezone.utc)
ACTIVATIONS = "action_events_activations"


class TestParsed:
    @pytest.mark.parametrize(
        ("values", "text"),
        [
            ("all", "all"),
            (["all"], "all"),
            ("active", "active"),
            ("category:7", "category:7"),
            (["category:12", " category:7"], "category:7,category:12"),
            ("active,category:7", "active,category:7"),
        ],
    )
    def test_words_are_read_in_one_order(self, values: Any, text: str) -> None:
        assert str(ChosenActions.parse(values)) == text

    @pytest.mark.parametrize("values", [None, [], "", "000PE4", ["000PE4", "ALL"], [17], 17])
    def test_ids_are_no_words(self, values: Any) -> None:
        assert ChosenActions.parse(values) is None

    @pytest.mark.parametrize("values", [["all", "000PE4"], ["category:1", 7]])
    def test_words_and_ids_are_not_mixed(self, values: Any) -> None:
        with pytest.raises(SettingError, match="cannot be mixed with ids"):
            ChosenActions.parse(values)

    @pytest.mark.parametrize("values", ["category:", "category:news"])
    def test_a_category_is_a_number(self, values: Any) -> None:
        with pytest.raises(SettingError, match="no category like category:456"):
            ChosenActions.parse(values)


class TestActive:
    def row(self, **values: Any) -> dict[str, Any]:
        names = ("category_id", "state", "created_at", "starts_at", "last_sent_at")
        return {"id": "A", **dict.fromkeys(names), **values}

    def is_active(self, **values: Any) -> bool:
        return ChosenActions(is_active=True).choose([self.row(**values)], NOW) == ("A",)

    @pytest.mark.parametrize("action_id", ["", " ", ".", ".."])
    def test_an_id_that_leads_to_another_operation_is_not_requested(self, action_id: str) -> None:
        assert not can_be_requested(action_id)
        assert can_be_requested("000AA1")

    @pytest.mark.parametrize("name", ["created_at", "starts_at", "last_sent_at"])
    def test_for_180_days_after_something_was_done(self, name: str) -> None:
        assert self.is_active(**{name: NOW - timedelta(days=180)})
        assert not self.is_active(**{name: NOW - timedelta(days=180, seconds=1)})

    def test_the_latest_counts(self) -> None:
        old = NOW - timedelta(days=900)
        assert self.is_active(created_at=old, starts_at=old, last_sent_at=NOW)

    @pytest.mark.parametrize(("state", "is_active"), [(50, True), (90, False), (100, False)])
    def test_not_once_deleted_or_archived(self, state: int, is_active: bool) -> None:
        assert self.is_active(state=state, last_sent_at=NOW) == is_active


def action(name: str, category: int = 1, state: int = 50) -> dict[str, Any]:
    sent = datetime.now(timezone.utc) - timedelta(days=1)
    return {
        "id": name,
        "name": f"Action {name}",
        "informations": {"category": category, "state": state},
        "monitor": {"lastSent": {"at": f"{sent:%Y-%m-%dT%H:%M:%SZ}"}},
    }


@pytest.fixture
def account() -> Account:
    """Three actions with two events each."""
    account = account_from_events(
        event(n, at("03-01") + n * 1000, action=name)
        for n, name in enumerate(["000AA1", "000AA2", "000AA3"] * 2)
    )
    account.describe(
        "actions", [action("000AA1"), action("000AA2", 2), action("000AA3", 2, state=100)]
    )
    return account


@pytest.fixture
def sandbox(account: Account, serve: Any) -> Sandbox:
    started: Sandbox = serve(account)
    return started


def asked(sandbox: Sandbox) -> Counter[str]:
    return Counter(request.path for request in sandbox.requests)


class TestLoaded:
    def loaded(self, warehouse: Warehouse) -> list[str]:
        return sorted({row["action_id"] for row in warehouse.rows("events")})

    @pytest.mark.parametrize(
        ("chosen", "ids"),
        [
            ("all", ["000AA1", "000AA2", "000AA3"]),
            ("active", ["000AA1", "000AA2"]),
            ("category:2", ["000AA2", "000AA3"]),
        ],
    )
    def test_what_is_chosen(
        self, chosen: str, ids: list[str], warehouse: Warehouse, sandbox: Sandbox, source_of: Any
    ) -> None:
        warehouse.run(source_of(sandbox, ACTIVATIONS, action_ids=chosen))
        assert self.loaded(warehouse) == ids
        assert asked(sandbox)["/actions"] == 1

    def test_all_resources_and_the_names_share_one_request(
        self,
        warehouse: Warehouse,
        sandbox: Sandbox,
        source_of: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, "np6_source")
        source = source_of(sandbox, action_ids="all", dimensions=["actions", "action"])
        assert asked(sandbox)["/actions"] == 0
        warehouse.run(source)
        assert asked(sandbox)["/actions"] == 1
        assert asked(sandbox)["/actions/000AA2"] == 1
        assert [row["name"] for row in warehouse.rows("actions")] == [
            "Action 000AA1",
            "Action 000AA2",
            "Action 000AA3",
        ]
        assert len(warehouse.rows("action")) == 3
        operations = sum(
            name.startswith("action_") or name == "action" for name in source.selected_resources
        )
        text = f"3 of 3 actions x {operations} operations = at least {3 * operations} requests"
        assert caplog.text.count(text) == 1
        warehouse.run(source)
        assert asked(sandbox)["/actions"] == 2

    def test_a_new_action_gets_its_history_and_one_that_left_is_asked_no_more(
        self,
        warehouse: Warehouse,
        account: Account,
        sandbox: Sandbox,
        source_of: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        account.describe("actions", [action("000AA1"), action("000AA2")])
        warehouse.run(source_of(sandbox, ACTIVATIONS, "action_events_bounces", action_ids="all"))
        places = warehouse.places(ACTIVATIONS)["places"]
        account.describe("actions", [action("000AA2"), action("000AA3")])
        sandbox.requests.clear()
        warehouse.run(source_of(sandbox, ACTIVATIONS, "action_events_bounces", action_ids="all"))
        assert self.loaded(warehouse) == ["000AA1", "000AA2", "000AA3"]
        assert asked(sandbox)["/actions/000AA1/events/activations"] == 0
        (first,) = [
            request
            for request in sandbox.requests
            if request.path == "/actions/000AA3/events/activations"
            and request.query["start"] == "2024-03-01T00:00:00Z"
        ]
        assert first.event_count == 2
        assert warehouse.places(ACTIVATIONS)["places"]["000AA1"] == places["000AA1"]
        assert caplog.text.count("no longer chooses these actions: 000AA1.") == 1

    def test_where_the_list_fails_what_was_loaded_before_goes_on(
        self, warehouse: Warehouse, sandbox: Sandbox, source_of: Any
    ) -> None:
        def make_source() -> Any:
            return source_of(
                sandbox, ACTIVATIONS, "actions", action_ids="all", on_error="keep", attempts=1
            )

        assert warehouse.load(make_source).failures == []
        sandbox.requests.clear()
        with sandbox.faults.during(Fault("status", 503, path="/actions")):
            report = warehouse.load(make_source)
            assert {failure["kind"] for failure in report.failures} == {"WindowTooLarge"}
            for name in ("000AA1", "000AA2", "000AA3"):
                assert asked(sandbox)[f"/actions/{name}/events/activations"] >= 1
            with pytest.raises(PipelineStepFailed):
                warehouse.run(source_of(sandbox, ACTIVATIONS, action_ids="all", attempts=1))
        assert len(warehouse.rows("actions")) == 3

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ({"name": "No id"}, "an element has no id that can be used"),
            ({"id": {"value": 7}, "name": "An object for an id"}, "an element has no id"),
            ("000AA9", "an element is not an object"),
            ({"id": "..", "name": "Another url"}, "the id '..' cannot be requested"),
        ],
    )
    def test_an_entry_that_names_no_action_is_its_own_trouble(
        self,
        entry: Any,
        problem: str,
        warehouse: Warehouse,
        account: Account,
        sandbox: Sandbox,
        source_of: Any,
    ) -> None:
        def make_source() -> Any:
            names = (ACTIVATIONS, "action_events_bounces")
            return source_of(sandbox, *names, action_ids="all", on_error="keep")

        account.descriptions["actions"] = [action("000AA1"), entry, action("000AA2")]

        report = warehouse.load(make_source)

        assert self.loaded(warehouse) == ["000AA1", "000AA2"]
        (message,) = {failure["message"] for failure in report.failures}
        assert "action_ids='all': 1 of 3 entries of the list of actions cannot be used" in message
        assert problem in message
        assert not any("/../" in request.path for request in sandbox.requests)

    def test_an_action_whose_entry_may_have_lost_its_id_goes_on(
        self,
        warehouse: Warehouse,
        account: Account,
        sandbox: Sandbox,
        source_of: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def make_source() -> Any:
            names = (ACTIVATIONS, "actions")
            return source_of(sandbox, *names, action_ids="all", on_error="keep")

        assert warehouse.load(make_source).failures == []
        nameless = {"name": "Action 000AA3"}
        account.descriptions["actions"] = [action("000AA1"), action("000AA2"), nameless]
        sandbox.requests.clear()

        report = warehouse.load(make_source)

        assert len(report.failures) == 2  # Of the ids, and of the table of names.
        for name in ("000AA1", "000AA2", "000AA3"):
            assert asked(sandbox)[f"/actions/{name}/events/activations"] >= 1
        assert "no longer chooses" not in caplog.text
        assert len(warehouse.rows("actions")) == 3

    def test_where_there_is_no_list_it_is_a_failure(
        self, warehouse: Warehouse, sandbox: Sandbox, source_of: Any
    ) -> None:
        with sandbox.faults.during(Fault("status", 410, path="/actions")):
            report = warehouse.load(
                lambda: source_of(sandbox, ACTIVATIONS, action_ids="all", on_error="keep")
            )
        assert len(report.failures) == 1
        assert "[actions, status 410" in report.failures[0]["message"]

    def test_none_chosen_loads_nothing_and_says_so(
        self,
        warehouse: Warehouse,
        sandbox: Sandbox,
        source_of: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        source = source_of(sandbox, ACTIVATIONS, "action", action_ids="category:99")
        warehouse.run(source)
        assert set(asked(sandbox)) == {"/actions"}
        assert "none of the account's 3 actions is chosen" in caplog.text

    def test_five_hundred_actions_in_one_call(
        self, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        names = [f"{n:06d}" for n in range(500)]
        account = account_from_events(
            event(n, at("03-01") + n, action=name) for n, name in enumerate(names)
        )
        account.describe("actions", [action(name) for name in names])
        sandbox = serve(account, now=at("03-02"))
        source = source_of(sandbox, ACTIVATIONS, "actions", action_ids="all", clock_tolerance=10**9)
        warehouse.run(source)
        assert self.loaded(warehouse) == names
        assert warehouse.query("SELECT count(*) FROM np6.actions") == [(500,)]
        assert asked(sandbox)["/actions"] == 1


class TestUnknownForLong:
    def test_an_id_at_404_three_runs_on_end_is_asked_once_a_day(
        self,
        warehouse: Warehouse,
        sandbox: Sandbox,
        source_of: Any,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def failures_and_requests() -> tuple[int, bool]:
            sandbox.requests.clear()
            report = warehouse.load(
                lambda: source_of(
                    sandbox, ACTIVATIONS, action_ids=["000AA1", "gone"], on_error="keep"
                )
            )
            return len(report.failures), "/actions/gone/events/activations" in asked(sandbox)

        runs = [failures_and_requests() for _ in range(5)]
        # What is not asked for is not loaded: the status stays 1.
        assert runs == [(1, True), (1, True), (1, True), (1, False), (1, False)]
        text = "NP6 did not know this id in 3 runs in a row; it is requested once a day"
        assert text in caplog.text
        later = time.time() + 86_400
        monkeypatch.setattr("time.time", lambda: later)
        assert failures_and_requests()[1]

    def test_an_answer_ends_it(
        self, warehouse: Warehouse, account: Account, sandbox: Sandbox, source_of: Any
    ) -> None:
        def run() -> None:
            warehouse.load(
                lambda: source_of(
                    sandbox, ACTIVATIONS, action_ids=["000AA1", "late"], on_error="keep"
                )
            )

        for _ in range(2):
            run()
        account.add_ids("action_id", ["late"])
        run()
        assert warehouse.places(ACTIVATIONS)["unknown_ids"] == {}


def test_parts_want_the_ids_themselves() -> None:
    with pytest.raises(SettingError, match="action_ids='all' would be another list"):
        plan_parts("2024-03-01", "2024-03-02", ids={"action_ids": ["all"]})


def test_building_a_source_asks_for_nothing() -> None:
    source = np6_source("some-key", base_url="http://127.0.0.1:9/", action_ids="all")
    assert ACTIVATIONS in source.selected_resources
