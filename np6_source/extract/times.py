"""The moments of one run: when it began, which span it was given, up to where windows are settled.

All are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dlt

from ..api.pause import pause
from ..bookkeeping.known_starts import BEGINS_AT
from ..errors import RequestContext, SettingError, Stopped
from ..parameters import moment_ms
from ..settings import kept_from
from ..windows import SECOND, Window, iso
from .session import ExtractSession

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunTimes:
    """The moments of a run of one resource.

    Attributes:
        resource: Name of the resource, for messages.
        session: Knows the settings, and the server's clock.
        cursor: dlt's incremental, bound to the resource.
        began_at: When the run began, by this machine's clock.
    """

    resource: str
    session: ExtractSession
    cursor: dlt.sources.incremental[datetime]
    began_at: int

    @property
    def is_backfill(self) -> bool:
        """Whether the run was given the end of its span: it then moves no cursor."""
        return self.cursor.end_value is not None

    @property
    def given_start(self) -> int | None:
        """The start in force: of the host's incremental, else the one that is set, if any."""
        value = self.cursor.initial_value
        if value is None or value == self.session.default_start:
            return self.session.settings.start
        return self.moment(value)

    @property
    def begins_again_at(self) -> int | None:
        """Where the history began whose dataset is gone; None: it is not, or a start is given."""
        if self.given_start is not None:
            return None
        start: int | None = dlt.current.source_state().get(BEGINS_AT)
        return start

    def moment(self, value: Any) -> int:
        """A value of the cursor, which the host may have given in any type.

        Args:
            value: The value; None: where the settings say that a first run begins.

        Raises:
            SettingError: It is no moment.
        """
        if value is None:
            return self.session.settings.beginning(self.began_at)
        return moment_ms(value, f"{self.resource}: the incremental's value")

    def horizon(self) -> int:
        """Up to where windows are settled: the run's beginning, by the earlier of both clocks."""
        horizon = self.session.settled(self.began_at + self.session.clock.offset_ms)
        end = self.session.settings.end
        return horizon if end is None else min(horizon, end)

    def span(self) -> tuple[int, int]:
        """The span that is read of a scope without progress; waits until it has settled.

        Returns:
            Its start and its end.

        Raises:
            SettingError: It is empty, or lies in the future.
            Stopped: The run was asked to stop meanwhile.
        """
        cutoff = self.session.settings.cutoff
        start = self.moment(self.cursor.initial_value)
        if not self.is_backfill:
            again = self.begins_again_at
            return max(start if again is None else min(start, again), cutoff or 0), self.horizon()
        end = self.moment(self.cursor.end_value)
        if start >= end:
            raise SettingError(
                f"{self.resource}: the range [{iso(start)}, {iso(end)}) is empty. A scheduler"
                " that gives an interval of no length would load nothing and call it a success;"
                " in Airflow 3 use CronDataIntervalTimetable."
            )
        start = kept_from(start, end, cutoff) or start
        now = min(self.session.clock.now(), int(time.time() * SECOND))
        settle = self.session.settings.settle
        missing = end + settle - now
        if missing > settle + SECOND:
            raise SettingError(
                f"{self.resource}: end={iso(end)} lies in the future. Leave end out to load"
                " up to now, or ask again once it has passed."
            )
        if missing > 0:
            logger.info("%s: waits until the range has settled.", self.resource)
        if not pause(missing / SECOND, self.session.should_stop) and missing > 0:
            raise Stopped(
                RequestContext(self.resource, "", str(Window(start, end))),
                "the run was asked to stop before the range had settled",
                "Nothing of it was loaded; ask for it again.",
            )
        return start, end
