"""One line every few seconds: the date reached, the share of the asked period, an estimate.

While the load waits for a lock or an open DuckDB file, the line says that instead.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from ..dataset_lock import Waiting, telling_of_waits
from ..windows import to_datetime

EVERY = 5.0
"""Seconds between two lines."""


@dataclass(frozen=True)
class Reached:
    """How far a run has got.

    Attributes:
        events: Events read.
        asked_ms: Milliseconds of event time that were requested, all ids together.
        done_ms: Those of them that are complete.
        date_ms: End of the newest complete window; None before the first.
        resource: The resource that it is of.
    """

    events: int
    asked_ms: int
    done_ms: int
    date_ms: int | None
    resource: str

    @classmethod
    def of(cls, metrics: Mapping[str, Mapping[str, Any]]) -> Reached:
        """Adds up the metrics of a run's resources, by resource."""
        begun = {name: one for name, one in metrics.items() if one.get("asked_ms")}
        under_way = {
            name: one for name, one in begun.items() if one.get("done_ms", 0) < one["asked_ms"]
        }
        slowest = min(
            under_way or begun or {"": {}},
            key=lambda name: (
                (begun[name].get("done_ms", 0) / begun[name]["asked_ms"]) if name else 0
            ),
        )
        return cls(
            events=sum(one.get("events", 0) for one in begun.values()),
            asked_ms=sum(one["asked_ms"] for one in begun.values()),
            done_ms=sum(min(one.get("done_ms", 0), one["asked_ms"]) for one in begun.values()),
            date_ms=begun.get(slowest, {}).get("date_ms"),
            resource=slowest,
        )


def line(reached: Reached | None, seconds: float, waiting: Waiting | None = None) -> str:
    """What is printed.

    Args:
        reached: How far the run has got; None: it has not begun to extract.
        seconds: Since its beginning.
        waiting: The lock that it waits for, if it does.
    """
    if waiting is not None:
        most = _duration(waiting.most)
        return f"{seconds:.0f} s: waiting for {waiting.name}, {most} at most: {waiting.why}"
    if reached is None:
        return f"{seconds:.0f} s: looking at what earlier calls left"
    if not reached.asked_ms or reached.date_ms is None:
        return f"{seconds:.0f} s: waiting for the first response"
    share = reached.done_ms / reached.asked_ms
    date = f"{to_datetime(reached.date_ms):%Y-%m-%d %H:%M}"
    parts = [f"{reached.resource} at {date}", f"{share:.0%} of the period"]
    if 0 < share < 1:
        parts.append(f"about {_duration(seconds * (1 - share) / share)} left")
    parts.append(f"{reached.events:,} events read")
    return ", ".join(parts)


@contextmanager
def shown(
    metrics: Callable[[], Mapping[str, Mapping[str, Any]]],
    out: TextIO = sys.stderr,
    every: float = EVERY,
) -> Iterator[None]:
    """Prints a line every few seconds while it is open.

    Args:
        metrics: The metrics of the run's resources, by resource; empty before it extracts.
        out: Where to.
        every: Seconds between two lines.
    """
    began = time.monotonic()
    ended = threading.Event()
    waiting: list[Waiting] = []

    def told(wait: Waiting | None) -> None:
        waiting[:] = [] if wait is None else [wait]

    def show() -> None:
        while not ended.wait(every):
            found = metrics()
            reached = Reached.of(found) if found else None
            seconds = time.monotonic() - began
            print(line(reached, seconds, next(iter(waiting), None)), file=out, flush=True)

    thread = threading.Thread(target=show, name="np6-progress", daemon=True)
    thread.start()
    try:
        with telling_of_waits(told):
            yield
    finally:
        ended.set()
        thread.join()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
