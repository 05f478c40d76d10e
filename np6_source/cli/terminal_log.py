"""What of the log is shown on the terminal: one line per cause and minute.

While the API is down every window of eight under way is tried five times. Each attempt is a record
of the log, with its ``cause``; a person needs to know that it happens, not how often by the second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TextIO

EVERY = 60.0
"""Seconds between two lines about one cause."""

SAID_BY_US = (
    "Due to normalization dataset name",
    "Falling back to `append` on",
    'The "dedup_sort" column hint',
)
"""What dlt 1.31 logs twice, or per table; the commands say it in one sentence of their own."""


TRACEBACK = "Traceback (most recent call last):"
"""Where dlt 1.31 puts the trace of a job's exception into the text of a record."""


def is_news(record: logging.LogRecord) -> bool:
    """Whether a record of dlt's logger tells what the commands do not."""
    return not record.getMessage().startswith(SAID_BY_US)


def without_traceback(record: logging.LogRecord) -> bool:
    """Takes the traceback out of a record of dlt's logger: the commands say what happened."""
    text = record.getMessage()
    if TRACEBACK in text:
        record.msg, record.args = text.partition(TRACEBACK)[0].rstrip(), ()
    record.exc_info = record.exc_text = record.stack_info = None
    return True


class OncePerCause(logging.Handler):
    """Writes a line per record; of those with a ``cause`` the first, then one a minute.

    A line says how many like it were left out since the last.
    """

    def __init__(self, out: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        """Opens the handler.

        Args:
            out: Where to.
            now: Seconds of a clock that never goes back.
        """
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self._out = out
        self._now = now
        self._guard = threading.Lock()
        self._said: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record, or counts it."""
        cause = getattr(record, "cause", None)
        try:
            with self._guard:
                more = "" if cause is None else self._since_last(str(cause))
                if more is not None:
                    self._out.write(f"{self.format(record)}{more}\n")
                    self._out.flush()
        except Exception:
            self.handleError(record)

    def _since_last(self, cause: str) -> str | None:
        """What a line about the cause says of those before; None: it is not written."""
        now = self._now()
        if cause in self._said and now - self._said[cause] < EVERY:
            self._left_out[cause] = self._left_out.get(cause, 0) + 1
            return None
        self._said[cause] = now
        count = self._left_out.pop(cause, 0)
        return f" ({count:,} more like it in the last minute)" if count else ""
