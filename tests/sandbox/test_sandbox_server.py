"""The server: life cycle, clock, compression, limits, what it remembers and counts."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from np6_source.sandbox import (
    Account,
    RateLimit,
    Sandbox,
    StoredAccount,
    mass_mailing_account,
)

PATH = "/actions/events"


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "np6-sandbox" in thread.name]


class TestLife:
    def test_it_listens_as_soon_as_it_has_started(self, five: StoredAccount, call: Any) -> None:
        with Sandbox(five) as sandbox:
            assert sandbox.url.startswith("http://127.0.0.1:")
            assert call(sandbox, PATH).status_code == 200

    def test_it_leaves_nothing_behind(self, five: StoredAccount, call: Any) -> None:
        sandbox = Sandbox(five).start()
        url = sandbox.url
        call(sandbox, PATH)
        sandbox.stop()
        sandbox.stop()
        assert threads() == []
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=1)
        with pytest.raises(RuntimeError, match="not running"):
            assert sandbox.url

    def test_it_can_start_again(self, five: StoredAccount, call: Any) -> None:
        sandbox = Sandbox(five)
        for _ in range(2):
            with sandbox:
                assert call(sandbox, PATH).status_code == 200
                with pytest.raises(RuntimeError, match="already"):
                    sandbox.start()

    def test_it_ends_at_once_in_the_midst_of_answers(self, five: StoredAccount) -> None:
        big = mass_mailing_account(300_000, stored=False)
        with Sandbox(big) as sandbox:
            streams = [
                requests.get(
                    sandbox.url.rstrip("/") + PATH,
                    headers={"X-Key": sandbox.key, **headers},
                    stream=True,
                    timeout=10,
                )
                for headers in ({}, {"Accept-Encoding": "identity"})
            ]
            sandbox.faults.append("stall=60")
            address, key = sandbox.url.rstrip("/") + PATH, sandbox.key

            def wait_for_an_answer() -> None:
                with pytest.raises(requests.ConnectionError):
                    requests.get(address, headers={"X-Key": key}, timeout=50)

            waiting = threading.Thread(target=wait_for_an_answer)
            waiting.start()
            while not sandbox.fault_counts:
                time.sleep(0.01)
            started = time.monotonic()
        # Less than the answer takes, however busy the machine is.
        assert time.monotonic() - started < 20
        waiting.join(30)
        assert not waiting.is_alive()
        assert threads() == []
        for stream in streams:
            stream.close()

    def test_a_client_that_leaves_is_recorded_and_forgotten(self, call: Any) -> None:
        with Sandbox(mass_mailing_account(200_000, stored=False)) as sandbox:
            with requests.get(
                sandbox.url.rstrip("/") + PATH,
                headers={"X-Key": sandbox.key, "Accept-Encoding": "identity"},
                stream=True,
                timeout=10,
            ) as stream:
                next(stream.iter_content(1000))
            until = time.monotonic() + 60
            while not sandbox.requests and time.monotonic() < until:
                time.sleep(0.01)
            (request,) = sandbox.requests
            assert request.byte_count < 200_000_000
            assert sandbox.statistics()["served"] == {}
            assert call(sandbox, PATH, end=0).json() == []

    @pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
    def test_only_this_machine_can_reach_it(self, host: str, five: StoredAccount) -> None:
        with pytest.raises(ValueError, match="loopback"):
            Sandbox(five, host=host)

    def test_a_taken_port_is_an_error(self, five: StoredAccount) -> None:
        with Sandbox(five) as sandbox:
            port = int(sandbox.url.rsplit(":", 1)[1].rstrip("/"))
            with pytest.raises(OSError, match=str(port)):
                Sandbox(five, port=port).start()


class TestClock:
    def test_date_follows_the_clock(self, five: StoredAccount, serve: Any, call: Any) -> None:
        sandbox = serve(five)
        for now in (
            datetime(2024, 5, 6, 7, 8, 9),
            datetime(2024, 5, 6, 9, 8, 9, tzinfo=timezone(timedelta(hours=2))),
            1714979289000,
            "2024-05-06T07:08:09Z",
            lambda: 1714979289000,
        ):
            sandbox.now = now
            assert sandbox.now == datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
            assert call(sandbox, PATH).headers["Date"] == "Mon, 06 May 2024 07:08:09 GMT"

    def test_clock_can_run_ahead_or_behind(
        self, five: StoredAccount, serve: Any, call: Any
    ) -> None:
        sandbox = serve(five, now=timedelta(hours=-3))
        date = parsedate_to_datetime(call(sandbox, PATH).headers["Date"])
        behind = datetime.now(timezone.utc) - date
        assert timedelta(hours=2, minutes=59) < behind < timedelta(hours=3, minutes=1)
        sandbox.now = None
        assert abs(sandbox.now - datetime.now(timezone.utc)) < timedelta(minutes=1)


class TestCompression:
    def get(self, sandbox: Sandbox, accepted: str) -> requests.Response:
        return requests.get(
            sandbox.url.rstrip("/") + PATH,
            headers={"X-Key": sandbox.key, "Accept-Encoding": accepted},
            timeout=10,
        )

    def test_only_for_clients_that_accept_it(self, five: StoredAccount, serve: Any) -> None:
        sandbox = serve(five)
        for accepted, encoding in (("gzip, br", "gzip"), ("identity", None), ("gzip;q=0", None)):
            answer = self.get(sandbox, accepted)
            assert answer.headers.get("Content-Encoding") == encoding
            assert len(answer.json()) == 5

    def test_can_be_switched_off(self, five: StoredAccount, serve: Any) -> None:
        assert "Content-Encoding" not in self.get(serve(five, gzip=False), "gzip").headers


class TestLimits:
    def test_beyond_the_limit_is_429_with_headers(
        self, five: StoredAccount, serve: Any, call: Any
    ) -> None:
        sandbox = serve(five, rate_limit="2/minute")
        answers = [call(sandbox, PATH) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [a.headers["X-RateLimit-Limit"] for a in answers] == ["2"] * 3
        assert [a.headers["X-RateLimit-Remaining"] for a in answers] == ["1", "0", "0"]
        assert 50 < int(answers[-1].headers["X-RateLimit-Reset"]) <= 60

    def test_waiting_for_the_reset_helps(
        self, five: StoredAccount, serve: Any, call: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moments = iter([1.0, 1.2, 1.31])
        clock = SimpleNamespace(monotonic=lambda: next(moments))
        monkeypatch.setattr("np6_source.sandbox.limits.time", clock)
        sandbox = serve(five, rate_limit=RateLimit(1, seconds=0.3))
        assert [call(sandbox, PATH).status_code for _ in range(3)] == [200, 429, 200]

    def test_reset_as_epoch_and_no_headers(
        self, five: StoredAccount, serve: Any, call: Any
    ) -> None:
        epoch = serve(five, rate_limit=RateLimit(9, 60, reset="epoch"), now=1_000_000)
        assert int(call(epoch, PATH).headers["X-RateLimit-Reset"]) in (1059, 1060)
        silent = serve(five, rate_limit=RateLimit(9, headers=False))
        assert "X-RateLimit-Limit" not in call(silent, PATH).headers

    def test_latency_in_milliseconds(self, five: StoredAccount, serve: Any, call: Any) -> None:
        sandbox = serve(five, latency=150)
        started = time.monotonic()
        call(sandbox, PATH)
        assert time.monotonic() - started >= 0.15


class TestRecords:
    def test_requests_are_recorded_whole(
        self, samples: StoredAccount, serve: Any, call: Any
    ) -> None:
        sandbox = serve(samples)
        first = call(sandbox, PATH, sort="asc", start="2021-01-01T00:00:00Z")
        call(sandbox, "/campaigns/none/events", body={"itemsEvents": []})
        call(sandbox, PATH, {"X-Key": "wrong"})
        known, unknown, wrong = sandbox.requests
        assert (known.method, known.path, known.status) == ("GET", PATH, 200)
        assert known.query == {"sort": "asc", "start": "2021-01-01T00:00:00Z"}
        assert known.headers["x-key"] == known.headers["X-KEY"] == sandbox.key
        assert (known.event_count, known.byte_count) == (9, len(first.content))
        assert known.request_id == first.headers["x-request-id"]
        assert (unknown.method, unknown.body, unknown.status) == ("POST", {"itemsEvents": []}, 404)
        assert (wrong.status, wrong.event_count, wrong.byte_count) == (401, 0, 0)

    def test_a_record_is_there_when_the_answer_is(
        self, five: StoredAccount, serve: Any, call: Any
    ) -> None:
        sandbox = serve(five)
        for count in range(1, 40):
            call(sandbox, PATH)
            assert len(sandbox.requests) == count


class TestStatistics:
    def test_served_events_count_once(self, samples: StoredAccount, serve: Any, call: Any) -> None:
        sandbox = serve(samples)
        everything = {
            "activation": 1,
            "bounce": 2,
            "cancellation": 2,
            "execution": 1,
            "hit": 3,
        }
        call(sandbox, "/actions/000PE4/events/bounces")
        call(sandbox, "/actions/reactivities")
        answer = requests.get(sandbox.url + "sandbox/statistics", timeout=10)
        assert answer.json() == {
            "requests": 2,
            "served": {"bounce": 2, "hit": 3},
            "account": everything,
            "faults": {},
        }
        call(sandbox, PATH, sort="desc")
        assert sandbox.statistics()["served"] == everything

    def test_spoiled_answers_do_not_count(self, five: StoredAccount, serve: Any, call: Any) -> None:
        sandbox = serve(five)
        call(sandbox, PATH, {"X-Sandbox-Fault": "cut_comma"})
        call(sandbox, PATH, {"X-Sandbox-Fault": "status=500"})
        assert sandbox.statistics()["served"] == {}
        assert sandbox.statistics()["faults"] == {"cut_comma": 1, "status": 1}

    def test_events_added_later_were_not_served(
        self, five: StoredAccount, event: Any, serve: Any, call: Any
    ) -> None:
        sandbox = serve(five)
        call(sandbox, PATH)
        five.add_events([event(9, 2500)])
        assert sandbox.statistics()["served"] == {"activation": 5}
        call(sandbox, PATH)
        assert sandbox.statistics()["served"] == {"activation": 6}


class TestLoad:
    def test_requests_at_once_each_get_their_own_events(
        self, generated: Account, serve: Any, call: Any
    ) -> None:
        sandbox = serve(generated)
        contacts = generated.example_ids("contact_id", 40)

        def events(contact: str) -> int:
            answer = requests.get(
                f"{sandbox.url}targets/{contact}/events",
                headers={"X-Key": sandbox.key},
                timeout=20,
            )
            return len(answer.json())

        with ThreadPoolExecutor(12) as pool:
            counts = list(pool.map(events, contacts))
        assert counts == [request_count(generated, contact) for contact in contacts]

    def test_large_answers_are_whole(self, serve: Any, call: Any) -> None:
        sandbox = serve(mass_mailing_account(10_000))
        for encoding in ("identity", "gzip"):
            answer = call(sandbox, PATH, {"Accept-Encoding": encoding}, sort="asc")
            events = json.loads(answer.content)
            assert len({event["id"] for event in events}) == 10_000
            times = [event["timestamp"] for event in events]
            assert times == sorted(times)
            assert len(answer.content) == sandbox.requests[-1].byte_count


def request_count(account: Account, contact: str) -> int:
    row = (
        account.connection.cursor()
        .execute("SELECT count(*) FROM events WHERE contact_id = ?", [contact])
        .fetchone()
    )
    assert row is not None
    count: int = row[0]
    return count
