"""``pipelines/np6_github_actions.yml``: its load, on a machine that is new each time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TMake = Callable[..., Any]


@pytest.fixture(scope="session")
def workflow() -> Any:
    # YAML 1.1 reads "on" as true.
    return yaml.safe_load((ROOT / "pipelines" / "np6_github_actions.yml").read_text())


def test_runs_do_not_overlap_and_are_not_cut_short(workflow: Any) -> None:
    assert workflow["concurrency"] == {"group": "np6", "cancel-in-progress": False}
    assert workflow[True]["schedule"]


def test_each_run_goes_on_where_the_last_one_on_another_machine_ended(
    workflow: Any, scheduled: Any, postgres: Any, source_of: TMake, tmp_path: Path
) -> None:
    url = postgres.new_database("actions")
    secrets = {
        "NP6_API_KEY": scheduled.variables["SOURCES__NP6__API_KEY"],
        "NP6_WAREHOUSE_URL": url,
    }
    load = workflow["jobs"]["load"]["steps"][-1]
    given = {
        name: secrets[re.fullmatch(r"\$\{\{ secrets\.(\w+) \}\}", value)[1]]  # type: ignore[index]
        for name, value in load["env"].items()
    }
    for now in ("2024-03-03T00:00:00Z", "2024-03-07T00:00:00Z"):
        scheduled.sandbox.now = now
        scheduled.sandbox.requests.clear()
        home = tmp_path / now[:10]
        home.mkdir()
        result = subprocess.run(
            ["bash", "-e", "-c", f"{load['run']} --start 2024-03-01"],
            cwd=ROOT,
            env={
                "HOME": str(home),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "SOURCES__NP6__BASE_URL": scheduled.sandbox.url,
                **given,
            },
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert secrets["NP6_API_KEY"] not in result.stdout + result.stderr
    first = min(
        request.query["start"] for request in scheduled.sandbox.requests if "start" in request.query
    )
    assert first > "2024-03-02T23:49"
    expected = postgres.loaded_at_once(
        source_of(scheduled.sandbox, start="2024-03-01", end="2024-03-06"), tmp_path / "at-once"
    )
    assert postgres.contents(url) == expected
