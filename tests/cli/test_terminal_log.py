"""What of the log is on the terminal: one line per cause and minute; with ``--debug`` all of it."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.cli.terminal_log import OncePerCause, without_traceback
from np6_source.sandbox import Fault, Sandbox
from tests.support import at, event

ADDRESS = "person1@example.com"
DOWN = "http://127.0.0.1:9/"
START = ("--start", "2024-03-01")
TMake = Callable[..., Any]


class Clock:
    """Seconds that a test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(out: io.StringIO, clock: Clock) -> logging.Logger:
    logger = logging.Logger("np6_source.of_this_test")
    logger.addHandler(OncePerCause(out, clock))
    return logger


def test_what_dlt_logs_of_a_job_that_failed_has_no_traceback(
    log: logging.Logger, out: io.StringIO
) -> None:
    log.addFilter(without_traceback)
    try:
        raise ValueError("no such column")
    except ValueError:
        log.exception("Terminal exception in job %s", "events.sql")
        trace = logging.Formatter().formatException(sys.exc_info())
    log.error(f"Job for events.sql failed terminally with message {trace} 100%")
    assert out.getvalue().splitlines() == [
        "ERROR Terminal exception in job events.sql",
        "ERROR Job for events.sql failed terminally with message",
    ]


def test_a_cause_is_said_at_once_then_counted_each_minute(
    log: logging.Logger, out: io.StringIO, clock: Clock
) -> None:
    for second in range(0, 130, 10):
        clock.seconds = second
        for window in ("first", "second"):
            log.warning("%s: no connection", window, extra={"cause": "no connection"})
    assert out.getvalue().splitlines() == [
        "WARNING first: no connection",
        "WARNING first: no connection (11 more like it in the last minute)",
        "WARNING first: no connection (11 more like it in the last minute)",
    ]


def test_another_cause_and_what_has_none_are_said_in_between(
    log: logging.Logger, out: io.StringIO
) -> None:
    log.warning("no connection", extra={"cause": "no connection"})
    log.warning("no connection", extra={"cause": "no connection"})
    log.warning("status 503", extra={"cause": "status 503"})
    log.warning("a field without a column")
    log.warning("a field without a column")
    assert [line.removeprefix("WARNING ") for line in out.getvalue().splitlines()] == [
        "no connection",
        "status 503",
        "a field without a column",
        "a field without a column",
    ]


class TestLoad:
    """The script, against an API that fails."""

    @pytest.fixture
    def sandbox(self, serve: TMake) -> Sandbox:
        sandbox: Sandbox = serve([event(1, at("03-01T10:00"))], now=at("03-03"))
        return sandbox

    @pytest.fixture
    def call(self, command_line: Any, warehouse: Any, sandbox: Sandbox) -> TMake:
        def call(url: str, *options: str, **environment: str) -> Any:
            return command_line.run(
                "np6_to_duckdb",
                *command_line.where(warehouse),
                *("--base-url", url, "--progress", "none", *options),
                SOURCES__NP6__API_KEY=sandbox.key,
                SOURCES__NP6__WINDOW="3600",
                **environment,
            )

        return call

    def test_an_api_that_is_down_is_one_line_and_the_failure(self, call: TMake) -> None:
        ended = call(DOWN, *START, "--end", "2024-03-02")
        assert ended.returncode == 1
        retry, failure = ended.stderr.splitlines()
        assert retry.startswith("WARNING no connection to the API: the host refuses it")
        assert "Attempt 1 of 5; the next in" in retry
        assert failure.startswith("Unreachable: no connection to the API")
        assert ended.stdout.startswith("Nothing was loaded into np6 of ")
        assert ended.stdout.count("\n") == 1

    def test_quiet_leaves_out_what_is_tried_again(self, call: TMake) -> None:
        ended = call(DOWN, *START, "--end", "2024-03-02", "--quiet")
        assert (ended.returncode, ended.stdout) == (1, "")
        (failure,) = ended.stderr.splitlines()
        assert failure.startswith("Unreachable: no connection to the API")

    def test_debug_shows_each_attempt(self, call: TMake) -> None:
        ended = call(DOWN, *START, "--end", "2024-03-02", "--debug")
        for attempt in range(1, 5):
            assert ended.stderr.count(f"Attempt {attempt} of 5; the next in") > 1
        assert ended.stderr.count("DEBUG GET [actions_events, window [2024-03-01T00:00:00Z, ") > 1

    def test_debug_shows_requests_retries_windows_and_no_key_or_address(
        self, call: TMake, sandbox: Sandbox
    ) -> None:
        faults = (Fault("status", 503, times=2), Fault("status", 413, times=1, after=3))
        with sandbox.faults.during(*faults):
            ended = call(
                sandbox.url,
                *(*START, "--end", "2024-03-01T02:00:00Z", "--debug"),
                *("--target-unicities", ADDRESS),
                *("--resources", "targets_events_hits_by_unicity,actions_events"),
            )
        assert ended.returncode == 0, ended.stderr
        said = ended.stderr
        window = "window [2024-03-01T00:00:00Z, 2024-03-01T01:00:00Z)"
        assert f"DEBUG GET [actions_events, {window}]" in said
        assert f"DEBUG actions_events: {window} is complete, 0 events." in said
        assert "Attempt 1 of 5; the next in" in said
        assert "status 503" in said
        assert "DEBUG Requests its halves instead: " in said
        assert " bytes in " in said
        assert "status 200, x-request-id " in said
        assert "id sha256:" in said
        for secret in (sandbox.key, ADDRESS, "person1"):
            assert secret not in said + ended.stdout
