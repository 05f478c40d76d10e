"""An event whose timestamp NP6 changes, where the settings say that it never does."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tests.support import Warehouse, at, event

ALL = "actions_events"


def body(number: int, moment: str) -> Any:
    made = event(number, at(moment), type="hit")
    made["source"]["detail"]["link"] = {"type": "open"}
    return made


def loaded(warehouse: Warehouse, serve: Any, source_of: Any, *events: Any, now: str) -> Any:
    sandbox = serve(list(events), now=at(now))
    options = {"timestamps_are_final": True, "on_error": "keep", "same_account": True}
    span = {"start": at("03-01"), "end": at("03-04")}
    warehouse.load(lambda **more: source_of(sandbox, ALL, **options, **span, **more))
    return sandbox


def test_it_is_found_by_the_load_and_its_earlier_version_is_removed(
    warehouse: Warehouse,
    serve: Any,
    source_of: Any,
    command_line: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def run(*options: str) -> tuple[int, Any]:
        finished = command_line.run(
            *("-m np6_source", "duplicates", *command_line.where(warehouse), "--json", *options)
        )
        return finished.returncode, json.loads(finished.stdout)["result"]

    others = [body(2, "03-01T12:00"), body(3, "03-03T12:00")]
    with caplog.at_level(logging.WARNING, "np6_source"):
        loaded(warehouse, serve, source_of, body(1, "03-01T13:00"), *others, now="03-05")
        assert "twice" not in caplog.text
        loaded(warehouse, serve, source_of, body(1, "03-03T13:00"), now="03-06")
    assert "timestamps_are_final=True does not hold" in caplog.text
    assert "np6-source duplicates --yes" in caplog.text
    assert warehouse.ids() == ["event-00001", "event-00001", "event-00002", "event-00003"]

    assert run() == (3, {"events": 1, "removed": {}})
    assert len(warehouse.ids()) == 4
    assert run("--yes") == (0, {"events": 1, "removed": {"events__hits": 1, "events": 1}})
    assert run() == (0, {"events": 0, "removed": {}})
    assert warehouse.ids() == ["event-00001", "event-00002", "event-00003"]
    hits = {row["event_id"]: row["timestamp"] for row in warehouse.rows("events__hits")}
    assert hits["event-00001"] == at("03-03T13:00")
    assert len(hits) == 3
