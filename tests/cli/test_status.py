"""``np6-source status``, as a process: what it says, and the status it ends with."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from np6_source.recheck import plan_recheck, recheck
from np6_source.windows import SECOND, to_datetime, to_ms
from tests.support import Warehouse, event

ALL = "actions_events"
BY_ID = "action_events_activations"
HOUR = 3600 * SECOND
TMake = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("same_day")

DOCUMENT = {
    "resources": list,
    "types": dict,
    "unknown": list,
    "rejected_events": int,
    "pending_packages": list,
    "views": str,
    "published": type(None),
    "removed_before": type(None),
    "recheck": dict,
}
RESOURCE = {
    "resource": str,
    "ids": int,
    "unknown_ids": int,
    "start": str,
    "complete_until": str,
    "median_until": str,
    "most_until": str,
    "lag_seconds": int,
    "gaps": int,
    "last_run": str,
    "last_run_events": int,
    "last_run_bytes": int,
    "week_events": int,
    "week_bytes": int,
    "week_repeats": int,
}
UNKNOWN = {
    "resource": str,
    "kind": str,
    "name": str,
    "events": int,
    "first_seen": str,
    "is_new": bool,
}
PROBLEM = {
    "severity": str,
    "rule": str,
    "what": str,
    "resource": str,
    "id": type(None),
    "advice": str,
}

STOPPED = """
INSERT INTO np6.load_windows BY NAME
SELECT 'actions_reactivities' AS resource, '' AS scope_id, e - INTERVAL 70 MINUTE AS window_start,
  e AS window_end, e AS requested_at, 97 AS event_count, '9' || epoch_ms(e) AS _dlt_load_id
FROM (SELECT unnest(generate_series(now() - INTERVAL 21 DAY, now() - INTERVAL 6 HOUR,
  INTERVAL 1 HOUR)) AS e);
