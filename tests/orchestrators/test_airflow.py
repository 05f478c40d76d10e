"""``pipelines/np6_airflow_dag.py``, run by Airflow: by ``dag.test()``, and by its scheduler."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DAG = Path(__file__).parents[2] / "pipelines" / "np6_airflow_dag.py"
ENGINE = Path(__file__).with_name("airflow_engine.py")
EVENTS, REACTIVITIES = "load.np6_actions_events", "load.np6_actions_reactivities"
TMake = Callable[..., Any]


def changed_dag(text: str, replacement: str) -> str:
    """The DAG file with one thing changed."""
    dag = DAG.read_text()
    assert dag.count(text) == 1
    return dag.replace(text, replacement)


class Airflow:
    """Airflow with a home, a metadata database and a DAGs folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.dags = home / "dags"
        self.dags.mkdir()
        self.output = home / "logs" / "output.log"
        self.output.parent.mkdir()
        # A second try belongs into a process of its own: dlt's group cannot run a pipeline twice
        # (dlt 1.31), and dag.test() has just this one. test_airflow_scheduler.py has tries.
        (self.dags / DAG.name).write_text(changed_dag('"retries": 3', '"retries": 0'))
        self.environment = {
            **{name: os.environ[name] for name in os.environ if "AIRFLOW" not in name},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        }
        with self.output.open("a") as log:
            subprocess.run(
                [Path(sys.executable).with_name("airflow"), "db", "migrate"],
                env=self.environment,
                stdout=log,
                stderr=log,
                check=True,
            )
            self._process = subprocess.Popen(
                [sys.executable, str(ENGINE)],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def run(
        self,
        scheduled: Any,
        dag_id: str,
        logical_date: str | None = None,
        conf: Any = None,
        dags: Path | None = None,
        **environment: str,
    ) -> dict[str, Any]:
        """One DAG run, as a user's clear or a scheduler's run would do it."""
        command = {
            "dag_id": dag_id,
            "logical_date": logical_date and f"{logical_date}T00:00:00+00:00",
            "conf": conf,
            "dags": str(dags or self.dags),
            "environment": scheduled.variables | environment,
        }
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self.output.read_text()[-5_000:]
        result: dict[str, Any] = json.loads(answer)
        return result

    def day(self, scheduled: Any, day: str, **options: Any) -> dict[str, Any]:
        """Runs ``np6_daily`` for the day, of which the interval ends a day later."""
        following = f"{day[:-2]}{int(day[-2:]) + 1:02d}"
        return self.run(scheduled, "np6_daily", following, **options)

    def log_since(self, position: int) -> str:
        """What Airflow wrote behind a position of its output."""
        return self.output.read_text()[position:]

    def stop(self) -> None:
        """Ends the process."""
        try:
            self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    airflow = Airflow(tmp_path_factory.mktemp("airflow"))
    yield airflow
    airflow.stop()


def test_days_in_any_order_and_cleared_ones_give_what_one_load_gives(
    airflow: Airflow, scheduled: Any, found: TMake, loaded_at_once: TMake
) -> None:
    for day in ("2024-03-03", "2024-03-02", "2024-03-03"):
        run = airflow.day(scheduled, day)
        assert run["state"] == "success"
        assert run["tasks"].keys() == {EVENTS, REACTIVITIES}
    # The first day begins a little before itself.
    assert found() == loaded_at_once("2024-03-01T23:50:00Z", "2024-03-04")


def test_an_interval_of_no_length_fails_and_says_why(
    airflow: Airflow, scheduled: Any, tmp_path: Path
) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    timetable = 'CronDataIntervalTimetable("@daily", timezone="UTC"),'
    (dags / DAG.name).write_text(changed_dag(timetable, '"@daily",'))
    position = len(airflow.output.read_text())
    run = airflow.run(scheduled, "np6_daily", "2024-03-02", dags=dags)
    assert run["state"] == "failed"
    assert "is empty, so nothing would be loaded" in airflow.log_since(position)
    assert not scheduled.database.exists()


@pytest.mark.parametrize("file", ["", "events.duckdb", "duckdb:///events.duckdb"])
def test_a_file_that_would_be_lost_with_the_task_is_refused_at_once(
    airflow: Airflow, scheduled: Any, file: str
) -> None:
    run = airflow.day(scheduled, "2024-03-02", DESTINATION__NP6_WAREHOUSE__CREDENTIALS=file)
    assert run["state"] == "import error"
    assert "would be lost" in run["errors"][0]


def test_a_run_without_a_logical_date_fails_and_says_why(airflow: Airflow, scheduled: Any) -> None:
    position = len(airflow.output.read_text())
    assert airflow.run(scheduled, "np6_daily")["state"] == "failed"
    assert "The data interval [None, None) is empty" in airflow.log_since(position)


def test_an_id_that_fails_fails_its_task_when_everything_else_is_loaded(
    airflow: Airflow, scheduled: Any, found: TMake, loaded_at_once: TMake
) -> None:
    ids = scheduled.sandbox.account.example_ids("action_id", 2)
    configured = {"SOURCES__NP6__ACTION_IDS": json.dumps(ids)}
    position = len(airflow.output.read_text())
    with scheduled.sandbox.faults.during(f"status=404,path=/actions/{ids[0]}/events/bounces"):
        run = airflow.day(scheduled, "2024-03-02", **configured)
    assert run["state"] == "failed"
    assert {name: task["state"] for name, task in run["tasks"].items()} == {
        EVENTS: "success",
        REACTIVITIES: "success",
        "load.np6_action_ids": "failed",
    }
    assert re.search(
        rf"Incomplete: .*action_events_bounces, id {ids[0]}, .*status 404",
        airflow.log_since(position),
    )
    expected = loaded_at_once("2024-03-01T23:50:00Z", "2024-03-03", action_ids=ids)
    assert found() == expected
    assert airflow.day(scheduled, "2024-03-02", **configured)["state"] == "success"
    assert found() == expected


def test_a_day_that_failed_is_whole_when_it_is_cleared(
    airflow: Airflow, scheduled: Any, found: TMake, loaded_at_once: TMake
) -> None:
    with scheduled.sandbox.faults.during("status=401,times=1,path=/actions/events"):
        run = airflow.day(scheduled, "2024-03-02")
    assert run["state"] == "failed"
    assert run["tasks"][EVENTS]["state"] == "failed"
    assert run["tasks"][REACTIVITIES]["state"] == "success"
    assert airflow.day(scheduled, "2024-03-02")["state"] == "success"
    assert found() == loaded_at_once("2024-03-01T23:50:00Z", "2024-03-03")


def test_an_event_that_arrives_late_is_loaded_with_the_next_day(
    airflow: Airflow, scheduled: Any, serve: TMake, event: TMake, at: TMake, found: TMake
) -> None:
    early, late = event(1, at("03-02T12:00")), event(2, at("03-02T23:58"))
    sandbox = serve([early], now=at("03-10"))
    api = {"SOURCES__NP6__API_KEY": sandbox.key, "SOURCES__NP6__BASE_URL": sandbox.url}
    airflow.day(scheduled, "2024-03-02", **api)
    assert [row["id"] for row in found()["events"]] == [early["id"]]
    sandbox.account.add_events([late])
    airflow.day(scheduled, "2024-03-03", **api)
    assert [row["id"] for row in found()["events"]] == [early["id"], late["id"]]


def test_a_backfill_in_mapped_parts_loads_what_one_load_does_however_often(
    airflow: Airflow, scheduled: Any, found: TMake, loaded_at_once: TMake
) -> None:
    ids = scheduled.sandbox.account.example_ids("contact_unicity", 3)
    conf = {"start": "2024-03-01", "end": "2024-03-05", "days_per_part": 2}
    run = airflow.run(scheduled, "np6_backfill", conf=conf)
    assert run["state"] == "success"
    assert run["tasks"].keys() == {"plan", "load[0]", "load[1]"}
    assert run["tasks"]["load[0]"]["label"].startswith("part_20240301_20240303_")
    conf = {**conf, "days_per_part": 4, "ids": {"target_unicities": ids}}
    for _ in range(2):
        assert airflow.run(scheduled, "np6_backfill", conf=conf)["state"] == "success"
    assert found() == loaded_at_once("2024-03-01", "2024-03-05", target_unicities=ids)


def test_a_part_that_is_not_complete_fails_and_is_loaded_again(
    airflow: Airflow, scheduled: Any, found: TMake, loaded_at_once: TMake
) -> None:
    conf = {"start": "2024-03-01", "end": "2024-03-02"}
    with scheduled.sandbox.faults.during("status=403,times=1,path=/actions/reactivities"):
        assert airflow.run(scheduled, "np6_backfill", conf=conf)["state"] == "failed"
    assert airflow.run(scheduled, "np6_backfill", conf=conf)["state"] == "success"
    assert found() == loaded_at_once("2024-03-01", "2024-03-02")


def test_the_key_may_stand_in_airflow_s_variable_and_is_in_no_log(
    airflow: Airflow, scheduled: Any, found: TMake
) -> None:
    key = scheduled.variables.pop("SOURCES__NP6__API_KEY")
    secrets = f'sources.np6.api_key = "{key}"'
    run = airflow.day(scheduled, "2024-03-02", AIRFLOW_VAR_DLT_SECRETS_TOML=secrets)
    assert run["state"] == "success"
    assert found()["events"]
    # A wrong one fails every request.
    wrong = f"wrong-{key}"
    run = airflow.day(scheduled, "2024-03-02", SOURCES__NP6__API_KEY=wrong)
    assert run["state"] == "failed"
    assert "status 401" in airflow.output.read_text()
    written = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in written)
    for path in [*written, *scheduled.folder.rglob("*")]:
        assert path.is_dir() or key.encode() not in path.read_bytes(), path


def test_airflow_reads_the_file_without_a_key_and_leaves_nothing_behind(
    airflow: Airflow, scheduled: Any
) -> None:
    del scheduled.variables["SOURCES__NP6__API_KEY"]
    listed = subprocess.run(
        [Path(sys.executable).with_name("airflow"), "dags", "list", "--local", "-o", "json"],
        env=airflow.environment | scheduled.variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {row["dag_id"] for row in json.loads(listed[listed.index("[{") :])} == {
        "np6_daily",
        "np6_backfill",
    }
    assert not scheduled.sandbox.requests
    assert not list(Path(scheduled.variables["TMPDIR"]).glob("dlt_*"))
