"""The commands a person or a scheduler calls, as processes: exit statuses and what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from filelock import FileLock

from np6_source.__main__ import main
from np6_source.sandbox import Fault, Sandbox
from np6_source.windows import SECOND, Window, merged

ALL = "actions_events"
HOUR = 3600 * SECOND
SCRIPT = "np6_to_duckdb"
TMake = Callable[..., Any]
TAt = Callable[[str], int]
EVERY_ID = [f"event-{n:05d}" for n in range(48)]
START = ("--start", "2024-03-01")
DOCUMENT_KEYS = [
    *("command", "version", "exit_status", "at", "pipeline", "destination", "dataset"),
    *("account", "requests", "bytes", "problems", "result"),
]


@pytest.fixture
def sandbox(serve: TMake, event: TMake, at: TAt) -> Sandbox:
    sandbox: Sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(48)), now=at("03-03"))
    return sandbox


@pytest.fixture
def call(command_line: Any, warehouse: Any, sandbox: Sandbox) -> TMake:
    """Runs the script against the sandbox, for the account-wide events alone."""

    def call(*options: str, **environment: str) -> Any:
        return command_line.run(
            SCRIPT,
            *command_line.where(warehouse),
            *("--base-url", sandbox.url, "--progress", "none", "--resources", ALL),
            *options,
            **{"SOURCES__NP6__API_KEY": sandbox.key} | environment,
        )

    return call


class TestLoad:
    def test_it_loads_says_what_and_goes_on_where_it_ended(
        self, call: TMake, warehouse: Any, sandbox: Sandbox, at: TAt
    ) -> None:
        sandbox.now = at("03-02")
        first = call(*START)
        assert (first.returncode, first.stderr) == (0, "")
        assert f"24 new events, in np6 of {warehouse.database}." in first.stdout
        assert "Complete up to 2024-03-01T23:5" in first.stdout
        sandbox.now = at("03-03")
        second = call("--checkpoint", "10", SOURCES__NP6__OVERLAP="7200")
        assert second.returncode == 0, second.stderr
        # Each of the two packages reads the overlap, two hours and so two events, again.
        assert "24 new events, 4 read again, in np6 of" in second.stdout
        assert "│ events                 │       48 │" in second.stdout
        assert warehouse.ids() == EVERY_ID

    def test_one_line_says_that_nothing_is_new(
        self, call: TMake, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        warehouse.run(source_of(sandbox, ALL))
        ended = call()
        assert ended.stdout.startswith("Nothing new. Complete up to 2024-03-02T23:5")
        assert ended.stdout.endswith(f"; 48 events in np6 of {warehouse.database}.\n")
        assert (ended.stdout.count("\n"), ended.stderr, ended.returncode) == (1, "", 0)
        quiet = call("--quiet")
        assert (quiet.stdout, quiet.stderr, quiet.returncode) == ("", "", 0)

    def test_a_start_in_the_future_is_nothing_to_do(self, call: TMake, sandbox: Sandbox) -> None:
        ended = call("--start", "2999-01-01")
        assert ended.stdout == "Nothing to do: start=2999-01-01 lies in the future.\n"
        assert (ended.returncode, ended.stderr, sandbox.requests) == (0, "", [])

    @pytest.mark.parametrize("options", [(), ("--start", "2024-03-01")])
    def test_a_clock_that_was_reset_ends_it_before_a_request(
        self,
        options: tuple[str, ...],
        sandbox: Sandbox,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
        monkeypatch.setattr(time, "time", lambda: 3_600.0)
        assert main(["load", "--base-url", sandbox.url, *options]) == 2
        printed = capsys.readouterr()
        assert printed.err == (
            "this machine's clock says 1970-01-01T01:00:00Z: set it. Nothing was requested or"
            " changed\n"
        )
        assert (printed.out, sandbox.requests) == ("", [])

    def test_an_end_that_is_reached_is_nothing_to_do(
        self, call: TMake, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        warehouse.run(source_of(sandbox, ALL))
        ended = call("--end", "2024-03-02")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith("Nothing to do: what was asked for is loaded.")

    def test_an_end_before_the_beginning_of_a_first_load_is_refused(
        self, call: TMake, sandbox: Sandbox, warehouse: Any
    ) -> None:
        ended = call("--end", "2020-01-01")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert f"{ALL}: end=2020-01-01T00:00:00Z lies before" in ended.stderr
        assert "Give start as well, on the command line --start" in ended.stderr
        assert not warehouse.database.exists()

    def test_a_reader_that_has_gone_is_no_failure(
        self, call: TMake, command_line: Any, warehouse: Any, sandbox: Sandbox
    ) -> None:
        reader, writer = os.pipe()
        process = subprocess.Popen(
            command_line.arguments(
                SCRIPT,
                *command_line.where(warehouse),
                *("--base-url", sandbox.url, "--progress", "none", "--resources", ALL, *START),
            ),
            cwd=command_line.folder,
            env=command_line.environment | {"SOURCES__NP6__API_KEY": sandbox.key},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(reader)
        os.close(writer)
        _, errors = process.communicate(timeout=100)
        assert (process.returncode, errors) == (0, "")
        assert warehouse.ids() == EVERY_ID

    def test_failures_of_one_cause_are_one_line(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox
    ) -> None:
        ended = command_line.run(
            SCRIPT,
            *command_line.where(warehouse),
            *("--base-url", sandbox.url, "--progress", "none", "--action-ids", "NONE1,NONE2"),
            SOURCES__NP6__API_KEY=sandbox.key,
            SOURCES__NP6__START="2024-03-01",
        )
        assert ended.returncode == 1
        (line,) = ended.stderr.splitlines()
        assert line.startswith("NotFound: ")
        assert "NP6 does not know this id for 2 ids (NONE1, NONE2) in" in line
        assert line.count("action_events_bounces") == 1
        assert "Check the id" in line

    def test_a_classification_that_nothing_asks_for_is_said(self, call: TMake) -> None:
        ended = call(*START, SOURCES__NP6__CLASSIFICATION="mpp")
        assert ended.returncode == 0
        assert "classification=mpp changes nothing" in ended.stderr
        assert "action_events_hits_mirror" in ended.stderr

    def test_json_is_one_object_with_documented_keys(
        self, call: TMake, warehouse: Any, sandbox: Sandbox
    ) -> None:
        ended = call(*START, "--json")
        assert (ended.returncode, ended.stderr) == (0, "")
        document = json.loads(ended.stdout)
        assert list(document) == DOCUMENT_KEYS
        assert (document["command"], document["exit_status"]) == ("load", 0)
        assert (document["dataset"], document["destination"]) == ("np6", "duckdb")
        assert document["requests"] == document["result"]["windows"][ALL] > 0
        assert list(document["result"]["windows"]) == [ALL]
        assert document["bytes"] > 48 * 100
        assert document["problems"] == []
        assert document["result"]["events_new"] == document["result"]["rows"]["events"] == 48
        with sandbox.faults.during("html"):
            failed = call(*START, "--json")
        document = json.loads(failed.stdout)
        assert list(document) == DOCUMENT_KEYS
        assert (failed.returncode, document["exit_status"]) == (1, 1)
        (problem,) = document["problems"]
        assert (problem["severity"], problem["rule"]) == ("error", "BadAnswer")
        assert problem["resource"] == ALL
        refused = call("--start", "nonsense", "--json")
        document = json.loads(refused.stdout)
        assert list(document) == DOCUMENT_KEYS
        assert (refused.returncode, document["exit_status"], document["result"]) == (2, 2, None)
        named = (document["pipeline"], document["destination"], document["dataset"])
        assert named == (warehouse.name, "duckdb", "np6")
        assert "nonsense" in document["problems"][0]["what"]

    def test_a_range_is_a_backfill_beside_the_cursor(self, call: TMake, warehouse: Any) -> None:
        ended = call(*START, "--end", "2024-03-02T06:00:00Z")
        assert ended.returncode == 0, ended.stderr
        assert warehouse.ids() == EVERY_ID[:30]
        assert warehouse.places(ALL) in ({}, {"places": {}})

    def test_names_for_ids_come_beside_the_events(self, call: TMake, warehouse: Any) -> None:
        ended = call(*START, "--dimensions", "actions", "notifications", "--account", "028")
        assert ended.returncode == 0, ended.stderr
        assert [(row["account"], row["name"]) for row in warehouse.rows("actions")] == [
            ("028", "Action 000AA1")
        ]
        assert warehouse.ids() == EVERY_ID
        assert "actions" in ended.stdout
        # The account of these events has no notifications.
        assert "empty array" in ended.stderr
        again = call("--dimensions", "actions")
        assert again.stdout.startswith("No new events. Complete up to ")
        assert again.stdout.endswith(" Names read: 1 actions.\n")
        refused = call(*START, "--dimensions", "colours")
        assert refused.returncode == 2
        assert "no colours; there are actions" in refused.stderr

    def test_waiting_that_is_asked_for_ends_with_75_and_keeps_what_is_complete(
        self, call: TMake, warehouse: Any, sandbox: Sandbox
    ) -> None:
        with sandbox.faults.during(Fault("status", 429, after=1, retry_after=7200)):
            ended = call(*START, SOURCES__NP6__WINDOW="21600", SOURCES__NP6__CONCURRENCY="1")
        assert ended.returncode == 75
        assert "TryAgainLater" in ended.stderr
        assert "Try again after 2024-03-03 02:00:" in ended.stderr
        assert sandbox.key not in ended.stderr + ended.stdout
        assert warehouse.ids() == EVERY_ID[:6]

    def test_any_other_failure_ends_with_1_and_the_facts(
        self, call: TMake, warehouse: Any, sandbox: Sandbox
    ) -> None:
        with sandbox.faults.during("html"):
            ended = call(*START)
        assert ended.returncode == 1
        assert "BadAnswer: the body is a page of HTML or XML [actions_events" in ended.stderr
        assert ended.stdout == f"Nothing was loaded into np6 of {warehouse.database}.\n"
        assert "Traceback" not in ended.stderr
        assert warehouse.ids() == []

    def test_another_process_at_work_ends_with_75_and_changes_nothing(
        self, call: TMake, warehouse: Any, sandbox: Sandbox
    ) -> None:
        warehouse.pipelines_dir.mkdir()
        with FileLock(warehouse.pipelines_dir / f"{warehouse.name}.np6.lock"):
            ended = call(*START)
        assert ended.returncode == 75
        assert "Another process is running pipeline" in ended.stderr
        assert sandbox.requests == []

    def test_what_is_not_given_comes_from_the_configuration(
        self, call: TMake, warehouse: Any, sandbox: Sandbox
    ) -> None:
        span = {"SOURCES__NP6__START": "2024-03-01", "SOURCES__NP6__END": "2024-03-01T06:00"}
        ended = call(**span)
        assert ended.returncode == 0, ended.stderr
        assert {request.query["start"][:10] for request in sandbox.requests} == {"2024-03-01"}
        (window,) = merged(warehouse.windows(ALL))
        assert str(window) == "[2024-03-01T00:00:00Z, 2024-03-01T06:00:00Z)"

    def test_a_dropped_table_ends_with_1_and_the_option_that_helps(
        self, call: TMake, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        warehouse.run(source_of(sandbox, ALL))
        warehouse.execute("DROP TABLE np6.events")
        ended = call()
        assert ended.returncode == 1
        assert "--reload" in ended.stderr
        ended = call(*START, "--reload")
        assert ended.returncode == 2
        assert "Nobody can be asked here: give --yes to reload" in ended.stderr
        ended = call(*START, "--reload", "--yes")
        assert ended.returncode == 0, ended.stderr
        assert warehouse.ids() == EVERY_ID


class TestSignals:
    @pytest.mark.parametrize(
        ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
    )
    def test_it_ends_behind_the_current_window_and_the_next_call_completes(
        self,
        command_line: Any,
        warehouse: Any,
        serve: TMake,
        event: TMake,
        at: TAt,
        source_of: TMake,
        number: signal.Signals,
        status: int,
    ) -> None:
        sandbox = serve(
            (event(n, at("03-01") + n * HOUR) for n in range(48)), now=at("03-03"), latency=250
        )
        process = command_line.start(
            SCRIPT,
            *command_line.where(warehouse),
            *("--base-url", sandbox.url, "--progress", "none", "--resources", ALL),
            *("--start", "2024-02-20"),
            SOURCES__NP6__API_KEY=sandbox.key,
            SOURCES__NP6__WINDOW="3600",
            SOURCES__NP6__CONCURRENCY="1",
        )
        deadline = time.monotonic() + 100
        while len(sandbox.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        ended = command_line.end_of(process)
        assert ended.returncode == status, ended.stderr
        assert "Stopping after the current window" in ended.stderr
        assert "Traceback" not in ended.stderr
        (covered,) = merged(warehouse.windows(ALL))
        assert covered.start == at("02-20")
        assert covered.end < at("03-03") - 60 * SECOND
        assert warehouse.places(ALL)["places"][""]["until"] == covered.end
        warehouse.load(lambda: source_of(sandbox, ALL, start="2024-02-20", on_error="keep"))
        assert warehouse.ids() == EVERY_ID


class TestScheduler:
    """dlt's scheduler interval, as orchestrators set it."""

    PROGRAM = """
import dlt, sys
from np6_source import np6_source
url, key, folder = sys.argv[1:]
pipeline = dlt.pipeline(
    "np6_test",
    destination=dlt.destinations.duckdb(folder + "/events.duckdb"),
    dataset_name="np6",
    pipelines_dir=folder + "/pipelines",
)
source = np6_source(key, base_url=url, start="2024-03-01", backoff=0.01)
pipeline.run(source.with_resources("actions_events"))
"""

    def run(self, command_line: Any, warehouse: Any, sandbox: Sandbox, **environment: str) -> Any:
        program = command_line.folder / "scheduled.py"
        program.write_text(self.PROGRAM)
        return subprocess.run(
            [sys.executable, str(program), sandbox.url, sandbox.key, str(warehouse.folder)],
            cwd=command_line.folder,
            env=command_line.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_an_interval_is_loaded_exactly(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, at: TAt
    ) -> None:
        ended = self.run(
            command_line,
            warehouse,
            sandbox,
            DLT_INTERVAL_START="2024-03-01T06:00:00Z",
            DLT_INTERVAL_END="2024-03-01T18:00:00Z",
            DLT_ALLOW_EXTERNAL_SCHEDULERS="true",
        )
        assert ended.returncode == 0, ended.stderr
        assert merged(warehouse.windows(ALL)) == [Window(at("03-01T06:00"), at("03-01T18:00"))]
        assert warehouse.ids() == EVERY_ID[6:18]
        assert warehouse.places(ALL).get("places") in (None, {})

    def test_an_interval_of_no_length_is_refused(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox
    ) -> None:
        ended = self.run(
            command_line,
            warehouse,
            sandbox,
            DLT_INTERVAL_START="2024-03-01T06:00:00Z",
            DLT_INTERVAL_END="2024-03-01T06:00:00Z",
            DLT_ALLOW_EXTERNAL_SCHEDULERS="true",
        )
        assert ended.returncode != 0
        assert "is empty" in ended.stderr
        assert sandbox.requests == []

    def test_an_interval_that_nobody_allowed_changes_nothing(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox
    ) -> None:
        ended = self.run(
            command_line,
            warehouse,
            sandbox,
            DLT_INTERVAL_START="2024-03-01T06:00:00Z",
            DLT_INTERVAL_END="2024-03-01T18:00:00Z",
        )
        assert ended.returncode == 0, ended.stderr
        assert warehouse.ids() == EVERY_ID


def test_the_sandbox_command_serves_the_script(
    command_line: Any, warehouse: Any, tmp_path: Any
) -> None:
    ready = tmp_path / "ready"
    process = command_line.start(
        *("-m np6_source.sandbox", "--samples", "--key", "its-key", "--ready-file", str(ready)),
    )
    try:
        deadline = time.monotonic() + 100
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        url = ready.read_text().strip()
        ended = command_line.run(
            SCRIPT,
            *command_line.where(warehouse),
            *("--base-url", url, "--progress", "none", "--action-ids", "000PE4"),
            *("--start", "2021-02-23", "--end", "2021-06-15"),
            SOURCES__NP6__API_KEY="its-key",
            SOURCES__NP6__WINDOW="31536000",
        )
        assert ended.returncode == 0, ended.stderr
        served = requests.get(f"{url}sandbox/statistics", timeout=10).json()["served"]
    finally:
        process.send_signal(signal.SIGTERM)
        stopped = command_line.end_of(process)
    assert stopped.returncode == 0, stopped.stderr
    found = dict(warehouse.query("SELECT type, count(*) FROM np6.events GROUP BY ALL"))
    assert found == served
    # With ids only the resources over them are loaded: no operation of an action has executions.
    assert sum(served.values()) == 8
