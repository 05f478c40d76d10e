"""Whatever the API does: a window is loaded whole or not at all, and the message helps.

Every fault strikes the second day of an account whose first day is loaded. The tables and the state
then are what they were; a run behind all of them ends with the tables of an undisturbed load.
"""

from __future__ import annotations

import gzip
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import RequestFailed, SettingError, TryAgainLater
from np6_source.errors import WindowTooLarge
from np6_source.sandbox import Fault, RateLimit, Sandbox, account_from_events
from np6_source.windows import DAY, SECOND, Window, merged

if TYPE_CHECKING:
    from tests.support import Warehouse

ALL = "actions_events"
BY_ID = "action_events_activations"
KEY = "the-secret-key-of-these-tests"
HOUR = 3600 * SECOND
TMake = Callable[..., Any]
TAt = Callable[[str], int]

EVENT = json.dumps({"id": "raw", "timestamp": 1709373600000, "type": "hit"})
"""An event of the second day."""

# Fault, kind of the error, words of the message, whether it came with a status and request id.
FAULTS = {
    "401": ("status=401", "Unauthorized", "Check the key"),
    "403": ("status=403", "Forbidden", "may not call this operation"),
    "404": ("status=404", "NotFound", "status 404"),
    "400": ("status=400", "UnexpectedStatus", "status 400"),
    "405": ("status=405", "UnexpectedStatus", "status 405"),
    "html": ("html", "BadAnswer", "a page of HTML"),
    "object": ("object", "BadAnswer", "a JSON object"),
    "empty": ("empty", "BadAnswer", "the body is empty"),
    "text": ("raw=busy", "BadAnswer", "not JSON"),
    "two arrays": ("raw=[][]", "BadAnswer", "not valid JSON"),
    "an array of numbers": ("raw=[1%2C2]", "BadAnswer", "no usable 'id'"),
    "a nested array": (f"raw=[[{EVENT.replace(',', '%2C')}]]", "BadAnswer", "no usable 'id'"),
    "not an array behind one event": ("raw=[{}] {}", "BadAnswer", ""),
    "cut inside an event": ("cut_event=2", "BadAnswer", "breaks off"),
    "cut behind a comma": ("cut_comma=2", "BadAnswer", "breaks off"),
    "cut behind the bracket": ("cut_byte=1", "BadAnswer", "breaks off"),
    "an event without id": (
        "without_id=3",
        "BadAnswer",
        "event 4 of the response has no usable 'id'",
    ),
    "an event without timestamp": (
        "without_timestamp=0",
        "BadAnswer",
        "event 1 of the response has no usable 'timestamp'",
    ),
    "gzip said but plain": ("gzip_claimed", None, ""),
    "gzip not said": ("gzip_hidden", None, ""),
    "no content type": ("content_type", None, ""),
}


