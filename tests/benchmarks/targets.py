"""What the benchmarks must show, in one place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from catalogue import BEFORE, FLOOR

TIMES_FASTER = {
    "rest_api": 50.0,
    "rest_api_parquet": 8.0,
    "rest_api_tuned": 6.0,
    "ingestr_1": 3.0,
}
"""Least ratio of another way's time to np6_source's, at ``JUDGED_EVENTS`` events and more."""

TIMES_THE_FLOOR = {FLOOR: 1.6}
"""Largest ratio of np6_source's time to the floor's."""

CPU_OF_BEFORE = {BEFORE: 0.8}
"""Largest ratio of np6_source's CPU seconds to those of an earlier commit."""

CPU_OF_POLICY = 1.18
"""Largest ratio of the CPU seconds under ``pseudonyms`` to those without a policy: 1.16 on a
prototype, and a tenth of what that adds."""

JUDGED_EVENTS = 200_000
"""Below this the start of an interpreter and its imports decide; times are not judged."""

MEMORY_BYTES = 600 * 1_000_000
"""Largest peak memory of np6_source's process tree, whatever the number of events."""

ANSWER_MEMORY_BYTES = 1024**3
"""Largest peak memory for a single answer of any size."""
ANSWER_MEMORY_GROWTH = 1.25
"""Largest ratio of the peak for the largest answer to that for the answer before it."""

TIMES_INSERTS = 2.5
"""Least ratio of the time of INSERT statements into PostgreSQL to that of binary COPY."""

LAST_TO_SECOND_INCREMENT = 1.3
"""Largest ratio of the last increments' cost to the second ones', and of those on top of many."""

GAPS_SECONDS = 20.0
"""Most CPU seconds to prove what is loaded, however many events there are; see ``growth``."""

LAST_TO_SECOND_IN_OVERLAP = 1.6
"""Largest ratio of the last increment's CPU seconds to the second's, all within one overlap."""

OVERLAP_MEMORY_BYTES = 1_000_000_000
"""Largest peak memory of such an increment."""

PARALLEL_TO_SEQUENTIAL = 0.25
"""Largest ratio of the time with default concurrency to the time one request after the other."""
MOST_LOAD_JOBS = 20
"""Load jobs a run of a thousand windows may make; there are seven tables."""

LAST_TO_FIRST_RUN = 1.3
"""Largest ratio of the cost of a day's last scheduled runs to that of its first."""
LEDGER_ROWS_A_DAY = 3
"""Rows that a resource's day may have in the ledger once it is long past: one, and what lies over
its midnights."""

IDLE_RUN_SECONDS = 2.0
"""Most seconds that a run without news may take beyond an empty pipeline's."""


@dataclass(frozen=True)
class Check:
    """A target beside what was measured.

    Attributes:
        text: The target.
        measured: The figure, as text.
        met: None: it was not measured.
    """

    text: str
    measured: str
    met: bool | None


def at_most(text: str, value: float | None, limit: float, shown: str = "{:.2f}") -> Check:
    """A check that a value is no larger than a limit."""
    if value is None:
        return Check(text, "not measured", None)
    return Check(text, shown.format(value), value <= limit)


def at_least(text: str, value: float | None, limit: float, shown: str = "{:.2f}") -> Check:
    """A check that a value is no smaller than a limit."""
    if value is None:
        return Check(text, "not measured", None)
    return Check(text, shown.format(value), value >= limit)


def exit_status(checks: Iterable[Check]) -> int:
    """1 where a target was missed, else 0."""
    return int(any(check.met is False for check in checks))
