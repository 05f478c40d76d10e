"""``np6-source reconcile``, as a process: what it says, and the status it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.sandbox import Fault, generated_account
from tests.support import CommandLine, Warehouse, at

TMake = Callable[..., Any]
SPAN = ("--start", "2024-03-01", "--end", "2024-03-04")
RESULT = {
    "start": str,
    "end": str,
    "differences": list,
    "equal": dict,
    "of_robots": int,
    "filled": (dict, type(None)),
}
DIFFERENCE = {
    "day": str,
    "action_id": str,
    "type": str,
    "events": int,
    "reactivities": int,
    "destination": int,
    "kind": str,
    "count": int,
}


def has_schema(value: Any, schema: Any) -> bool:
    return value.keys() == schema.keys() and all(
        isinstance(value[name], kind) for name, kind in schema.items()
    )


@pytest.fixture
def api(warehouse: Warehouse, serve: TMake, source_of: TMake) -> Any:
    """Three days of an account, loaded whole."""
    account = generated_account(300, seed=3, start="2024-03-01", end="2024-03-04")
    api = serve(account, now=at("03-06"))
    warehouse.run(source_of(api, "actions_events", "actions_reactivities"))
    return api


@pytest.fixture
def reconcile(command_line: CommandLine, warehouse: Warehouse, api: Any) -> Callable[..., Any]:
    return lambda *options: command_line.run(
        "-m np6_source",
        "reconcile",
        *command_line.where(warehouse),
        *("--base-url", api.url),
        *SPAN,
        *options,
        SOURCES__NP6__API_KEY=api.key,
    )


def test_what_is_missing_is_listed_filled_and_then_there(
    reconcile: TMake, warehouse: Warehouse, api: Any
) -> None:
    ids = warehouse.ids()
    equal = reconcile()
    assert equal.returncode == 0, equal.stderr
    assert "all (" in equal.stdout
    assert "equal" in equal.stdout
    warehouse.execute(
        "DELETE FROM np6.events WHERE id IN (SELECT id FROM np6.events WHERE type = 'hit' LIMIT 3)"
    )
    state = warehouse.state()
    listed = reconcile("--json")
    assert listed.returncode == 3, listed.stderr
    document = json.loads(listed.stdout)
    assert has_schema(document["result"], RESULT)
    assert all(has_schema(one, DIFFERENCE) for one in document["result"]["differences"])
    assert sum(one["count"] for one in document["result"]["differences"]) == 3
    assert {one["kind"] for one in document["result"]["differences"]} == {"missing"}
    assert {problem["severity"] for problem in document["problems"]} == {"error"}
    shown = reconcile()
    assert shown.returncode == 3
    assert "missing" in shown.stdout
    assert "--fill" in shown.stdout
    filled = reconcile("--fill")
    assert filled.returncode == 0, filled.stderr
    assert "Loaded: 3 events that were missing" in filled.stdout
    assert warehouse.ids() == ids
    assert warehouse.state() == state
    assert reconcile("--quiet").returncode == 0
    text = "".join(one.stdout + one.stderr for one in (equal, listed, shown, filled))
    assert api.key not in text
    assert "@" not in text


def test_what_was_never_loaded_is_told_apart_with_the_command_that_loads_it(
    warehouse: Warehouse, serve: TMake, source_of: TMake, command_line: CommandLine
) -> None:
    account = generated_account(60, seed=3, start="2024-03-01", end="2024-03-04")
    api = serve(account, now=at("03-06"))
    backfill = {"start": at("03-01"), "end": at("03-03")}
    warehouse.run(source_of(api, "actions_events", "actions_reactivities", **backfill))

    def run(*command: str) -> Any:
        where = (*command_line.where(warehouse), "--base-url", api.url)
        key = {"SOURCES__NP6__API_KEY": api.key}
        return command_line.run("-m np6_source", *command, *where, **key)

    shown = run("reconcile", *SPAN)
    assert shown.returncode == 3
    (line,) = (one for one in shown.stdout.splitlines() if one.startswith("Never loaded"))
    assert "Never loaded: 2024-03-03T00:00:00Z to 2024-03-04T00:00:00Z." in line
    assert "reconcile" not in line
    assert "is missing" not in shown.stdout
    document = json.loads(run("reconcile", *SPAN, "--json").stdout)
    assert all("gaps" in one["advice"] for one in document["problems"])
    command = line.partition("np6-source ")[2].split()
    assert run(*command).returncode == 0
    assert run("reconcile", *SPAN).returncode == 0


def test_what_one_operation_alone_returns_ends_with_3_and_cannot_be_filled(
    reconcile: TMake, api: Any
) -> None:
    api.faults.append(Fault("raw", b"[]", path="/actions/reactivities"))
    ended = reconcile("--fill", "--json", "--ids")
    assert ended.returncode == 3
    document = json.loads(ended.stdout)
    assert {one["kind"] for one in document["result"]["differences"]} == {"only_events"}
    assert all(len(one["ids"]) == one["count"] for one in document["result"]["differences"])
    assert document["result"]["filled"] is None


def test_an_operation_that_is_not_permitted_ends_with_1(reconcile: TMake, api: Any) -> None:
    api.faults.append(Fault("status", 403, path="/actions/reactivities"))
    assert reconcile().returncode == 1
    assert reconcile("--without-reactivities").returncode == 0


@pytest.mark.parametrize(
    ("options", "status", "what"),
    [
        ([], 4, "Nothing is loaded here"),
        (["--start", "2024-03-02", "--end", "2024-03-01"], 2, "must be before"),
        (["--end", "2999-01-01"], 2, "lies in the future"),
    ],
)
def test_what_cannot_be_compared_ends_with_its_status(
    command_line: CommandLine,
    warehouse: Warehouse,
    options: list[str],
    status: int,
    what: str,
) -> None:
    ended = command_line.run(
        "-m np6_source",
        "reconcile",
        *command_line.where(warehouse),
        *options,
        SOURCES__NP6__API_KEY="a-key",
    )
    assert ended.returncode == status
    assert what in ended.stderr
