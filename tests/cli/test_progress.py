"""The progress line: the date reached, the share of the period, an estimate."""

from __future__ import annotations

import io
import time

from np6_source.cli.progress import Reached, line, shown
from np6_source.dataset_lock import Waiting

DAY = 86_400_000
NOON = 1_709_294_400_000  # 2024-03-01 12:00 UTC


def test_it_is_of_the_resource_that_is_least_far() -> None:
    metrics = {
        "fast": {"asked_ms": 10 * DAY, "done_ms": 9 * DAY, "date_ms": NOON + DAY, "events": 900},
        "slow": {"asked_ms": 10 * DAY, "done_ms": 1 * DAY, "date_ms": NOON, "events": 100},
        "done": {"asked_ms": 10 * DAY, "done_ms": 10 * DAY, "date_ms": NOON + DAY, "events": 0},
        "not begun": {},
    }
    assert line(Reached.of(metrics), 60.0) == (
        "slow at 2024-03-01 12:00, 67% of the period, about 30 s left, 1,000 events read"
    )


def test_before_the_first_response_it_says_what_it_waits_for() -> None:
    assert line(None, 7.4) == "7 s: looking at what earlier calls left"
    begun = {"a": {"asked_ms": DAY, "done_ms": 0, "date_ms": None, "events": 0}}
    assert line(Reached.of(begun), 7.4) == "7 s: waiting for the first response"


def test_while_it_waits_for_a_lock_it_says_so_and_for_how_long_at_most() -> None:
    waiting = Waiting("DuckDB file np6.duckdb", "process 7 has it open", 3600)
    said = "12 s: waiting for DuckDB file np6.duckdb, 60 min at most: process 7 has it open"
    assert line(None, 12.0, waiting) == said
    begun = {"a": {"asked_ms": DAY, "done_ms": DAY, "date_ms": NOON, "events": 5}}
    assert line(Reached.of(begun), 12.0, waiting) == said


def test_the_end_has_nothing_left() -> None:
    done = {"a": {"asked_ms": DAY, "done_ms": DAY + 1, "date_ms": NOON, "events": 5}}
    assert line(Reached.of(done), 3.0) == "a at 2024-03-01 12:00, 100% of the period, 5 events read"


def test_lines_come_while_the_run_waits_and_end_with_it() -> None:
    out = io.StringIO()
    until = time.monotonic() + 60
    with shown(lambda: {"a": {}}, out, every=0.01):
        while out.getvalue().count("waiting for the first response\n") < 3:
            assert time.monotonic() < until
            time.sleep(0.01)
    said = out.getvalue()
    time.sleep(0.05)
    assert out.getvalue() == said