class Begun:
    """An account with two days, the first of which is loaded."""

    def __init__(self, sandbox: Sandbox, warehouse: Warehouse, source_of: TMake) -> None:
        self.sandbox = sandbox
        self.warehouse = warehouse
        self.source_of = source_of
        self.before = self.now()

    def source(self, **options: Any) -> Any:
        """The source of the second day; one window."""
        names = options.pop("names", (ALL,))
        return self.source_of(self.sandbox, *names, **{"concurrency": 1, "attempts": 2} | options)

    def failure_of(self, **options: Any) -> Exception:
        """The error a run ends with."""
        with pytest.raises(PipelineStepFailed) as raised:
            self.warehouse.run(self.source(**options))
        assert KEY not in str(raised.value)
        cause: BaseException | None = raised.value
        while cause is not None and not isinstance(cause, RequestFailed | SettingError):
            cause = cause.__cause__ or cause.__context__
        assert isinstance(cause, Exception), raised.value
        return cause

    def extract(self, **options: Any) -> None:
        """Extracts the second day, and drops what was extracted: nothing is loaded."""
        self.warehouse.pipeline.extract(self.source(**options))
        pipeline = self.warehouse.pipeline
        assert pipeline.has_pending_data
        pipeline.abort_packages()

    def is_as_before(self) -> bool:
        """Whether no progress and no table has changed."""
        return self.now() == self.before

    def now(self) -> Any:
        """State and tables, without what a run remembers beside its progress.

        That is: NP6 did not know an id, the tables' rows were counted.
        """
        warehouse = self.warehouse
        state = json.loads(warehouse.state())
        state["np6"].pop("row_counts", None)
        for resource in state["np6"]["resources"].values():
            resource.pop("unknown_ids", None)
        return (state, warehouse.contents(), warehouse.rows("load_windows"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    from tests.support import Warehouse, at, event

    def source_of(api: Any, *names: str, **options: Any) -> Any:
        from np6_source import np6_source

        settings = {"start": at("03-01"), "backoff": 0.001, "base_url": api.url, **options}
        return np6_source(api.key, **settings).with_resources(*names)

    account = account_from_events(
        event(n, at("03-01") + n * HOUR + 1, action=f"00000{n % 2}") for n in range(47)
    )
    with Sandbox(account, key=KEY, now=at("03-02")) as sandbox:
        warehouse = Warehouse(tmp_path_factory.mktemp("begun"))
        warehouse.run(source_of(sandbox, ALL, BY_ID, action_ids=["000000"]))
        sandbox.now = at("03-03")
        yield Begun(sandbox, warehouse, source_of)


def assert_message_helps(message: str, resource: str = ALL, status: int | None = 200) -> None:
    """It names the resource, the window, the status and NP6's request id, and no key."""
    assert resource in message
    assert re.search(r"window \[2024-03-0\dT[\d:]+Z, 2024-03-0\dT[\d:]+Z\)", message), message
    if status is not None:
        assert f"status {status}" in message
        assert re.search(r"x-request-id [0-9a-f-]{36}", message), message
    assert KEY not in message


broken = {name: fault for name, fault in FAULTS.items() if fault[1]}
harmless = {name: fault for name, fault in FAULTS.items() if not fault[1]}


@pytest.mark.parametrize("name", broken)
def test_a_fault_ends_the_run_and_changes_nothing(begun: Begun, name: str) -> None:
    fault, kind, words = broken[name]
    with begun.sandbox.faults.during(fault):
        failure = begun.failure_of()
    assert type(failure).__name__ == kind
    assert words in str(failure)
    status = re.fullmatch(r"status=(\d+)", fault)
    assert_message_helps(str(failure), status=int(status[1]) if status else 200)
    assert begun.is_as_before()


@pytest.mark.parametrize("name", ["401", "403", "html", "cut behind a comma"])
def test_a_fault_is_reported_and_changes_nothing_where_the_rest_is_kept(
    begun: Begun, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    fault, kind, words = broken[name]
    source = begun.source(on_error="keep")
    with begun.sandbox.faults.during(fault), caplog.at_level(logging.ERROR, "np6_source"):
        begun.warehouse.run(source)
    (failure,) = source.resources[ALL].custom_metrics["failures"]
    assert failure["kind"] == kind
    assert words in failure["message"]
    assert failure["message"] in [record.getMessage() for record in caplog.records]
    assert KEY not in caplog.text
    assert begun.is_as_before()


@pytest.mark.parametrize("name", ["404", "object", "an event without id"])
def test_a_fault_of_an_id_is_named_with_the_id(begun: Begun, name: str) -> None:
    fault, kind, words = broken[name]
    source = begun.source(names=(BY_ID,), action_ids=["000000"], on_error="keep")
    with begun.sandbox.faults.during(Fault.parse(f"{fault},id=000000")):
        begun.warehouse.run(source)
    (failure,) = source.resources[BY_ID].custom_metrics["failures"]
    assert failure["kind"] == kind
    assert "id 000000" in failure["message"]
    assert words in failure["message"] or kind == "NotFound"
    assert_message_helps(failure["message"], BY_ID, 404 if kind == "NotFound" else 200)
    assert begun.is_as_before()


def test_a_refused_key_ends_the_run_for_every_id(begun: Begun) -> None:
    begun.sandbox.requests.clear()
    with begun.sandbox.faults.during("status=401"):
        failure = begun.failure_of(names=(BY_ID,), action_ids=["000000", "000001"])
    assert type(failure).__name__ == "Unauthorized"
    assert len(begun.sandbox.requests) == 1
    assert begun.is_as_before()


def test_a_failed_server_is_tried_again_and_its_window_halved_down_to_a_second(
    begun: Begun,
) -> None:
    begun.sandbox.requests.clear()
    with begun.sandbox.faults.during("status=500"):
        failure = begun.failure_of(attempts=2, window=64)
    assert isinstance(failure, WindowTooLarge)
    assert "even a window of one second fails" in str(failure)
    assert_message_helps(str(failure), status=500)
    # 64 seconds, then two halves each of 64, 32, 16, 8, 4 and 2; each asked for twice at most.
    assert 14 <= len(begun.sandbox.requests) <= 26
    assert begun.is_as_before()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("abort", "closed the connection"),
        ("abort_body=300", "broke off"),
        ("stall=2", "did not answer in time"),
        ("stall_body=2", "broke off"),
        ("status=413", "too large for the API"),
        ("status=504", "the API failed"),
        ("bomb=3", "larger than 100000 bytes"),
    ],
)
def test_a_second_that_still_fails_says_so(begun: Begun, fault: str, words: str) -> None:
    patience = 0.2 if fault.startswith("stall") else 60
    begun.sandbox.requests.clear()
    with begun.sandbox.faults.during(fault):
        failure = begun.failure_of(
            window=1, attempts=1, read_timeout=patience, largest_answer=100_000
        )
    # Of a client that has left it hears when the stall is over: not during the next test.
    until = time.monotonic() + 60
    while not begun.sandbox.requests:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert isinstance(failure, WindowTooLarge)
    assert "even a window of one second fails" in str(failure)
    assert words in str(failure)
    assert_message_helps(str(failure), status=None)
    assert begun.is_as_before()


def test_no_server_at_all_is_unreachable(begun: Begun, raw_server: TMake) -> None:
    server = raw_server()
    port = server.port
    # Nothing listens on a port that was free a moment ago and is reserved by nobody.
    unused = type("Api", (), {"url": f"http://127.0.0.2:{port}/", "key": KEY})
    with pytest.raises(PipelineStepFailed, match="no connection to the API") as raised:
        begun.warehouse.run(begun.source_of(unused, ALL, attempts=2))
    assert KEY not in str(raised.value)
    assert begun.is_as_before()


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_are_refused_and_the_other_host_is_never_asked(
        self, begun: Begun, raw_server: TMake, status: int
    ) -> None:
        other = raw_server()
        fault = Fault("redirect", other.url, status=status)
        with begun.sandbox.faults.during(fault):
            failure = begun.failure_of()
        assert "redirects elsewhere, which is refused" in str(failure)
        assert_message_helps(str(failure), status=status)
        assert other.requests == []
        assert begun.is_as_before()


class TestLimits:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault("status", 429, times=1, retry_after=1),
            Fault("status", 429, times=1, rate_limit_reset=1),
            Fault("status", 503, times=1, retry_after=1),
        ],
        ids=["Retry-After", "X-RateLimit-Reset", "503"],
    )
    def test_a_short_wait_is_waited(self, begun: Begun, fault: Fault) -> None:
        with begun.sandbox.faults.during(fault):
            started = time.monotonic()
            begun.extract(attempts=3)
            assert 1 <= time.monotonic() - started < 20
        assert begun.is_as_before()

    @pytest.mark.parametrize(
        "fault",
        [
            Fault("status", 429, retry_after=7200),
            Fault("status", 429, retry_after="date:7200"),
            Fault("status", 429, rate_limit_reset="epoch:7200"),
            Fault("status", 503, retry_after=7200),
        ],
        ids=["seconds", "date", "reset", "maintenance"],
    )
    def test_a_long_wait_is_left_to_a_later_run(self, begun: Begun, fault: Fault) -> None:
        begun.sandbox.requests.clear()
        started = time.monotonic()
        with begun.sandbox.faults.during(fault):
            failure = begun.failure_of(longest_wait=60)
        assert time.monotonic() - started < 20
        assert isinstance(failure, TryAgainLater)
        assert len(begun.sandbox.requests) == 1
        wait = failure.resume_at - datetime(2024, 3, 3, tzinfo=timezone.utc)
        assert 7190 <= wait.total_seconds() <= 7210
        assert f"Try again after {failure.resume_at:%Y-%m-%d %H:%M:%S} UTC" in str(failure)
        assert_message_helps(str(failure), status=int(fault.number))
        assert begun.is_as_before()


