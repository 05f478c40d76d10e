"""A package that a kill left half done is loaded whole by any process that makes the source.

Its rows that are loaded already are in a staging dataset that is the pipeline's own, and dlt loads
a pending package before any resource of the source starts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.sandbox import Sandbox
from tests.support import ROOT, Warehouse, at, event

ALL = "actions_events"
TMake = Callable[..., Any]

KILLED = """
import os, signal, sys
import dlt
from dlt.destinations.job_client_impl import SqlJobClientBase
from np6_source import np6_source

def killed(self, *arguments, **options):
    # A table's rows are staged. Its merge, as a file, has the staging dataset's name: not yet made.
    os.kill(os.getpid(), signal.SIGKILL)

SqlJobClientBase.create_table_chain_completed_followup_jobs = killed
database, pipelines_dir, url, key = sys.argv[1:]
pipeline = dlt.pipeline(
    "np6_test",
    destination=dlt.destinations.duckdb(database),
    dataset_name="np6",
    pipelines_dir=pipelines_dir,
)
pipeline.run(np6_source(key, base_url=url, start="2024-03-01").with_resources("actions_events"))
"""

GOES_ON = """
import sys
import dlt
from np6_source import np6_source

database, pipelines_dir, url, key, order = sys.argv[1:]

def make_source():
    return np6_source(key, base_url=url, start="2024-03-01").with_resources("actions_events")

source = make_source() if order == "source first" else None
pipeline = dlt.pipeline(
    "np6_test",
    destination=dlt.destinations.duckdb(database),
    dataset_name="np6",
    pipelines_dir=pipelines_dir,
)
pipeline.run(source or make_source())
"""


@pytest.mark.parametrize("order", ["source first", "pipeline first"])
def test_it_is_loaded_whole_whichever_is_made_first(
    warehouse: Warehouse, serve: TMake, order: str
) -> None:
    sandbox: Sandbox = serve(
        [event(n, at("03-01T12:00") + n) for n in range(50)], now=at("03-02T00:10")
    )
    assert run(KILLED, warehouse, sandbox) == -signal.SIGKILL
    assert warehouse.pipeline.has_pending_data
    assert run(GOES_ON, warehouse, sandbox, order) == 0
    assert not warehouse.pipeline.has_pending_data
    assert warehouse.windows(ALL)[0].end > at("03-01T12:01")
    assert warehouse.ids() == [f"event-{n:05d}" for n in range(50)]


def run(code: str, warehouse: Warehouse, sandbox: Sandbox, *more: str) -> int:
    given = (str(warehouse.database), str(warehouse.pipelines_dir), sandbox.url, sandbox.key)
    return subprocess.run(
        [sys.executable, "-c", code, *given, *more],
        cwd=warehouse.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=100,
        check=False,
    ).returncode