INSERT INTO np6._dlt_loads BY NAME
SELECT DISTINCT _dlt_load_id AS load_id, 'np6' AS schema_name, 0 AS status, now() AS inserted_at
FROM np6.load_windows WHERE _dlt_load_id LIKE '9%'
"""
"""The ledger of an hourly schedule that stopped six hours ago."""


@pytest.fixture
def status(command_line: Any, warehouse: Warehouse) -> Callable[..., Any]:
    """Runs the command, without a key: it makes no request."""
    return lambda *options, **environment: command_line.run(
        "-m np6_source", "status", *command_line.where(warehouse), *options, **environment
    )


@pytest.fixture
def start() -> int:
    """Two days ago."""
    return int(time.time()) * SECOND - 48 * HOUR


@pytest.fixture
def loaded(warehouse: Warehouse, serve: TMake, source_of: TMake, start: int) -> Any:
    """Two days of an event an hour, one more of a type that nobody knows; loaded just now."""
    made = [event(n, start + n * HOUR) for n in range(48)]
    made.append(event(99, start + 1, type="dismiss"))
    sandbox = serve(made)
    ids = {"action_ids": ["000AA1", "000ZZ9"]}
    warehouse.run(source_of(sandbox, ALL, BY_ID, start=start, on_error="keep", **ids))
    return sandbox


def has_schema(value: Any, schema: Any) -> bool:
    return value.keys() == schema.keys() and all(
        isinstance(value[name], kind) for name, kind in schema.items()
    )


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file): (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.usefixtures("loaded")
def test_it_says_how_far_every_resource_has_got(status: TMake, start: int) -> None:
    ended = status("--fail-on", "never")
    assert ended.returncode == 0, ended.stderr
    assert [line for line in ended.stdout.splitlines() if line != line.rstrip()] == []
    rows = [re.split(r"  +", line.strip()) for line in ended.stdout.splitlines()]
    of_all, of_ids = (next(row for row in rows if row[0] == name) for name in (ALL, BY_ID))
    assert to_ms(datetime.fromisoformat(of_all[1].replace("Z", ""))) > start + 47 * HOUR
    assert of_all[2].endswith((" s", " min"))
    assert of_all[3:4] + of_all[5:] == ["0", "49", "49"]
    assert of_ids[5:] == ["48", "48", "1 (1 not known to NP6)"]
    since = to_datetime(start).date()
    assert f'type "dismiss" (1, since {since}) in actions_events' in ended.stdout
    assert "views       not made: make them with np6-source views" in ended.stdout
    assert "unknown: actions_events: 1 events have type 'dismiss'" in ended.stdout
    assert "person" not in ended.stdout


@pytest.mark.usefixtures("loaded")
def test_it_prints_one_object_on_request(status: TMake) -> None:
    ended = status("--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    document = json.loads(ended.stdout)
    assert (document["command"], document["exit_status"]) == ("status", 0)
    assert document["requests"] == 0
    result = document["result"]
    assert has_schema(result, DOCUMENT)
    assert all(has_schema(one, RESOURCE) for one in result["resources"])
    assert all(has_schema(one, UNKNOWN) for one in result["unknown"])
    assert all(has_schema(one, PROBLEM) for one in document["problems"])
    by_name = {one["resource"]: one for one in result["resources"]}
    assert by_name[ALL]["week_events"] == 49
    assert (by_name[ALL]["ids"], by_name[BY_ID]["ids"]) == (0, 1)
    assert by_name[BY_ID]["unknown_ids"] == 1
    assert result["types"] == {"activation": 96, "dismiss": 1}
    assert [problem["rule"] for problem in document["problems"]] == ["unknown"]


@pytest.mark.usefixtures("loaded")
def test_it_says_of_when_the_copy_for_readers_is(status: TMake, tmp_path: Path) -> None:
    copy = tmp_path / "readers.duckdb"
    ended = status(SOURCES__NP6__PUBLISH=str(copy))
    assert f"published   {copy} is not there: the next load makes it" in ended.stdout
    copy.touch()
    os.utime(copy, (1_767_225_600, 1_767_225_600))
    ended = status(SOURCES__NP6__PUBLISH=str(copy))
    assert f"published   {copy}, made 2026-01-01T00:00Z" in ended.stdout
    result = json.loads(status("--json", SOURCES__NP6__PUBLISH=str(copy)).stdout)["result"]
    assert result["published"] == {"file": str(copy), "made": "2026-01-01T00:00:00Z"}


@pytest.mark.usefixtures("loaded")
def test_it_changes_nothing_and_asks_nobody(
    status: TMake, warehouse: Warehouse, loaded: Any
) -> None:
    warehouse.pipeline.extract([{"a": 1}], table_name="somebody_elses")
    loaded.requests.clear()
    before = files(warehouse.pipelines_dir)
    contents = warehouse.contents()
    ended = status()
    assert ended.returncode == 0, ended.stderr
    assert "pending     load package 1" in ended.stdout
    assert files(warehouse.pipelines_dir) == before
    assert warehouse.contents() == contents
    assert loaded.requests == []


@pytest.mark.usefixtures("loaded")
def test_an_alarm_sets_the_exit_status_as_asked_for(status: TMake, warehouse: Warehouse) -> None:
    assert status("--fail-on", "warning", "--quiet").returncode == 3
    warehouse.execute(STOPPED)
    ended = status()
    assert ended.returncode == 3
    assert "error       lag: actions_reactivities: complete up to" in ended.stdout
    quiet = status("--quiet")
    assert (quiet.returncode, quiet.stdout) == (3, "")
    assert "lag: actions_reactivities" in quiet.stderr
    assert status("--fail-on", "never").returncode == 0
    assert status("--resources", BY_ID).returncode == 0
    document = json.loads(status("--json").stdout)
    assert document["exit_status"] == 3
    assert document["problems"][0]["severity"] == "error"


def test_files_have_no_ledger_to_ask(command_line: Any, tmp_path: Path) -> None:
    ended = command_line.run(
        "-m np6_source",
        *("status", "--destination", "filesystem", "--pipelines-dir", str(tmp_path)),
        DESTINATION__FILESYSTEM__BUCKET_URL=str(tmp_path / "lake"),
    )
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert "status reads load_windows in a database" in ended.stderr


def test_nothing_loaded_and_what_cannot_be_used(
    status: TMake, warehouse: Warehouse, serve: TMake, source_of: TMake, start: int
) -> None:
    nothing = status()
    assert (nothing.returncode, nothing.stdout) == (4, "")
    assert "there is no file" in nothing.stderr
    assert not warehouse.database.exists()
    sandbox = serve([event(1, start + HOUR)])
    warehouse.run(source_of(sandbox, ALL, start=start))
    unknown = status("--resources", "action_events")
    assert unknown.returncode == 2
    assert "(did you mean actions_events?)" in unknown.stderr
    assert status("--fail-on", "sometimes").returncode == 2


def test_it_says_what_was_read_again_and_how_late_events_come(
    status: TMake, warehouse: Warehouse, loaded: Any, source_of: TMake, start: int
) -> None:
    before = time.time() - 60
    source = lambda: source_of(loaded, ALL, start=start, on_error="keep")  # noqa: E731
    plan = plan_recheck(warehouse.pipeline, source(), days=2, all_days=True)
    recheck(warehouse.pipeline, source, plan)
    ended = status("--json", "--fail-on", "never")
    found = json.loads(ended.stdout)["result"]["recheck"]
    assert (found["days"], found["new"]) == (len(plan.planned), 0)
    last = datetime.fromisoformat(found["last"].replace("Z", "+00:00")).timestamp()
    assert before <= last <= time.time()
    # The first load has read them when they were over, but for one in the first hour of a day.
    assert found["lateness"]["days"] <= 1
    shown = status("--fail-on", "never").stdout
    assert f"{len(plan.planned)} days, 0 new; no " in shown
