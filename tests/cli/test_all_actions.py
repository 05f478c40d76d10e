"""``np6-source load --action-ids all``: the names and events of a large account in one call."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from np6_source.sandbox import account_from_events
from np6_source.windows import DAY
from tests.support import at, event

ACTIONS = [f"{n:06d}" for n in range(500)]


@pytest.mark.timeout(180)
def test_five_hundred_actions_names_and_events_in_one_call(
    command_line: Any, warehouse: Any, serve: Any
) -> None:
    account = account_from_events(
        event(n, at("03-01") + n, action=name) for n, name in enumerate(ACTIONS)
    )
    account.describe("actions", [{"id": name, "name": f"Action {name}"} for name in ACTIONS])
    sandbox = serve(account, now=at("03-02") + DAY)

    ended = command_line.run(
        *("-m np6_source", "load", *command_line.where(warehouse), "--progress", "none"),
        *("--base-url", sandbox.url, "--start", "2024-03-01", "--end", "2024-03-02"),
        *("--action-ids", "all", "--dimensions", "actions"),
        *("--resources", "action_events_activations"),
        SOURCES__NP6__API_KEY=sandbox.key,
    )

    assert ended.returncode == 0, ended.stderr
    assert "500 actions" in ended.stderr  # What it means is said before it is sent.
    names = warehouse.query(
        "SELECT a.name, count(*) FROM np6.events e JOIN np6.actions a ON a.id = e.action_id"
        " GROUP BY ALL ORDER BY 1"
    )
    assert names == [(f"Action {name}", 1) for name in ACTIONS]
    asked = Counter(request.path for request in sandbox.requests)
    assert asked.pop("/actions") == 1
    assert set(asked) == {f"/actions/{name}/events/activations" for name in ACTIONS}
