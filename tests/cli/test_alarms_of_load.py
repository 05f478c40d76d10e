"""What ``np6-source load`` says of alarms once it has caught up, and whom it tells."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from np6_source.cli.alarms_of_load import alarms_of_load
from np6_source.windows import SECOND
from tests.cli.test_status import HOUR, STOPPED
from tests.support import Warehouse, event

TMake = Callable[..., Any]
ALL = "actions_events"
PACKAGE = """
INSERT INTO np6.load_windows BY NAME
SELECT 'actions_events' AS resource, '' AS scope_id, e - INTERVAL 10 MINUTE AS window_start,
  e AS window_end, e AS requested_at, 7 AS event_count, '{number}' AS _dlt_load_id,
  '{types}' AS type_counts, '{{}}' AS unmapped_paths
FROM (SELECT now() + INTERVAL {number} MINUTE AS e);
INSERT INTO np6._dlt_loads BY NAME
SELECT '{number}' AS load_id, 'np6' AS schema_name, 0 AS status, now() AS inserted_at
"""
"""A load of some minutes later."""


@pytest.fixture
def loaded(warehouse: Warehouse, serve: TMake, source_of: TMake) -> Any:
    """Two days of an event an hour, loaded just now."""
    start = int(time.time()) * SECOND - 48 * HOUR
    sandbox = serve([event(n, start + n * HOUR) for n in range(48)])
    warehouse.run(source_of(sandbox, ALL, start=start))
    return sandbox


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The messages that a channel has received."""
    received: list[str] = []

    class Channel(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body)["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on standard error."""

    with HTTPServer(("127.0.0.1", 0), Channel) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hook = f"http://127.0.0.1:{server.server_port}/a-secret-path"
        monkeypatch.setenv("RUNTIME__SLACK_INCOMING_HOOK", hook)
        yield received
        server.shutdown()
        thread.join()


def test_a_load_prints_alarms_and_fails_on_them_as_asked_for(
    command_line: Any, warehouse: Warehouse, loaded: Any
) -> None:
    warehouse.execute(STOPPED)

    def load(*options: str) -> Any:
        return command_line.run(
            "-m np6_source",
            "load",
            *command_line.where(warehouse),
            *("--resources", ALL, "--base-url", loaded.url, "--progress", "none"),
            *options,
            SOURCES__NP6__API_KEY=loaded.key,
        )

    ended = load()
    assert ended.returncode == 0, ended.stderr
    assert "error: lag: actions_reactivities: complete up to" in ended.stderr
    failed = load("--fail-on", "error", "--quiet")
    assert (failed.returncode, failed.stdout) == (3, "")
    assert "lag: actions_reactivities" in failed.stderr
    document = json.loads(load("--json").stdout)
    assert [(p["severity"], p["rule"]) for p in document["problems"]] == [("error", "lag")]


@pytest.mark.usefixtures("loaded")
def test_slack_hears_of_an_alarm_once(warehouse: Warehouse, slack: list[str]) -> None:
    assert alarms_of_load(warehouse.pipeline) == ()
    assert slack == []
    warehouse.execute(PACKAGE.format(number=1, types='{"dismiss":7}'))
    (alarm,) = alarms_of_load(warehouse.pipeline)
    assert alarm.rule == "unknown"
    assert slack == [f"np6_source, warning: {alarm}"]
    warehouse.execute(PACKAGE.format(number=2, types='{"hit":7}'))
    assert alarms_of_load(warehouse.pipeline) == (alarm,)
    assert len(slack) == 1


@pytest.mark.usefixtures("loaded")
def test_a_channel_that_is_not_there_fails_nothing(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RUNTIME__SLACK_INCOMING_HOOK", "http://127.0.0.1:9/a-secret-path")
    warehouse.execute(PACKAGE.format(number=1, types='{"dismiss":7}'))
    (alarm,) = alarms_of_load(warehouse.pipeline)
    assert alarm.rule == "unknown"
    assert "Slack did not take the message" in caplog.text
    assert "a-secret-path" not in caplog.text


@pytest.fixture
def sentry() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A project's DSN, and the events that it has received."""
    received: list[dict[str, Any]] = []

    class Project(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            lines = gzip.decompress(body).splitlines()
            headers = map(json.loads, lines[1::2])
            for header, line in zip(headers, lines[2::2], strict=False):
                if header.get("type") == "event":
                    received.append(json.loads(line))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on standard error."""

    with HTTPServer(("127.0.0.1", 0), Project) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://public@127.0.0.1:{server.server_port}/1", received
        server.shutdown()
        thread.join()


IN_A_PROCESS = """
import sys, dlt
from np6_source.cli.alarms_of_load import alarms_of_load
from np6_source.windows import SECOND
name, folder, file = sys.argv[1:]
destination = dlt.destinations.duckdb(file)
pipeline = dlt.pipeline(name, destination=destination, dataset_name="np6", pipelines_dir=folder)
print(len(alarms_of_load(pipeline)))
"""


@pytest.mark.usefixtures("loaded")
def test_sentry_hears_of_an_alarm_once(
    warehouse: Warehouse, command_line: Any, sentry: tuple[str, list[dict[str, Any]]]
) -> None:
    dsn, received = sentry

    def look() -> str:
        where = (warehouse.name, str(warehouse.pipelines_dir), str(warehouse.database))
        ended = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS, *where],
            env=command_line.environment | {"RUNTIME__SENTRY_DSN": dsn},
            cwd=command_line.folder,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    warehouse.execute(PACKAGE.format(number=1, types='{"dismiss":7}'))
    assert look() == "1"
    (alarm,) = [one for one in received if "np6_source" in str(one.get("message"))]
    assert alarm["level"] == "warning"
    assert "'dismiss'" in alarm["message"]
    assert alarm["tags"]["np6.rule"] == "unknown"
    warehouse.execute(PACKAGE.format(number=2, types='{"hit":7}'))
    assert look() == "1"
    assert len([one for one in received if "np6_source" in str(one.get("message"))]) == 1
