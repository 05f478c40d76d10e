"""``np6-source check``: what it finds, that it changes nothing, and the exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from np6_source.__main__ import main
from np6_source.cli.budget import READ_AT_MOST, elements_of
from np6_source.cli.checks.pending import compare
from np6_source.extract.progress import Progress
from np6_source.sandbox import Fault, Sandbox
from np6_source.windows import Window
from tests.support import http_answer

TMake = Callable[..., Any]
HOUR = 3_600_000

TEXT, NUMBER = (str, type(None)), (int, float, type(None))
STEP = {"name": str, "ok": bool, "severity": TEXT, "what": str, "advice": TEXT, "ms": NUMBER}
RESOURCE = {"name": str, "id": TEXT, "status": NUMBER, "ms": NUMBER, "events": NUMBER, "ok": bool}
RESULT = {
    "steps": list,
    "resources": list,
    "clock_difference_s": NUMBER,
    "rate_limit": (dict, type(None)),
    "next": str,
}


def has_shape(value: Any, shape: Mapping[str, Any]) -> bool:
    """Whether an object has these keys, in this order, and values of these types."""
    return list(value) == list(shape) and all(
        isinstance(value[key], kind) for key, kind in shape.items()
    )


@pytest.fixture
def now() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def sandbox(serve: TMake, event: TMake, now: int) -> Sandbox:
    """Three events in the hour that is asked for, of which half is left."""
    started: Sandbox = serve([event(n, now - 26 * HOUR - HOUR // 2 + n) for n in range(3)])
    return started


@pytest.fixture
def check(
    sandbox: Sandbox,
    warehouse: Any,
    command_line: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> TMake:
    """Checks against the sandbox; returns the status and the document, which keeps its schema."""

    def call(*options: str, **environment: str) -> tuple[int, dict[str, Any]]:
        given = {"SOURCES__NP6__API_KEY": sandbox.key, "SOURCES__NP6__BASE_URL": sandbox.url}
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, value in (given | environment).items():
                patch.setenv(name, value)
            status = main(["check", "--json", *command_line.where(warehouse), *options])
        output = capsys.readouterr().out
        document = json.loads(output)
        assert has_shape(document["result"], RESULT)
        assert all(has_shape(one, STEP) for one in document["result"]["steps"])
        assert all(has_shape(one, RESOURCE) for one in document["result"]["resources"])
        assert document["exit_status"] == status
        assert sandbox.key not in output
        return status, document

    return call


def step(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    (found,) = (one for one in document["result"]["steps"] if one["name"] == name)
    return dict(found)


def files(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class TestWhatItFinds:
    def test_all_is_well_and_the_next_command_is_load(
        self, check: TMake, sandbox: Sandbox, warehouse: Any
    ) -> None:
        status, document = check()
        assert (status, document["problems"]) == (0, [])
        assert [one["name"] for one in document["result"]["steps"]] == [
            *("versions", "configuration", "key", "API", "resources"),
            *("destination", "disk", "packages", "policy", "progress"),
        ]
        found = {one["name"]: one["events"] for one in document["result"]["resources"]}
        assert found == {"actions_events": 3, "actions_reactivities": 0}
        assert "the environment variable SOURCES__NP6__API_KEY" in step(document, "key")["what"]
        assert document["result"]["next"].startswith("np6-source load --pipeline np6_test")
        assert len(sandbox.requests) == document["requests"] == 2
        assert not warehouse.database.exists()

    def test_it_changes_neither_the_file_nor_the_pipelines_folder(
        self, check: TMake, sandbox: Sandbox, warehouse: Any, source_of: TMake, now: int
    ) -> None:
        start = now - 72 * HOUR
        warehouse.run(source_of(sandbox, "actions_events", start=start))
        before = files(warehouse.folder)
        status, document = check()
        assert status == 0, document["problems"]
        assert files(warehouse.folder) == before
        assert "dataset np6 is there" in step(document, "destination")["what"]
        assert step(document, "progress")["what"].startswith("as the ledger proves")

    def test_another_policy_than_the_datasets_is_a_problem(
        self, check: TMake, sandbox: Sandbox, warehouse: Any, source_of: TMake, now: int
    ) -> None:
        start = now - 72 * HOUR
        warehouse.run(source_of(sandbox, "actions_events", start=start))
        assert step(check()[1], "policy")["what"] == "everything is kept (pii is not set)"

        key = "a key of the company's, 32 bytes or more"
        status, document = check(SOURCES__NP6__PII="pseudonyms", SOURCES__NP6__PII_KEY=key)

        assert status == 1
        assert "this dataset was loaded under (everything kept)" in step(document, "policy")["what"]
        assert key not in json.dumps(document)

        # Into a dataset that is gone a load may go under any.
        warehouse.database.unlink()
        status, document = check(SOURCES__NP6__PII="pseudonyms", SOURCES__NP6__PII_KEY=key)
        assert (status, step(document, "policy")["ok"]) == (0, True), document["problems"]

    def test_a_key_that_is_refused_is_told_from_an_operation_that_is_not_permitted(
        self, check: TMake, sandbox: Sandbox
    ) -> None:
        status, document = check(SOURCES__NP6__API_KEY="another-key")
        assert status == 1
        assert "key refused (401)" in step(document, "API")["what"]
        advice = "Check the key in the environment variable SOURCES__NP6__API_KEY."
        assert step(document, "API")["advice"] == advice
        assert step(document, "resources")["what"] == "needs the API"
        with sandbox.faults.during(Fault("status", 403, path="/actions/events")):
            status, document = check()
        assert (status, step(document, "API")["ok"]) == (1, True)
        assert {one["name"]: one["ok"] for one in document["result"]["resources"]} == {
            "actions_events": False,
            "actions_reactivities": True,
        }
        with sandbox.faults.during(Fault("status", 403, path="/actions/events")):
            assert check("--resources", "actions_reactivities")[0] == 0

    @pytest.mark.parametrize(
        ("key", "says"),
        [("", "No NP6 API key."), ("<key>", "is a placeholder"), ("'k'", "quotation marks")],
    )
    def test_a_key_that_can_be_none_is_named(self, check: TMake, key: str, says: str) -> None:
        status, document = check(SOURCES__NP6__API_KEY=key)
        assert status == 1
        assert says in step(document, "key")["what"]
        assert step(document, "API")["what"] == "needs the key"
        assert step(document, "destination")["ok"]

    def test_a_key_in_config_toml_is_named(self, command_line: Any, sandbox: Sandbox) -> None:
        file = command_line.folder / ".dlt" / "config.toml"
        file.parent.mkdir()
        file.write_text('[sources.np6]\napi_key = "misplaced"\n')
        done = command_line.run("-m np6_source", "check", "--base-url", sandbox.url)
        assert done.returncode == 1
        assert "config.toml has the key, where dlt takes no secrets" in done.stderr
        assert "misplaced" not in done.stdout + done.stderr

    def test_a_working_folder_that_cannot_be_made_is_a_problem(
        self, check: TMake, tmp_path: Path
    ) -> None:
        file = tmp_path / "file"
        file.write_text("no folder")
        status, document = check("--pipelines-dir", str(file / "pipelines"))
        assert status == 1
        assert f"{file} cannot be written to" in step(document, "packages")["what"]

    def test_a_misspelt_setting_is_named(self, check: TMake) -> None:
        status, document = check(SOURCES__NP6__OVERLAPP="5")
        assert status == 1
        assert "did you mean SOURCES__NP6__OVERLAP?" in step(document, "configuration")["what"]

    @pytest.mark.parametrize("answer", [b"<html></html>", b'{"events": []}', b"[{} {}]"])
    def test_a_body_that_is_no_array_is_a_problem(
        self, check: TMake, raw_server: TMake, answer: bytes
    ) -> None:
        status, document = check(SOURCES__NP6__BASE_URL=raw_server(http_answer(answer)).url)
        assert status == 1
        assert "not with a JSON array" in step(document, "API")["what"]

    def test_events_that_a_load_refuses_are_a_problem(self, check: TMake, sandbox: Sandbox) -> None:
        with sandbox.faults.during(Fault("without_id", 1)):
            status, document = check()
            assert status == 1
            assert "1 of 3 events have no id" in document["problems"][0]["what"]
            assert check(SOURCES__NP6__BAD_EVENTS="keep")[0] == 0

    @pytest.mark.parametrize(
        ("date", "tolerance", "expected"),
        [
            (None, "60", (1, "error")),
            ("Wed, 01 Jan 2020 00:00:00 GMT", "60", (1, "error")),
            ("Wed, 01 Jan 2020 00:00:00 GMT", str(10**9), (0, "warning")),
        ],
    )
    def test_clocks_count_as_a_load_counts_them(
        self, check: TMake, raw_server: TMake, date: str | None, tolerance: str, expected: Any
    ) -> None:
        server = raw_server(http_answer(headers={"Date": date}))
        status, document = check(
            SOURCES__NP6__BASE_URL=server.url, SOURCES__NP6__CLOCK_TOLERANCE=tolerance
        )
        assert (status, step(document, "API")["severity"]) == expected
        assert (document["result"]["clock_difference_s"] is None) == (date is None)

    def test_the_rate_limits_headers_are_shown(self, check: TMake, raw_server: TMake) -> None:
        limits = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "99"}
        server = raw_server(http_answer(headers=limits))
        assert check(SOURCES__NP6__BASE_URL=server.url)[1]["result"]["rate_limit"] == limits


class TestBounds:
    def test_a_long_body_is_not_read_to_its_end(self, check: TMake, raw_server: TMake) -> None:
        body = b'{"id": "a", "timestamp": 1, "text": "%b"}' % (b"x" * 1000)
        server = raw_server(http_answer(b"[" + b",".join([body] * 20_000) + b"]"))
        status, document = check(SOURCES__NP6__BASE_URL=server.url)
        assert status == 0, document["problems"]
        assert document["bytes"] == 2 * READ_AT_MOST
        counts = [one["events"] for one in document["result"]["resources"]]
        assert counts == [READ_AT_MOST // (len(body) + 1)] * 2

    def test_three_ids_of_a_kind_are_tried_and_no_more_requests_than_allowed(
        self, check: TMake, sandbox: Sandbox, event: TMake, now: int
    ) -> None:
        sandbox.account.add_events(
            event(n, now - 90 * HOUR, name) for n, name in enumerate("ABCD", 9)
        )
        ids = ("--resources", "action_events_bounces", "--action-ids", "A", "B", "C", "D")
        _, document = check(*ids)
        assert [one["id"] for one in document["result"]["resources"]] == ["A", "B", "C"]
        sandbox.requests.clear()
        status, document = check(*ids, "--max-requests", "2")
        assert (len(sandbox.requests), status) == (2, 0)
        assert [one["status"] for one in document["result"]["resources"]] == [200, None, None]
        assert {one["severity"] for one in document["problems"]} == {"warning"}

    def test_an_address_given_as_an_id_is_shown_nowhere(self, check: TMake) -> None:
        _, document = check(
            *("--resources", "targets_events_hits_by_unicity"),
            *("--target-unicities", "ann@example.com"),
        )
        assert "ann@" not in json.dumps(document)
        assert document["result"]["resources"][0]["id"].startswith("sha256:")

    def test_after_a_rate_limit_nothing_more_is_sent(self, check: TMake, sandbox: Sandbox) -> None:
        fault = Fault("status", 429, path="/actions/reactivities", retry_after="2")
        names = ("actions_events", "actions_reactivities_hits_open", "actions_reactivities")
        with sandbox.faults.during(fault):
            status, document = check("--resources", *names)
        assert status == 75
        tried = {one["name"]: one["status"] for one in document["result"]["resources"]}
        assert tried == {
            "actions_events": 200,
            "actions_reactivities": 429,
            "actions_reactivities_hits_open": None,
        }
        assert sum(request.status == 429 for request in sandbox.requests) == 1


class TestDestination:
    def test_files_are_written_and_the_folders_made_for_it_go(
        self, check: TMake, tmp_path: Path, command_line: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lake = tmp_path / "lake" / "inner"
        monkeypatch.setattr(
            command_line, "where", lambda _: ["--pipelines-dir", str(tmp_path / "p")]
        )
        status, document = check(
            "--destination", "filesystem", DESTINATION__FILESYSTEM__BUCKET_URL=str(lake)
        )
        assert status == 0, document["problems"]
        assert "can be written to" in step(document, "destination")["what"]
        assert not lake.parent.exists()

    def test_a_file_that_is_no_database_is_a_problem(self, check: TMake, warehouse: Any) -> None:
        warehouse.database.write_bytes(b"no database" * 1000)
        status, document = check()
        assert (status, step(document, "destination")["severity"]) == (1, "error")

    def test_postgresql_is_left_as_it_was(
        self,
        check: TMake,
        postgres_socket: str,
        command_line: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        import psycopg2

        where = ["--pipelines-dir", str(tmp_path / "p"), "--dataset", "np6_check"]
        monkeypatch.setattr(command_line, "where", lambda _: where)
        url = f"postgresql://postgres@/postgres?host={postgres_socket}"
        host = postgres_socket.replace("/", "%2F")
        status, document = check(
            *("--destination", "postgres"),
            DESTINATION__POSTGRES__CREDENTIALS=f"postgresql://postgres:x@{host}/postgres",
        )
        assert status == 0, document["problems"]
        assert "dataset np6_check is to be made" in step(document, "destination")["what"]
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'np6_check%'")
            assert cursor.fetchone() == (0,)


class TestProgress:
    def test_progress_ahead_of_the_ledger_is_shown(self) -> None:
        progress = {("actions_events", ""): Progress(0, 20)}
        found = compare(progress, {("actions_events", ""): [Window(0, 10)]})
        assert (found.severity, found.ok) == ("warning", True)
        assert compare(progress, {("actions_events", ""): [Window(0, 20)]}).severity is None

    @pytest.mark.parametrize("table", ["events", "load_windows"])
    def test_a_table_that_is_gone_is_a_problem_as_for_a_load(
        self, check: TMake, sandbox: Sandbox, warehouse: Any, source_of: TMake, now: int, table: str
    ) -> None:
        warehouse.run(source_of(sandbox, "actions_events", start=now - 72 * HOUR))
        warehouse.execute(f"DROP TABLE np6.{table}")
        status, document = check()
        assert status == 1
        assert f"{table} is gone from dataset 'np6'" in str(document["problems"])

    def test_another_accounts_state_is_a_problem(
        self, check: TMake, sandbox: Sandbox, warehouse: Any, source_of: TMake, now: int
    ) -> None:
        warehouse.run(source_of(sandbox, "actions_events", start=now - 72 * HOUR))
        with Sandbox(sandbox.account, key=sandbox.key) as other:
            status, document = check(SOURCES__NP6__BASE_URL=other.url)
            assert status == 1
            assert "this pipeline's state and tables are of the account" in str(
                document["problems"]
            )
            # A load into a dataset that is gone drops the state.
            warehouse.database.unlink()
            status, document = check(SOURCES__NP6__BASE_URL=other.url)
        assert (status, step(document, "progress")["ok"]) == (0, True), document["problems"]
        assert "the next load begins again" in step(document, "progress")["what"]


class TestStatuses:
    def test_each_status_is_that_of_the_process(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox
    ) -> None:
        def status(*options: str) -> subprocess.CompletedProcess[str]:
            ended: subprocess.CompletedProcess[str] = command_line.run(
                *("-m np6_source", "check", *command_line.where(warehouse)),
                *("--base-url", sandbox.url, *options),
                SOURCES__NP6__API_KEY=sandbox.key,
            )
            assert sandbox.key not in ended.stdout + ended.stderr
            return ended

        well = status()
        assert (well.returncode, well.stderr) == (0, "")
        assert "No problem. Next: np6-source load" in well.stdout
        assert max(map(len, well.stdout.splitlines()[:-1])) <= 100
        assert "did you mean actions_events?" in status("--resources", "actions_event").stderr
        assert status("--max-requests", "0").returncode == 2
        with sandbox.faults.during(Fault("status", 403)):
            failed = status("--quiet")
        assert (failed.returncode, failed.stdout) == (1, "")
        assert "error: actions_events: not permitted (403)" in failed.stderr
        with duckdb.connect(str(warehouse.database)):
            busy = status("--quiet")
        assert busy.returncode == 75, busy.stderr
        assert "destination" in busy.stderr


@pytest.mark.parametrize(
    ("content", "is_whole", "expected"),
    [
        (b"[]", True, ()),
        (b'\xef\xbb\xbf [1, {"a": "]"}] ', True, (1, {"a": "]"})),
        (b"[1, 2", True, None),
        (b"[1, 2", False, (1, 2)),
        (b'[{"a": 1}, {"b', False, ({"a": 1},)),
        (b"[] []", True, None),
        (b"", True, None),
    ],
)
def test_the_elements_of_an_array(content: bytes, is_whole: bool, expected: Any) -> None:
    assert elements_of(content, is_whole) == expected


def test_the_module_is_the_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "np6_source", "check", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Loads nothing and changes nothing" in " ".join(shown.split())


def test_its_advice_is_not_a_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__NP6__API_KEY", "some-key")
    monkeypatch.setenv("SOURCES__NP6__BACKOFF", "0.01")
    where = ["--duckdb-file", str(tmp_path / "x.duckdb"), "--pipelines-dir", str(tmp_path)]
    assert main(["check", "--base-url", "http://127.0.0.1:9/", *where]) == 1
    said = capsys.readouterr().err
    assert "Check the network and base_url." in said
    assert "of the window" not in said
    assert "`np6-source check`" not in said


def test_a_problem_without_advice_goes_to_standard_error_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__NP6__API_KEY", "some-key")
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", "")
    where = ["--duckdb-file", str(tmp_path / "x.duckdb"), "--pipelines-dir", str(tmp_path)]
    assert main(["check", *where]) == 1
    assert "error: settings: base_url '' is not a URL" in capsys.readouterr().err
