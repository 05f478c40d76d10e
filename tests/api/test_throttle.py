from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from np6_source.api.retry_after import seconds_to_wait
from np6_source.api.throttle import RECOVERY, Stop, Throttle, WaitTooLong

NOW = 1_714_557_600_000
"""2024-05-01T10:00:00Z in milliseconds."""


class TestResetSeconds:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            pytest.param({}, None, id="nothing said"),
            pytest.param({"Retry-After": "7"}, 7.0, id="Retry-After in seconds"),
            pytest.param({"Retry-After": "0"}, 0.0, id="Retry-After at once"),
            pytest.param({"Retry-After": "-3"}, 0.0, id="Retry-After negative"),
            pytest.param(
                {"Retry-After": "Wed, 01 May 2024 10:00:30 GMT"}, 30.0, id="Retry-After as date"
            ),
            pytest.param(
                {"Retry-After": "Wed, 01 May 2024 09:00:00 GMT"}, 0.0, id="Retry-After passed"
            ),
            pytest.param({"Retry-After": "soon"}, None, id="Retry-After garbage"),
            pytest.param({"X-RateLimit-Reset": "45"}, 45.0, id="Reset in seconds"),
            pytest.param({"X-RateLimit-Reset": "1.9"}, 1.0, id="Reset with a fraction"),
            pytest.param({"X-RateLimit-Reset": "1714557660"}, 60.0, id="Reset as epoch seconds"),
            pytest.param({"X-RateLimit-Reset": "1714557660000"}, 60.0, id="Reset as epoch ms"),
            pytest.param({"X-RateLimit-Reset": "1714557660000000"}, 60.0, id="Reset as epoch us"),
            pytest.param({"X-RateLimit-Reset": "1714557660000000000"}, 60.0, id="Reset as ns"),
            pytest.param({"X-RateLimit-Reset": "638501544600000000"}, 60.0, id="Reset as ticks"),
            pytest.param({"X-RateLimit-Reset": "133590312600000000"}, 60.0, id="Reset as FILETIME"),
            pytest.param({"X-RateLimit-Reset": "1000000000000000000"}, None, id="Reset impossible"),
            pytest.param({"X-RateLimit-Reset": "9" * 5000}, None, id="Reset endless"),
            pytest.param({"X-RateLimit-Reset": "99999999"}, None, id="Reset in three years"),
            pytest.param(
                {"X-RateLimit-Reset": "Wed, 01 May 2024 10:00:30 GMT"}, 30.0, id="Reset as date"
            ),
            pytest.param({"X-RateLimit-Reset": "1714557000"}, 0.0, id="Reset passed"),
            pytest.param({"Retry-After": "1000000000000000000"}, None, id="Retry-After impossible"),
            pytest.param({"Retry-After": "1714557660"}, 60.0, id="Retry-After as epoch seconds"),
            pytest.param(
                {"Retry-After": "Wed, 01 May 9999 10:00:30 GMT"}, None, id="Retry-After in 9999"
            ),
            pytest.param({"X-RateLimit-Reset": "-5"}, 0.0, id="Reset negative"),
            pytest.param({"X-RateLimit-Reset": "tomorrow"}, None, id="Reset garbage"),
            pytest.param({"X-RateLimit-Reset": "inf"}, None, id="Reset infinite"),
            pytest.param({"X-RateLimit-Reset": "nan"}, None, id="Reset not a number"),
            pytest.param(
                {"Retry-After": "5", "X-RateLimit-Reset": "45"}, 5.0, id="Retry-After comes first"
            ),
            pytest.param(
                {"Retry-After": "soon", "X-RateLimit-Reset": "45"},
                45.0,
                id="Reset where Retry-After is garbage",
            ),
        ],
    )
    def test_every_format_is_read(self, headers: dict[str, str], seconds: float | None) -> None:
        assert seconds_to_wait(headers, NOW) == seconds

    @given(st.text(max_size=30), st.text(max_size=30))
    def test_no_header_stops_a_run(self, retry_after: str, reset: str) -> None:
        seconds = seconds_to_wait({"Retry-After": retry_after, "X-RateLimit-Reset": reset}, NOW)

        assert seconds is None or seconds >= 0


