"""A process killed at any moment loses nothing and repeats nothing.

Every kill is SIGKILL, on the real script, against the sandbox. What is compared are the tables of
a database that was filled by killed runs with those of one that was filled undisturbed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import pytest

from np6_source.sandbox import Sandbox, generated_account

SCRIPT = Path(__file__).parents[2] / "pipelines" / "np6_to_duckdb.py"
KILLS = int(os.environ.get("SOAK_KILLS", "50"))
"""How many times the long test kills; fewer where time is short."""
START, END = datetime(2024, 3, 1, tzinfo=timezone.utc), datetime(2024, 3, 29, tzinfo=timezone.utc)
TABLES = (
    "events",
    "events__hits",
    "events__bounces",
    "events__cancellations",
    "events__execution_data",
    "events__campaigns",
)

KILL_AFTER_COMMIT = """
import os, runpy, signal, sys

from dlt.common.destination.client import RunnableLoadJob

sys.argv.pop(0)
table, file_format = sys.argv.pop(0).split(".")
release = RunnableLoadJob._release


def kill_before_noting(self, next_state):
    # The job's work is committed in the destination; dlt has not taken note of it yet.
    job = self.job_file_info()
    if (job.table_name, job.file_format) == (table, file_format):
        os.kill(os.getpid(), signal.SIGKILL)
    release(self, next_state)


RunnableLoadJob._release = kill_before_noting
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(folder: Path, sandbox: Sandbox, *more: str) -> list[str]:
    return [
        str(SCRIPT),
        *("--pipelines-dir", str(folder / "pipelines")),
        *("--duckdb-file", str(folder / "events.duckdb")),
        *("--base-url", sandbox.url),
        *("--start", START.isoformat()),
        *("--checkpoint", "3000"),
        *("--progress", "none"),
        *more,
    ]


def environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        **os.environ,
        "SOURCES__NP6__API_KEY": sandbox.key,
        "SOURCES__NP6__WINDOW": "86400",
        "SOURCES__NP6__BACKOFF": "0.01",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }


def repeated_ledger_rows(folder: Path) -> int:
    """How many rows of ``load_windows`` stand there once more; runs may add rows, not repeat."""
    with duckdb.connect(str(folder / "events.duckdb"), read_only=True) as connection:
        ((repeated,),) = connection.sql(
            "SELECT (SELECT count(*) FROM np6.load_windows)"
            " - (SELECT count(*) FROM (SELECT DISTINCT * FROM np6.load_windows))"
        ).fetchall()
    return int(repeated)


def run(folder: Path, sandbox: Sandbox) -> None:
    folder.mkdir(exist_ok=True)
    finished = subprocess.run(
        [sys.executable, *command(folder, sandbox)],
        cwd=folder,
        env=environment(sandbox),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]


def contents(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every event table without the time of asking, sorted: rows twice would show."""
    with duckdb.connect(str(folder / "events.duckdb"), read_only=True) as connection:
        return {
            table: connection.sql(
                f"SELECT * EXCLUDE (requested_at) FROM np6.{table} ORDER BY ALL"
            ).fetchall()
            for table in TABLES
        }


@pytest.fixture(scope="module")
def account_sandbox():  # type: ignore[no-untyped-def]
    account = generated_account(events=6_000, seed=3, start=START, end=END)
    with Sandbox(account) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def undisturbed(
    account_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> tuple[float, dict[str, list[tuple[object, ...]]]]:
    """How long an undisturbed run takes, and its tables."""
    folder = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    run(folder, account_sandbox)
    return time.monotonic() - started, contents(folder)


def kill_at_random(folder: Path, sandbox: Sandbox, seconds: float, seed: int) -> bool:
    """Starts a run and kills it somewhere in the given time; tells whether it was still running."""
    process = subprocess.Popen(
        [sys.executable, *command(folder, sandbox)],
        cwd=folder,
        env=environment(sandbox),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(timeout=random.Random(seed).uniform(0.3, 1.0) * seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def check_kills(
    folder: Path,
    sandbox: Sandbox,
    undisturbed: tuple[float, dict[str, list[tuple[object, ...]]]],
    kills: int,
    seed: int,
) -> int:
    """Kills runs over fresh databases until enough have been; compares every database."""
    seconds, expected = undisturbed
    done = 0
    round_number = 0
    while done < kills:
        database = folder / f"round-{round_number}"
        database.mkdir()
        for attempt in range(min(4, kills - done)):
            kill_seed = seed + 1000 * round_number + attempt
            done += kill_at_random(database, sandbox, seconds, kill_seed)
        run(database, sandbox)
        assert contents(database) == expected
        assert repeated_ledger_rows(database) == 0
        round_number += 1
    return done


@pytest.mark.soak
def test_many_kills_at_random_moments_change_nothing(
    account_sandbox: Sandbox,
    undisturbed: tuple[float, dict[str, list[tuple[object, ...]]]],
    tmp_path: Path,
) -> None:
    assert check_kills(tmp_path, account_sandbox, undisturbed, kills=KILLS, seed=2) >= KILLS


@pytest.mark.parametrize(
    "job",
    [
        "load_windows.parquet",
        pytest.param("events.parquet", marks=pytest.mark.soak),
        pytest.param("events.sql", marks=pytest.mark.soak),
        pytest.param("events__execution_data.sql", marks=pytest.mark.soak),
    ],
)
def test_a_kill_right_after_a_commit_in_the_destination_repeats_nothing(
    account_sandbox: Sandbox,
    undisturbed: tuple[float, dict[str, list[tuple[object, ...]]]],
    tmp_path: Path,
    job: str,
) -> None:
    wrapper = tmp_path / "killed.py"
    wrapper.write_text(KILL_AFTER_COMMIT)
    killed = subprocess.run(
        [sys.executable, str(wrapper), job, *command(tmp_path, account_sandbox)],
        cwd=tmp_path,
        env=environment(account_sandbox),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    run(tmp_path, account_sandbox)
    assert contents(tmp_path) == undisturbed[1]
    assert repeated_ledger_rows(tmp_path) == 0
