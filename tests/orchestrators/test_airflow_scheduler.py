"""The DAGs under Airflow's own scheduler, with tasks in processes of their own that run at once."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

DAG = Path(__file__).parents[2] / "pipelines" / "np6_airflow_dag.py"
TMake = Callable[..., Any]


class Deployment:
    """Airflow's scheduler, DAG processor and API server, as ``airflow standalone`` starts them."""

    def __init__(self, home: Path, variables: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        (home / "dags").mkdir(parents=True)
        dag = DAG.read_text()
        for text, replacement in (
            # The scheduler would load every day since.
            ("catchup=True", "catchup=False"),
            ("timedelta(minutes=5)", "timedelta(seconds=1)"),
        ):
            assert dag.count(text) == 1
            dag = dag.replace(text, replacement)
        (home / "dags" / DAG.name).write_text(dag)
        self.environment = {
            **{name: os.environ[name] for name in os.environ if "AIRFLOW" not in name},
            **variables,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__PARALLELISM": "3",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "of-these-tests " * 8,
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "no_proxy": "127.0.0.1,localhost",
        }

        self._processes: list[subprocess.Popen[bytes]] = []
        self.command("db", "migrate")
        self.command("pools", "set", "np6", "1", "daily")
        self.command("pools", "set", "np6_backfill", "3", "backfill")
        self.command("dags", "reserialize")

    def start(self) -> None:
        """Starts everything.

        Commands belong before: SQLite refuses to write for two at the wrong moment.
        """
        self._start("api-server")
        # A task that finds no API server fails.
        self._wait_until_it_answers()
        self._start("scheduler", "--skip-serve-logs")
        self._start("dag-processor")

    def _start(self, *arguments: str) -> None:
        with (self.home / f"{arguments[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [Path(sys.executable).with_name("airflow"), *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)

    def _wait_until_it_answers(self) -> None:
        while True:
            with suppress(OSError), urlopen(f"{self.url}/api/v2/monitor/health") as answer:
                answer.read()
                return
            time.sleep(0.5)

    def command(self, *arguments: str) -> str:
        """What one of Airflow's commands prints."""
        result = subprocess.run(
            [Path(sys.executable).with_name("airflow"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def query(self, sql: str, *parameters: str) -> list[Any]:
        """The first column of what is in Airflow's database."""
        with closing(sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True)) as database:
            return [value for value, *_ in database.execute(sql, parameters)]

    def wait_for(self, dag_id: str, run_type: str, count: int) -> None:
        """Waits until so many runs have ended; they must have succeeded."""
        sql = "SELECT state FROM dag_run WHERE dag_id = ? AND run_type = ?"
        while True:
            states = self.query(sql, dag_id, run_type)
            assert "failed" not in states, self.logs()
            if states.count("success") >= count:
                return
            time.sleep(1)

    def logs(self) -> str:
        """The ends of the logs."""
        files = sorted(self.home.rglob("*.log"))
        return "\n".join(f"{file}:\n{file.read_text()[-3_000:]}" for file in files)

    def stop(self) -> None:
        """Ends everything."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def deployment(scheduled: Any, postgres: Any, tmp_path: Path) -> Iterator[tuple[Deployment, str]]:
    url = postgres.new_database("airflow")
    deployment = Deployment(
        tmp_path / "airflow",
        {
            **scheduled.variables,
            "SOURCES__NP6__WORKERS": "3",
            "DESTINATION__NP6_WAREHOUSE__DESTINATION_TYPE": "postgres",
            "DESTINATION__NP6_WAREHOUSE__CREDENTIALS": url,
        },
    )
    yield deployment, url
    deployment.stop()


@pytest.mark.timeout(400)
def test_backfills_on_several_workers_into_postgresql_give_what_one_load_gives(
    deployment: tuple[Deployment, str],
    scheduled: Any,
    postgres: Any,
    source_of: TMake,
    tmp_path: Path,
) -> None:
    airflow, url = deployment
    scheduled.sandbox.now = None
    # The parts of the first days, twice; then days of the daily DAG; all of it at once.
    conf = json.dumps({"start": "2024-03-01", "end": "2024-03-04", "days_per_part": 1})
    for _ in range(2):
        airflow.command("dags", "trigger", "np6_backfill", "-c", conf)
    airflow.command(
        *("backfill", "create", "--dag-id", "np6_daily", "--max-active-runs", "3"),
        *("--from-date", "2024-03-04", "--to-date", "2024-03-05"),
    )
    for dag_id in ("np6_backfill", "np6_daily"):
        airflow.command("dags", "unpause", dag_id, "-y")
    with scheduled.sandbox.faults.during("status=401,every=7,times=2"):
        airflow.start()
        airflow.wait_for("np6_backfill", "manual", 2)
        airflow.wait_for("np6_daily", "backfill", 2)
    assert max(airflow.query("SELECT try_number FROM task_instance")) > 1
    expected = postgres.loaded_at_once(
        source_of(scheduled.sandbox, start="2024-03-01", end="2024-03-06"), tmp_path / "at-once"
    )
    assert expected["events__hits"]
    assert postgres.contents(url) == expected
    key = scheduled.variables["SOURCES__NP6__API_KEY"].encode()
    for path in airflow.home.rglob("*"):
        assert path.is_dir() or key not in path.read_bytes(), path