class TestSpeed:
    @pytest.mark.parametrize(("most", "after"), [(8, 4), (5, 2), (2, 1), (1, 1)])
    def test_slowing_down_halves_it_but_not_below_one(self, most: int, after: int) -> None:
        throttle = Throttle(most)

        throttle.slow_down(0)

        assert throttle.allowed == after

    def test_it_recovers_by_one_after_so_many_good_answers(self) -> None:
        throttle = Throttle(4)
        throttle.slow_down(0)

        for _ in range(RECOVERY - 1):
            throttle.went_well({}, NOW)
        before = throttle.allowed
        throttle.went_well({}, NOW)

        assert (before, throttle.allowed) == (2, 3)

    def test_it_does_not_recover_beyond_the_most(self) -> None:
        throttle = Throttle(2)
        throttle.slow_down(0)

        for _ in range(10 * RECOVERY):
            throttle.went_well({}, NOW)

        assert throttle.allowed == 2

    def test_a_slow_down_starts_the_count_of_good_answers_anew(self) -> None:
        throttle = Throttle(8)
        throttle.slow_down(0)
        for _ in range(RECOVERY - 1):
            throttle.went_well({}, NOW)
        throttle.slow_down(0)

        throttle.went_well({}, NOW)

        assert throttle.allowed == 2

    @pytest.mark.parametrize(
        ("remaining", "allowed"),
        [("100", 4), ("4", 4), ("3", 3), ("1", 1), ("0", 1), ("-1", 1), ("many", 4)],
    )
    def test_no_more_run_than_the_limit_leaves(self, remaining: str, allowed: int) -> None:
        throttle = Throttle(4)

        throttle.went_well({"X-RateLimit-Remaining": remaining}, NOW)

        assert throttle.allowed == allowed

    def test_a_falling_limit_slows_down_step_by_step(self) -> None:
        throttle = Throttle(4)
        seen = []
        for remaining in (6, 4, 3, 2, 1):
            throttle.went_well({"X-RateLimit-Remaining": str(remaining)}, NOW)
            seen.append(throttle.allowed)

        assert seen == [4, 4, 3, 2, 1]


class TestSlot:
    @pytest.mark.parametrize("most", [1, 3])
    def test_no_more_than_allowed_run_at_once(self, most: int) -> None:
        throttle = Throttle(most)
        running, highest, lock = 0, 0, threading.Lock()
        together = threading.Barrier(most)

        def request() -> None:
            nonlocal running, highest
            with throttle.slot():
                with lock:
                    running += 1
                    highest = max(highest, running)
                together.wait(60)
                time.sleep(0.005)  # So that one more would be seen.
                with lock:
                    running -= 1

        with ThreadPoolExecutor(8) as executor:
            for future in [executor.submit(request) for _ in range(21)]:
                future.result()

        assert highest == most

    def test_a_request_that_fails_gives_its_slot_back(self) -> None:
        throttle = Throttle(1)
        with pytest.raises(OSError, match="broken"), throttle.slot():
            raise OSError("broken")

        with throttle.slot():
            pass

    def test_nobody_starts_before_the_asked_time_has_passed(self) -> None:
        throttle = Throttle(4)
        began = time.monotonic()
        throttle.slow_down(0.1)

        with throttle.slot():
            waited = time.monotonic() - began

        assert waited >= 0.1

    def test_a_shorter_wait_does_not_end_a_longer_one(self) -> None:
        throttle = Throttle(4)
        began = time.monotonic()
        throttle.slow_down(0.1)
        throttle.slow_down(0.0)

        with throttle.slot():
            waited = time.monotonic() - began

        assert waited >= 0.1

    def test_a_used_up_limit_makes_the_next_wait_for_its_reset(self) -> None:
        throttle = Throttle(4)
        began = time.monotonic()
        throttle.went_well({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, NOW)

        with throttle.slot():
            waited = time.monotonic() - began

        assert waited >= 1

    def test_a_waiting_request_starts_as_soon_as_another_ends(self) -> None:
        throttle = Throttle(1)
        started = threading.Event()

        def second() -> None:
            with throttle.slot():
                started.set()

        with throttle.slot():
            thread = threading.Thread(target=second)
            thread.start()
            early = started.wait(0.05)
        thread.join(60)

        assert not early
        assert started.is_set()

    @pytest.mark.parametrize("most", [1, 4])
    def test_a_limit_used_up_for_longer_than_the_run_may_wait_is_said_at_once(
        self, most: int
    ) -> None:
        throttle = Throttle(most, longest_wait=600)
        throttle.went_well({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3600"}, NOW)
        began = time.monotonic()

        with pytest.raises(WaitTooLong) as raised, throttle.slot():
            pass

        assert 3590 < raised.value.seconds <= 3600
        assert time.monotonic() - began < 60

    def test_a_wait_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        throttle = Throttle(4, longest_wait=600)

        throttle.went_well({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "37"}, NOW)

        assert caplog.messages == [
            "NP6's rate limit is used up: the next request waits 37 seconds."
        ]

    def test_a_wish_to_stop_ends_a_wait(self) -> None:
        stop = threading.Event()
        throttle = Throttle(4, longest_wait=600, should_stop=stop.is_set)
        throttle.slow_down(500)
        timer = threading.Timer(0.1, stop.set)
        timer.start()
        began = time.monotonic()

        with pytest.raises(Stop), throttle.slot():
            pass

        timer.join()
        assert time.monotonic() - began < 30

    def test_a_wish_to_stop_keeps_nobody_from_starting_who_need_not_wait(self) -> None:
        with Throttle(1, should_stop=lambda: True).slot():
            pass