@pytest.mark.parametrize("name", harmless)
def test_what_only_the_headers_get_wrong_is_read(begun: Begun, name: str) -> None:
    with begun.sandbox.faults.during(harmless[name][0]):
        begun.extract()
    assert begun.is_as_before()


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"[]")[:-6], gzip.compress(b"[]" * 500)[:20], b"\x1f\x8b" + b"nonsense" * 9],
    ids=["no end", "half", "nonsense"],
)
def test_broken_gzip_is_an_error(begun: Begun, body: bytes) -> None:
    with begun.sandbox.faults.during(Fault("raw", body)):
        failure = begun.failure_of()
    assert "gzip is broken" in str(failure)
    assert_message_helps(str(failure))
    assert begun.is_as_before()


def test_behind_all_these_faults_a_run_ends_as_if_there_had_been_none(
    begun: Begun, new_warehouse: TMake
) -> None:
    begun.warehouse.run(begun.source(names=(ALL, BY_ID), action_ids=["000000"]))
    undisturbed = new_warehouse()
    undisturbed.run(begun.source(names=(ALL, BY_ID), action_ids=["000000"]))
    assert begun.warehouse.contents() == undisturbed.contents()
    assert len(begun.warehouse.ids()) == 47
    for resource, scope in ((ALL, ""), (BY_ID, "000000")):
        (covered,) = merged(begun.warehouse.windows(resource, scope))
        (other,) = merged(undisturbed.windows(resource, scope))
        assert covered.start == other.start
        assert abs(covered.end - other.end) <= 5 * SECOND


