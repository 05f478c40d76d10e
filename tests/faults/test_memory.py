"""An answer's size does not set the memory used."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from np6_source.sandbox import Sandbox, mass_mailing_account

ROOT = Path(__file__).parents[2]
START = datetime(2024, 3, 1, 8, tzinfo=timezone.utc)
GIB = 1024**3

MEASURED = """
import resource, runpy, sys

sys.argv.pop(0)
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("peak", peak * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.soak
def test_a_response_of_a_gigabyte_is_loaded_in_less_memory_than_that(
    warehouse: Any, tmp_path: Path
) -> None:
    hits = 1_000_000
    account = mass_mailing_account(
        hits=hits, start=START, end=START + timedelta(hours=2), stored=False
    )
    wrapper = tmp_path / "measured.py"
    wrapper.write_text(MEASURED)
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "config.toml").write_text((ROOT / ".dlt" / "config.toml").read_text())
    with Sandbox(account) as sandbox:
        finished = subprocess.run(
            [
                *(sys.executable, str(wrapper), str(ROOT / "pipelines" / "np6_to_duckdb.py")),
                *("--resources", "actions_events", "--progress", "none"),
                *("--start", "2024-03-01", "--end", "2024-03-02"),
                *("--base-url", sandbox.url, "--duckdb-file", str(warehouse.database)),
                *("--pipelines-dir", str(warehouse.pipelines_dir)),
            ],
            cwd=tmp_path,
            env={**os.environ, "SOURCES__NP6__API_KEY": sandbox.key},
            capture_output=True,
            text=True,
            timeout=1_200,
            check=False,
        )
    assert finished.returncode == 0, finished.stderr[-3000:]
    ((largest,),) = warehouse.query("SELECT max(byte_count) FROM np6.load_windows")
    assert largest > 10**9
    assert warehouse.query("SELECT count(*), count(DISTINCT id) FROM np6.events") == [(hits, hits)]
    peak = int(finished.stdout.rsplit("peak ", 1)[1])
    assert peak < GIB
