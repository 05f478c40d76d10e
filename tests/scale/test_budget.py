"""Workers share the account's rate limit, measured on the requests that the API got."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from np6_source import np6_source
from np6_source.api.throttle import Throttle
from np6_source.errors import SettingError
from np6_source.parts import plan_parts
from np6_source.sandbox import RateLimit, RecordedRequest, Sandbox, generated_account
from tests.scale.part_workers import Job, load

START = datetime(2024, 3, 1, tzinfo=timezone.utc)
END = START + timedelta(days=8)
WORKERS = 4
TMake = Callable[..., Any]


def most_within(seconds: float, requests: Iterable[RecordedRequest]) -> int:
    """The most requests that came in any span of so many seconds."""
    times = sorted(request.received_at for request in requests)
    return max(sum(first <= moment < first + seconds for moment in times) for first in times)


@pytest.mark.destinations
@pytest.mark.timeout(300)
class TestProcesses:
    @pytest.fixture
    def load_all(self, workers: ProcessPoolExecutor, tmp_path: Path) -> TMake:
        """Loads eight days, a part each, in four processes into one DuckDB file."""

        def load_all(sandbox: Sandbox, **options: Any) -> None:
            settings = {"api_key": sandbox.key, "base_url": sandbox.url, "backoff": 0.05}
            job = Job(("duckdb", str(tmp_path / "events.duckdb")), "np6", settings | options)
            parts = [part.to_json() for part in plan_parts(START, END, timedelta(days=1))]
            for future in [workers.submit(load, job, part, WORKERS) for part in parts]:
                future.result()

        return load_all

    def test_they_stay_within_what_they_are_told(self, serve: TMake, load_all: TMake) -> None:
        sandbox = serve(generated_account(events=500, seed=5, start=START, end=END))
        # Windows of ten minutes at first: enough requests to tell.
        load_all(sandbox, window=600, requests_per_minute=600)
        span = 2.0
        # Each of the four may begin one more at a span's edge.
        assert most_within(span, sandbox.requests) <= 600 / 60 * span + WORKERS
        assert {request.status for request in sandbox.requests} == {200}

    def test_without_being_told_they_are_faster(self, serve: TMake, load_all: TMake) -> None:
        sandbox = serve(generated_account(events=500, seed=5, start=START, end=END))
        load_all(sandbox, window=600)
        assert most_within(2.0, sandbox.requests) > 600 / 60 * 2.0 + WORKERS

    def test_a_limit_that_nobody_told_them_of_loses_nothing(
        self, serve: TMake, load_all: TMake, tmp_path: Path, warehouse_in: TMake, source_of: TMake
    ) -> None:
        account = generated_account(events=500, seed=5, start=START, end=END)
        sandbox = serve(account, rate_limit=RateLimit(5, seconds=1.0, headers=False))
        load_all(sandbox, window=600, attempts=50)
        assert sum(request.status == 429 for request in sandbox.requests) > 5
        together = warehouse_in(tmp_path, database=tmp_path / "events.duckdb")
        alone = warehouse_in(tmp_path / "alone")
        unlimited = serve(generated_account(events=500, seed=5, start=START, end=END))
        alone.run(source_of(unlimited, start=START, end=END))
        assert together.contents() == alone.contents()


class TestInOneProcess:
    def test_requests_keep_their_distance(self) -> None:
        throttle = Throttle(4, interval=0.05)
        starts = []

        def request() -> None:
            with throttle.slot():
                starts.append(time.monotonic())
                time.sleep(0.2)

        with ThreadPoolExecutor(4) as pool:
            for _ in range(8):
                pool.submit(request)
        starts.sort()
        assert min(b - a for a, b in pairwise(starts)) >= 0.045

    @pytest.mark.parametrize("number", [0, -1, float("nan"), True, "10"])
    def test_a_limit_that_is_none_is_refused(self, number: Any) -> None:
        with pytest.raises(SettingError, match="requests_per_minute"):
            np6_source("key", requests_per_minute=number)