class TestTooLarge:
    """What the API cannot answer is asked for in halves."""

    @pytest.mark.parametrize(
        "fault",
        ["oversize=10", "oversize=10,status=504", "oversize=10,status=500"],
    )
    def test_windows_are_halved_until_they_pass_and_cover_exactly(
        self,
        warehouse: Warehouse,
        serve: TMake,
        source_of: TMake,
        event: TMake,
        at: TAt,
        fault: str,
    ) -> None:
        # 40 events in four minutes of one hour, few elsewhere.
        times = [at("03-01T12:00") + n * 6 * SECOND for n in range(40)]
        times += [at("03-01") + n * 2 * HOUR for n in range(12)]
        sandbox = serve(event(n, ms) for n, ms in enumerate(times))
        with sandbox.faults.during(fault):
            warehouse.run(source_of(sandbox, ALL, end=at("03-02"), attempts=2))
        assert sandbox.fault_counts["oversize"] > 1
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(52)]
        assert merged(warehouse.windows(ALL)) == [Window(at("03-01"), at("03-02"))]
        assert sum(w.width for w in warehouse.windows(ALL)) == DAY
        assert sum(row["event_count"] for row in warehouse.rows("load_windows")) == 52

    def test_an_answer_over_the_limit_is_asked_for_in_halves(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve(event(n, at("03-01T12:00") + n * SECOND) for n in range(60))
        source = source_of(sandbox, ALL, end=at("03-02"), largest_answer=10_000)
        warehouse.run(source)
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(60)]
        assert all(row["byte_count"] <= 10_000 for row in warehouse.rows("load_windows"))
        assert sum(w.width for w in warehouse.windows(ALL)) == DAY

    def test_what_is_complete_before_the_failing_window_is_kept(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(24)), now=at("03-02"))
        options = {"window": 6 * 3600, "concurrency": 1, "on_error": "keep"}
        with sandbox.faults.during(Fault("status", 403, after=1)):
            source = source_of(sandbox, ALL, **options)
            warehouse.run(source)
        assert len(source.resources[ALL].custom_metrics["failures"]) == 1
        (covered,) = merged(warehouse.windows(ALL))
        assert covered.start == at("03-01")
        assert covered.end == at("03-01T06:00")
        inside = [n for n in range(24) if at("03-01") + n * HOUR < covered.end]
        assert warehouse.ids() == [f"event-{n:05d}" for n in inside]
        assert warehouse.places(ALL)["places"][""]["until"] == covered.end
        warehouse.run(source_of(sandbox, ALL, **options))
        assert warehouse.ids() == [f"event-{n:05d}" for n in range(24)]


def test_a_rate_limit_slows_a_run_down_and_fails_nothing(
    warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
) -> None:
    sandbox = serve(
        (event(n, at("03-01") + n * HOUR) for n in range(24)),
        rate_limit=RateLimit(4, seconds=0.5),
    )
    warehouse.run(source_of(sandbox, ALL, end=at("03-02"), window=3 * 3600, attempts=8))
    assert warehouse.ids() == [f"event-{n:05d}" for n in range(24)]


def test_an_outage_passes_if_it_is_shorter_than_the_attempts(
    warehouse: Warehouse, serve: TMake, source_of: TMake, event: TMake, at: TAt
) -> None:
    sandbox = serve(event(n, at("03-01") + n * HOUR) for n in range(24))
    faults = ["status=503,times=2", "abort,times=1", "abort_body=100,times=1", "status=429,times=1"]
    with sandbox.faults.during(*faults):
        warehouse.run(source_of(sandbox, ALL, end=at("03-02"), attempts=6))
    assert set(sandbox.fault_counts) == {"status", "abort", "abort_body"}
    assert warehouse.ids() == [f"event-{n:05d}" for n in range(24)]
    assert merged(warehouse.windows(ALL)) == [Window(at("03-01"), at("03-02"))]


@pytest.mark.parametrize("resource", ["target_events", "targets_events_hits_by_unicity"])
def test_an_id_that_is_no_unicode_stops_no_other(
    warehouse: Any, raw_server: TMake, source_of: TMake, resource: str
) -> None:
    name = "target_ids" if resource == "target_events" else "target_unicities"
    ids = ["CON00001", "bad\udcff", "CON00002"]
    source = source_of(raw_server(), resource, end="2024-03-02", on_error="keep", **{name: ids})
    warehouse.run(source)
    (failure,) = source.resources[resource].custom_metrics["failures"]
    assert failure["kind"] == "ExchangeFailed"
    shown = "id bad\\udcff" if resource == "target_events" else "id sha256:"
    assert shown in failure["message"]
    assert len({row["scope_id"] for row in warehouse.rows("load_windows")}) == 2
