"""Faults: what each does to an answer, and which requests it strikes."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from np6_source.sandbox import Fault, Sandbox, StoredAccount, account_from_events

PATH = "/actions/events"


@pytest.fixture
def sandbox(five: StoredAccount, serve: Any) -> Sandbox:
    running: Sandbox = serve(five)
    return running


def struck(sandbox: Sandbox, call: Any, fault: Fault | str, **query: Any) -> requests.Response:
    """The answer to a request that one fault strikes, and that it is counted."""
    before = sum(sandbox.fault_counts.values())
    with sandbox.faults.during(fault):
        answer: requests.Response = call(sandbox, PATH, sort="asc", **query)
    assert sum(sandbox.fault_counts.values()) == before + 1
    return answer


def raw_body(sandbox: Sandbox, encoding: str = "gzip") -> bytes:
    """The body as it came over the wire."""
    with requests.get(
        sandbox.url.rstrip("/") + PATH,
        params={"sort": "asc"},
        headers={"X-Key": sandbox.key, "Accept-Encoding": encoding},
        stream=True,
        timeout=10,
    ) as answer:
        body: bytes = answer.raw.read(decode_content=False)
        return body


class TestStatus:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503, 504])
    def test_status_without_body(self, status: int, sandbox: Sandbox, call: Any) -> None:
        answer = struck(sandbox, call, Fault("status", status))
        assert (answer.status_code, answer.content) == (status, b"")
        assert answer.headers["x-request-id"]

    def test_retry_after_in_seconds(self, sandbox: Sandbox, call: Any) -> None:
        answer = struck(sandbox, call, "status=429,retry_after=7")
        assert answer.headers["Retry-After"] == "7"

    def test_retry_after_as_date_follows_the_sandboxes_clock(
        self, sandbox: Sandbox, call: Any
    ) -> None:
        sandbox.now = "2024-02-29T12:00:00Z"
        answer = struck(sandbox, call, "status=503,retry_after=date:90")
        assert answer.headers["Retry-After"] == "Thu, 29 Feb 2024 12:01:30 GMT"

    def test_rate_limit_reset(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.now = 1_000_000
        seconds = struck(sandbox, call, "status=429,rate_limit_reset=3")
        epoch = struck(sandbox, call, "status=429,rate_limit_reset=epoch:3")
        assert seconds.headers["X-RateLimit-Reset"] == "3"
        assert epoch.headers["X-RateLimit-Reset"] == "1003"

    def test_redirect_to_another_name_of_the_same_server(self, sandbox: Sandbox, call: Any) -> None:
        answer = struck(sandbox, call, "redirect")
        port = sandbox.url.rsplit(":", 1)[1].rstrip("/")
        assert answer.status_code == 302
        assert answer.headers["Location"] == f"http://localhost:{port}{PATH}?sort=asc"

    def test_redirect_elsewhere(self, sandbox: Sandbox, call: Any) -> None:
        answer = struck(sandbox, call, Fault("redirect", "http://127.0.0.1:9/", status=308))
        assert answer.status_code == 308
        assert answer.headers["Location"].startswith("http://127.0.0.1:9/actions/events")


class TestBody:
    def test_a_body_can_be_empty(self, sandbox: Sandbox, call: Any) -> None:
        answer = struck(sandbox, call, "empty")
        assert (answer.status_code, answer.content) == (200, b"")

    def test_a_body_can_be_a_page(self, sandbox: Sandbox, call: Any) -> None:
        answer = struck(sandbox, call, "html")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.text.startswith("<!DOCTYPE html>")

    def test_a_body_can_be_an_object(self, sandbox: Sandbox, call: Any) -> None:
        assert isinstance(struck(sandbox, call, "object").json(), dict)
        assert struck(sandbox, call, Fault("object", '{"events": []}')).json() == {"events": []}

    @pytest.mark.parametrize("fault", [Fault("raw", b'[{"id":"\xff"},]'), 'raw=[{"id":"%ff"}%2C]'])
    def test_a_body_can_be_any_bytes(self, fault: Fault | str, sandbox: Sandbox, call: Any) -> None:
        assert struck(sandbox, call, fault).content == b'[{"id":"\xff"},]'

    @pytest.mark.parametrize("size", [0, 1, 2, 100])
    def test_cut_at_a_byte_looks_complete(self, size: int, sandbox: Sandbox, call: Any) -> None:
        whole = call(sandbox, PATH, sort="asc").content
        answer = struck(sandbox, call, Fault("cut_byte", size))
        assert answer.status_code == 200
        assert answer.content == whole[:size]

    def test_cut_inside_an_event(self, sandbox: Sandbox, call: Any) -> None:
        text = struck(sandbox, call, "cut_event=2").text
        assert text.count('"id":"event-') == 3
        assert not text.endswith(("]", ",", "}"))

    def test_cut_after_a_comma(self, sandbox: Sandbox, call: Any) -> None:
        text = struck(sandbox, call, "cut_comma=2").text
        assert text.endswith("},")
        assert [found["id"] for found in json.loads(text[:-1] + "]")] == ["event-1", "event-2"]

    def test_cut_reaches_every_answer(self, serve: Any, call: Any, event: Any) -> None:
        one = serve(account_from_events([event(1, 1)]))
        assert struck(one, call, "cut_event=9").text.count("{") > 0
        assert struck(one, call, "cut_comma=9").text.endswith("},")
        nothing = serve(account_from_events([]))
        assert struck(nothing, call, "cut_event").text == "["

    @pytest.mark.parametrize("key", ["id", "timestamp", "type"])
    def test_an_event_can_lack_a_key(self, key: str, sandbox: Sandbox, call: Any) -> None:
        events = struck(sandbox, call, Fault(f"without_{key}", 2)).json()  # type: ignore[arg-type]
        assert [key in event for event in events] == [True, True, False, True, True]

    def test_the_first_events_come_twice(self, sandbox: Sandbox, call: Any) -> None:
        events = struck(sandbox, call, "duplicate=2").json()
        assert [e["timestamp"] for e in events] == [1000, 1000, 2000, 2000, 3000, 4000, 5000]

    def test_unsorted_in_spite_of_sort(self, sandbox: Sandbox, call: Any) -> None:
        times = [event["timestamp"] for event in struck(sandbox, call, "unsorted").json()]
        assert sorted(times) == [1000, 2000, 3000, 4000, 5000] != times

    def test_event_of_the_future(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.now = 50_000
        events = struck(sandbox, call, "future=60").json()
        assert len(events) == 6
        assert events[-1]["timestamp"] == 110_000
        assert len({event["id"] for event in events}) == 6
        nothing = struck(sandbox, call, "future=60", end=0).json()
        assert [event["timestamp"] for event in nothing] == [110_000]

    def test_the_content_type_can_be_left_out_or_another(self, sandbox: Sandbox, call: Any) -> None:
        assert "Content-Type" not in struck(sandbox, call, "content_type").headers
        other = struck(sandbox, call, "content_type=text/plain")
        assert other.headers["Content-Type"] == "text/plain"
        assert len(other.json()) == 5


class TestOversize:
    def test_wide_windows_fail_and_narrow_ones_pass(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.faults.append(Fault("oversize", 3))
        assert call(sandbox, PATH).status_code == 413
        assert len(call(sandbox, PATH, end=4000).json()) == 3
        assert sandbox.fault_counts["oversize"] == 1

    @pytest.mark.parametrize("status", [500, 504])
    def test_wide_windows_fail_with_the_status_that_is_given(
        self, status: int, sandbox: Sandbox, call: Any
    ) -> None:
        answer = struck(sandbox, call, f"oversize=4,status={status}")
        assert answer.status_code == status


class TestConnection:
    def test_aborted_before_any_answer(self, sandbox: Sandbox, call: Any) -> None:
        with pytest.raises(requests.ConnectionError):
            struck(sandbox, call, "abort")
        assert [request.status for request in sandbox.requests] == [0]

    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    def test_aborted_inside_the_body(self, encoding: str, sandbox: Sandbox, call: Any) -> None:
        sandbox.faults.append("abort_body=300")
        received: list[bytes] = []
        answer = requests.get(
            sandbox.url.rstrip("/") + PATH,
            headers={"X-Key": sandbox.key, "Accept-Encoding": encoding},
            stream=True,
            timeout=10,
        )
        with answer, pytest.raises(requests.exceptions.ChunkedEncodingError):
            received.extend(answer.iter_content(10))
        assert answer.status_code == 200
        assert len(b"".join(received)) == 300

    @pytest.mark.parametrize("kind", ["stall", "stall_body"])
    def test_a_stall_delays_the_whole_response(
        self, kind: str, sandbox: Sandbox, call: Any
    ) -> None:
        started = time.monotonic()
        answer = struck(sandbox, call, f"{kind}=0.3")
        assert time.monotonic() - started >= 0.3
        assert len(answer.json()) == 5

    def test_stall_before_headers_and_inside_the_body_differ(self, sandbox: Sandbox) -> None:
        def until_headers() -> float:
            started = time.monotonic()
            with requests.get(
                sandbox.url.rstrip("/") + PATH,
                headers={"X-Key": sandbox.key},
                stream=True,
                timeout=100,
            ):
                return time.monotonic() - started

        with sandbox.faults.during("stall=0.4"):
            assert until_headers() >= 0.4
        with sandbox.faults.during("stall_body=60"):
            assert until_headers() < 50

    def test_a_client_that_waits_too_short_gives_up(self, sandbox: Sandbox) -> None:
        sandbox.faults.append("stall=5")
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.get(
                sandbox.url.rstrip("/") + PATH, headers={"X-Key": sandbox.key}, timeout=0.2
            )


class TestCompression:
    def test_claimed_but_plain(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.faults.append("gzip_claimed")
        assert raw_body(sandbox, "identity").startswith(b"[{")
        with pytest.raises(requests.exceptions.ContentDecodingError):
            call(sandbox, PATH)

    def test_compressed_but_hidden(self, sandbox: Sandbox, call: Any) -> None:
        answer = struck(sandbox, call, "gzip_hidden")
        assert "Content-Encoding" not in answer.headers
        assert len(json.loads(gzip.decompress(answer.content))) == 5

    def test_a_bomb_is_small_and_unpacks_large(self, sandbox: Sandbox) -> None:
        sandbox.faults.append("bomb=30")
        packed = raw_body(sandbox)
        assert len(packed) < 100_000
        plain = zlib.decompress(packed, 31)
        assert len(plain) == 30_000_002
        assert json.loads(plain) == []


class TestWhichRequests:
    def statuses(self, sandbox: Sandbox, call: Any, count: int, path: str = PATH) -> list[int]:
        return [call(sandbox, path).status_code for _ in range(count)]

    def test_a_rule_strikes_a_number_of_times(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.faults.append(Fault("status", 503, times=2))
        assert self.statuses(sandbox, call, 4) == [503, 503, 200, 200]

    def test_a_rule_strikes_once_the_one_before_is_used_up(
        self, sandbox: Sandbox, call: Any
    ) -> None:
        sandbox.faults.append("status=503,times=2;status=429,times=1")
        assert self.statuses(sandbox, call, 4) == [503, 503, 429, 200]

    def test_a_rule_strikes_every_third_request(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.faults.append("status=500,every=3")
        assert self.statuses(sandbox, call, 6) == [200, 200, 500, 200, 200, 500]

    def test_a_rule_lets_the_first_requests_pass(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.faults.append("status=500,after=2,times=1")
        assert self.statuses(sandbox, call, 4) == [200, 200, 500, 200]

    def test_probability_repeats_by_its_seed(self, five: StoredAccount, call: Any) -> None:
        def pattern(seed: int) -> list[int]:
            rule = Fault("status", 500, probability=0.5, seed=seed)
            with Sandbox(five, faults=[rule]) as sandbox:
                return self.statuses(sandbox, call, 12)

        assert pattern(1) == pattern(1) != pattern(2)
        assert set(pattern(1)) == {200, 500}

    def test_a_rule_strikes_paths_of_a_pattern(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.faults.append("status=500,path=/actions/*/events/bounces")
        assert self.statuses(sandbox, call, 1) == [200]
        assert self.statuses(sandbox, call, 1, "/actions/000AA1/events/bounces") == [500]

    def test_a_rule_strikes_an_id_in_the_path_or_the_query(
        self, sandbox: Sandbox, call: Any
    ) -> None:
        sandbox.faults.append("status=500,id=0000CON1")
        assert self.statuses(sandbox, call, 1, "/actions/000AA1/events/bounces") == [200]
        assert self.statuses(sandbox, call, 1, "/targets/0000CON1/events") == [500]
        assert call(sandbox, "/targets/events/hits", id="0000CON1").status_code == 500

    def test_header_strikes_its_own_request_only(self, sandbox: Sandbox, call: Any) -> None:
        answer = call(sandbox, PATH, {"X-Sandbox-Fault": "status=418"})
        assert answer.status_code == 418
        assert self.statuses(sandbox, call, 1) == [200]
        assert call(sandbox, PATH, {"X-Sandbox-Fault": "nonsense"}).status_code == 400
        assert sandbox.fault_counts == {"status": 1}

    def test_faults_spare_wrong_keys_and_statistics(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.faults.append("status=500")
        assert call(sandbox, PATH, {"X-Key": "wrong"}).status_code == 401
        assert call(sandbox, "/sandbox/statistics").status_code == 200

    def test_several_kinds_strike_together(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.faults.append("duplicate=1;content_type=text/plain;stall=0.1")
        answer = call(sandbox, PATH)
        assert (len(answer.json()), answer.headers["Content-Type"]) == (6, "text/plain")
        assert sandbox.fault_counts == {"duplicate": 1, "content_type": 1, "stall": 1}

    def test_rules_can_be_listed_and_taken_away(self, sandbox: Sandbox, call: Any) -> None:
        rule = Fault("status", 500)
        sandbox.faults.append(rule)
        assert list(sandbox.faults) == [rule]
        sandbox.faults.remove(rule)
        assert len(sandbox.faults) == 0
        assert self.statuses(sandbox, call, 1) == [200]


class TestText:
    def test_every_restriction_can_be_written(self) -> None:
        text = "status=503,times=2,after=1,every=3,probability=0.5,seed=4,path=/a*,id=x"
        assert Fault.parse(text) == Fault(
            "status", 503, times=2, after=1, every=3, probability=0.5, seed=4, path="/a*", id="x"
        )

    @pytest.mark.parametrize(
        "text",
        ["", "no such", "status=x", "status=500,times", "status=500,speed=1", "cut_byte", "raw"],
    )
    def test_mistakes_are_named(self, text: str) -> None:
        with pytest.raises(ValueError, match="Fault"):
            Fault.parse(text)

    @given(st.text())
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with suppress(ValueError):
            Fault.parse_all(text)

    def test_date_header_can_be_read_by_clients(self, sandbox: Sandbox, call: Any) -> None:
        sandbox.now = "2030-01-01T00:00:00Z"
        date = parsedate_to_datetime(call(sandbox, PATH).headers["Date"])
        assert date == sandbox.now
