"""A robot's hit is one whatever came first: the hit itself, or the request for robots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from np6_source import np6_source, views
from np6_source.sandbox import Sandbox
from np6_source.sandbox.query import ROBOT_CLASSES
from tests.support import Warehouse
from tests.views.accounts import END, START, robots_of, small
from tests.views.reading import reading, rows

HITS = "target_events_hits_open"
TMake = Callable[..., Any]
ORDERS = {
    "hits first": ("hits", "robots"),
    "robots first": ("robots", "hits"),
    "again and again": ("robots", "hits", "robots", "hits"),
}
ACCOUNT = small(events=800)
ROBOTS = robots_of(ACCOUNT)
OPENS = {
    event["id"]: event["source"]["detail"]["activation"]["receiver"].get("id")
    for event in ACCOUNT.events()
    if event["type"] == "hit" and event["source"]["detail"]["link"]["type"] == "open"
}
CONTACTS = sorted({OPENS[event] for event in ROBOTS if OPENS.get(event)})[:6]
OF_REQUESTS = ("requested_at", "days_since_open", "days_since_click")


def loaded(sandbox: Sandbox, folder: Path, order: tuple[str, ...]) -> dict[str, Any]:
    """The marks, and the figures of the views, after loads in an order."""
    pipeline = Warehouse(folder).pipeline
    shared = {"base_url": sandbox.url, "start": START, "end": END, "window": 100 * 86_400}
    for what in order:
        if what == "hits":
            pipeline.run(np6_source(sandbox.key, **shared).with_resources("actions_events"))
            continue
        for robot in ROBOT_CLASSES:
            source = np6_source(sandbox.key, classification=robot, target_ids=CONTACTS, **shared)
            pipeline.run(source.with_resources(HITS))
    views.make(pipeline)
    with reading(pipeline) as client:
        marks = {r["event_id"]: r["robot_class"] for r in rows(client, "events__robots")}
        figures = {
            view.name: sorted(
                repr({k: v for k, v in row.items() if k not in OF_REQUESTS})
                for row in rows(client, view.name)
            )
            for view in views.views()
            if view.name != "freshness"
        }
    return {"marks": marks, "figures": figures}


@pytest.fixture(scope="module")
def in_every_order(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    with Sandbox(ACCOUNT) as sandbox:
        return {
            name: loaded(sandbox, tmp_path_factory.mktemp("order"), order)
            for name, order in ORDERS.items()
        }


def test_marks_are_those_of_the_account(in_every_order: dict[str, dict[str, Any]]) -> None:
    expected = {event: robot for event, robot in ROBOTS.items() if OPENS.get(event) in CONTACTS}

    assert len(set(expected.values())) > 1
    for name, found in in_every_order.items():
        assert found["marks"] == expected, name


def test_figures_are_the_same_in_every_order(in_every_order: dict[str, dict[str, Any]]) -> None:
    first, *others = in_every_order.values()
    for other in others:
        assert other["figures"] == first["figures"]
    marked = [row for row in first["figures"]["messages"] if "'count_robot_hits': 0" not in row]
    assert len(marked) > 1
