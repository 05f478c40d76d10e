"""A package that is given up: what it was for is loaded again, or counts as not loaded."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest

from np6_source.ledger import coverage, missing
from np6_source.loading import load
from np6_source.sandbox import Sandbox
from np6_source.windows import SECOND, Window
from tests.support import Warehouse, at, event

ALL, BY_ID = "actions_events", "action_events_activations"
HOUR = 3600 * SECOND
EVERY_ID = [f"event-{n:05d}" for n in range(48)]
TMake = Callable[..., Any]

KILLED = """
import json, os, signal, sys
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

sys.path.insert(0, os.environ["HERE"])
import dlt
from np6_source import np6_source
from np6_source.loading import load

execute = DuckDbSqlClient.execute_query


def kill(self, query, *arguments, **options):
    if "INSERT INTO" in str(query) and "SELECT" in str(query) and "staging" in str(query):
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(self, query, *arguments, **options)


DuckDbSqlClient.execute_query = kill
pipeline = dlt.pipeline(
    "np6_test",
    destination=dlt.destinations.duckdb(os.environ["DATABASE"]),
    dataset_name="np6",
    pipelines_dir=os.environ["PIPELINES"],
)
options = json.loads(os.environ["OPTIONS"])
names = options.pop("names")
load(
    pipeline,
    lambda **more: np6_source(
        os.environ["KEY"], base_url=os.environ["URL"], on_error="keep", **(options | more)
    ).with_resources(*names),
)
"""


@pytest.fixture
def sandbox(serve: TMake) -> Sandbox:
    events = [event(n, at("03-01") + n * HOUR, action=f"000AA{n % 2 + 1}") for n in range(48)]
    sandbox: Sandbox = serve(events, now=at("03-03"))
    return sandbox


def killed_load(warehouse: Warehouse, sandbox: Sandbox, options: str) -> None:
    """A load that is killed while it merges."""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={
            **os.environ,
            "HERE": str(Path(__file__).parents[2]),
            "DATABASE": str(warehouse.database),
            "PIPELINES": str(warehouse.pipelines_dir),
            "KEY": sandbox.key,
            "URL": sandbox.url,
            "OPTIONS": options,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]


def test_ids_given_once_and_killed_are_missing_after_a_call_without_them(
    warehouse: Warehouse, sandbox: Sandbox, source_of: TMake, caplog: Any
) -> None:
    warehouse.load(lambda: source_of(sandbox, ALL, on_error="keep"))
    assert warehouse.ids() == EVERY_ID
    warehouse.execute("DELETE FROM np6.events WHERE action_id = '000AA1'")
    killed_load(
        warehouse,
        sandbox,
        f'{{"names": ["{BY_ID}"], "start": "2024-03-01", "action_ids": ["000AA1"]}}',
    )
    warehouse.load(lambda: source_of(sandbox, ALL, on_error="keep"))
    assert f"counts as not loaded: {BY_ID} id 000AA1 [2024-03-01T00:00:00Z" in caplog.text
    (gap,) = missing(Window(at("03-01"), at("03-02")), coverage(warehouse.pipeline))
    assert (gap.resource, gap.scope_id) == (BY_ID, "000AA1")


def test_a_backfill_that_was_killed_is_missing_after_another_call(
    warehouse: Warehouse, sandbox: Sandbox, source_of: TMake
) -> None:
    warehouse.load(lambda: source_of(sandbox, ALL, start="2024-03-02", on_error="keep"))
    killed_load(
        warehouse,
        sandbox,
        f'{{"names": ["{ALL}"], "start": "2024-03-01", "end": "2024-03-02"}}',
    )
    warehouse.load(lambda: source_of(sandbox, ALL, start="2024-03-02", on_error="keep"))
    (gap,) = missing(Window(at("03-01"), at("03-02")), coverage(warehouse.pipeline))
    assert gap.window == Window(at("03-01"), at("03-02"))
    span = {"start": "2024-03-01", "end": "2024-03-02", "on_error": "keep"}
    warehouse.load(lambda: source_of(sandbox, ALL, **span))
    assert missing(Window(at("03-01"), at("03-02")), coverage(warehouse.pipeline)) == []
    assert warehouse.ids() == EVERY_ID


@pytest.mark.timeout(400)
def test_a_package_that_duckdb_has_no_memory_for_is_cut_smaller(
    tmp_path: Path, serve: TMake, source_of: TMake, caplog: Any
) -> None:
    """With the limits that the script ships; the events are wide, and merged at once too large."""
    wide = [
        event(n, at("03-01") + n * 60 * SECOND, extra={"text": os.urandom(20_000).hex()})
        for n in range(600)
    ]
    sandbox = serve(wide, now=at("03-03"))
    file = tmp_path / "events.duckdb"
    limits = {"memory_limit": "60MB", "threads": 1, "max_temp_directory_size": "0B"}
    pipeline = dlt.pipeline(
        "np6_test",
        destination=dlt.destinations.duckdb(
            dlt.destinations.impl.duckdb.configuration.DuckDbCredentials(
                str(file), global_config=limits
            )
        ),
        dataset_name="np6",
        pipelines_dir=str(tmp_path / "pipelines"),
    )
    report = load(pipeline, lambda **more: source_of(sandbox, ALL, on_error="keep", **more))
    assert "ran out of memory with 600 events in a package" in caplog.text
    assert report.failures == []
    with duckdb.connect(str(file)) as connection:
        assert connection.sql("SELECT count(DISTINCT id), count(*) FROM np6.events").fetchall() == [
            (600, 600)
        ]


def test_files_that_stay_are_for_this_user_alone_and_none_of_a_loaded_package_does(
    warehouse: Warehouse, sandbox: Sandbox, source_of: TMake
) -> None:
    warehouse.load(lambda: source_of(sandbox, ALL, on_error="keep"))
    folder = warehouse.pipelines_dir / warehouse.name
    assert list(folder.glob("load/loaded/*")) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    killed_load(
        warehouse, sandbox, f'{{"names": ["{ALL}"], "start": "2024-03-01", "end": "2024-03-02"}}'
    )
    left = list(folder.glob("load/normalized/*/*_jobs/*"))
    assert [path for path in left if "events." in path.name]
    for path in left:
        if path.suffix != ".sql":
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
