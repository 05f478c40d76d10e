"""What a run reports of itself: dlt's metrics of its resource, and the warnings at its end."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from ..events import lateness
from ..events.drift import count_paths
from ..events.lateness import Lateness
from ..events.reader import ResponseContents
from ..windows import SECOND
from .window import LoadableSpan

logger = logging.getLogger(__name__)

UNMAPPED_SHOWN = 10
"""Unknown fields that a warning names."""


class RunMetrics:
    """Counts of one run, in dlt's metrics of the resource."""

    def __init__(self, resource: str, metrics: dict[str, Any]) -> None:
        """Begins at nothing.

        Args:
            resource: Name of the resource, for messages.
            metrics: dlt's metrics of the resource.
        """
        self._resource = resource
        self._values = metrics
        self._lateness = Lateness()
        self._unmapped: Counter[str] = Counter()
        metrics.update(
            windows=0,
            events=0,
            known=0,
            bytes=0,
            outside=0,
            rejected=0,
            repaired=0,
            unsure_robots=0,
            full=False,
            until=None,
        )
        # How far the run has got, for whoever looks while it is under way.
        metrics.update(asked_ms=0, done_ms=0, date_ms=None)

    def will_read(self, span_ms: int) -> None:
        """Notes how much event time the run is about to read, milliseconds."""
        self._values["asked_ms"] = span_ms

    def add_span(self, span: LoadableSpan) -> None:
        """Counts a span that was handed on."""
        self._values["done_ms"] += span.window.end - span.window.start
        self._values["date_ms"] = span.window.end
        self._values["windows"] += 1
        self._values["events"] += span.event_count
        self._values["bytes"] += span.byte_count

    def add_response(self, contents: ResponseContents) -> None:
        """Counts what was unusual in a response of a span."""
        count_paths(self._unmapped, contents.unmapped)
        self._values["known"] += contents.known
        self._values["outside"] += contents.outside
        self._values["rejected"] += contents.rejected
        self._values["repaired"] += contents.repaired

    def add_unsure_robots(self, count: int) -> None:
        """Counts hits that are not marked, see ``robots.sure_marks``."""
        self._values["unsure_robots"] += count

    def add_lateness(self, measured: Lateness) -> None:
        """Adds how late the events of a scope became visible."""
        self._lateness = self._lateness.joined(measured)

    def note_full(self, is_full: bool) -> None:
        """Notes whether the run stops at ``largest_load`` before its end."""
        self._values["full"] = is_full

    def note_complete_until(self, until: int) -> None:
        """Notes up to where the whole resource is complete, milliseconds since the epoch."""
        self._values["until"] = until

    def report(self, overlap: int) -> None:
        """Puts in what is known at the end, and warns of what somebody should know.

        Args:
            overlap: Milliseconds that each run reads again.
        """
        self._values["late_events"] = self._lateness.late_events
        self._values["latest_seconds"] = self._lateness.latest_ms // SECOND
        self._values["unmapped"] = dict(self._unmapped.most_common(UNMAPPED_SHOWN))
        warning = lateness.advice(self._lateness, overlap)
        if warning:
            logger.warning("%s: %s", self._resource, warning)
        if self._unmapped:
            fields = ", ".join(
                f"{path} ({count})" for path, count in self._values["unmapped"].items()
            )
            logger.warning(
                "%s: fields without a column went to events.unmapped: %s", self._resource, fields
            )
