"""Robots' hits: a request for each class, progress of its own for each, marks that are sure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.ledger import coverage, missing
from np6_source.sandbox import Sandbox
from np6_source.sandbox.variants import Variants
from np6_source.windows import Window, gaps
from tests.support import Warehouse, at
from tests.views.accounts import robots_of, small

HITS = "target_events_hits_open"
START, MIDDLE, END = at("2025-01-06"), at("2025-01-27"), at("2025-03-10")
ACCOUNT = small(events=800)
ROBOTS = robots_of(ACCOUNT)
CONTACT_OF = {
    event["id"]: event["source"]["detail"]["activation"]["receiver"].get("id")
    for event in ACCOUNT.events()
    if event["type"] == "hit" and event["source"]["detail"]["link"]["type"] == "open"
}
CLASSES = ("mpp", "gsr", "genericrobot")
CONTACTS = sorted(
    min(CONTACT_OF[event] for event in ROBOTS if ROBOTS[event] == name and CONTACT_OF.get(event))
    for name in CLASSES
)
OPENS = {event for event, contact in CONTACT_OF.items() if contact in CONTACTS}
OF_CLASS = {
    name: {event for event in OPENS if ROBOTS.get(event) == name} for name in ("", *CLASSES)
}
OF_CLASS[""] = OPENS - set(ROBOTS)
TMake = Callable[..., Any]


@pytest.fixture
def load(warehouse: Warehouse, source_of: TMake) -> TMake:
    def run(sandbox: Sandbox, classification: str | None, **options: Any) -> Any:
        arguments = {"start": START, "target_ids": CONTACTS, "window": 100 * 86_400} | options
        source = source_of(sandbox, HITS, classification=classification, **arguments)
        warehouse.run(source)
        return source.resources[HITS].custom_metrics

    return run


def marks(warehouse: Warehouse) -> dict[str, str]:
    return {row["event_id"]: row["robot_class"] for row in warehouse.rows("events__robots")}


def of_classes(*names: str) -> dict[str, str]:
    return {event: name for name in names for event in OF_CLASS[name]}


def test_each_class_is_a_request_of_its_own_with_a_row_in_the_ledger(
    warehouse: Warehouse, serve: TMake, load: TMake
) -> None:
    load(serve(ACCOUNT), "mpp, gsr", end=END)

    assert OF_CLASS["mpp"]
    assert OF_CLASS["gsr"]
    assert marks(warehouse) == of_classes("mpp", "gsr")
    assert set(warehouse.ids()) == OF_CLASS["mpp"] | OF_CLASS["gsr"]
    spans: dict[str, list[Window]] = {}
    for row in warehouse.rows("load_windows"):
        window = Window(row["window_start"], row["window_end"])
        spans.setdefault(row["classification"], []).append(window)
    assert sorted(spans) == ["gsr", "mpp"]
    assert sorted(spans["gsr"], key=str) == sorted(spans["mpp"], key=str)


def test_a_class_asked_for_later_gets_its_history_beside_the_hits_of_people(
    warehouse: Warehouse, serve: TMake, load: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox = serve(ACCOUNT, now=MIDDLE)
    load(sandbox, None)
    assert marks(warehouse) == {}

    sandbox.now = END
    load(sandbox, "mpp")
    load(sandbox, "mpp")

    assert marks(warehouse) == of_classes("mpp")
    assert set(warehouse.ids()) == OF_CLASS[""] | OF_CLASS["mpp"]
    assert "not marked" not in caplog.text
    covered = coverage(warehouse.pipeline)
    keys = {(HITS, f"{contact}{mark}") for contact in CONTACTS for mark in ("", " robots=mpp")}
    assert set(covered) == keys
    assert not any(gaps(Window(START, MIDDLE), windows) for windows in covered.values())


def test_where_one_class_fails_the_window_is_complete_for_none(
    warehouse: Warehouse, serve: TMake, load: TMake
) -> None:
    sandbox = serve(ACCOUNT)
    options = {"end": END, "on_error": "keep", "target_ids": CONTACTS[:1]}
    metrics = load(sandbox, "mpp,nosuch", **options)

    assert [" robots=nosuch" in failure["message"] for failure in metrics["failures"]] == [True]
    assert marks(warehouse) == {}
    assert warehouse.rows("load_windows") == []

    load(sandbox, "mpp,gsr", **options)
    assert set(marks(warehouse).values()) <= {"mpp", "gsr"}
    assert len(warehouse.rows("load_windows")) == 2


def test_hits_that_come_with_and_without_a_class_are_not_marked(
    warehouse: Warehouse, serve: TMake, load: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox = serve(ACCOUNT, variants=Variants(classified="all", default_robots="left_out"))
    with caplog.at_level(logging.WARNING, "np6_source"):
        metrics = load(sandbox, ",mpp", end=END)

    assert set(warehouse.ids()) == OPENS
    assert set(marks(warehouse)) == OPENS - OF_CLASS[""]
    assert metrics["unsure_robots"] == len(OF_CLASS[""])
    assert caplog.text.count("those are not marked as robots'") == 1


def test_gaps_name_the_class_that_is_missing(
    warehouse: Warehouse, serve: TMake, load: TMake
) -> None:
    sandbox = serve(ACCOUNT)
    load(sandbox, "mpp", end=END)
    load(sandbox, "gsr", end=MIDDLE)

    found = missing(Window(START, END), coverage(warehouse.pipeline))

    assert {gap.scope_id for gap in found} == {f"{contact} robots=gsr" for contact in CONTACTS}
    assert {gap.window for gap in found} == {Window(MIDDLE, END)}
