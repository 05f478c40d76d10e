"""What ``np6_source`` was asked to do: checked values, and the rules between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum

from .errors import SettingError
from .events.privacy import KEEP_ALL, Privacy
from .parameters import (
    TBadEvents,
    TMoment,
    TOnError,
    TTimestampFormat,
    at_least_one,
    long_span_ms,
    moment_ms,
    one_of,
)
from .windows import DAY, SECOND, iso

if TYPE_CHECKING:
    from dlt.common.schema.typing import TTableFormat

__all__ = [
    "DEFAULT_HISTORY",
    "LONGEST_RECHECK",
    "SPOT_CHECKS_TO",
    "ClientSettings",
    "Recheck",
    "Retention",
    "Settings",
    "TMoment",
    "check_days_are_kept",
    "check_end",
    "kept_from",
    "moment_ms",
    "recheck_of",
]

SPOT_CHECKS_TO = 4
"""Rechecks look once a week at a day of up to so many times their longest age."""

LONGEST_RECHECK = 366
"""Days up to which days can be read again."""

DEFAULT_HISTORY = timedelta(days=30)
"""How far back a first load begins, unless ``start`` says otherwise."""


@dataclass(frozen=True)
class ClientSettings:
    """How to talk to the API. Times are seconds.

    Attributes:
        base_url: Root of the API.
        api_key: Sent in the ``X-Key`` header, to the host of ``base_url`` only.
        connect_timeout: How long to wait for a connection.
        read_timeout: How long to wait for the next bytes.
        request_timeout: How long a request may take from its beginning to the last byte. None: ten
            times ``read_timeout``.
        attempts: How often a request is tried.
        backoff: How long to wait before the second attempt; doubles with each further one. For the
            whole rule see ``api.retry_after``.
        longest_wait: How long the run may wait at once because the API asks it to.
        largest_answer: Bytes (uncompressed) that one response may have.
        concurrency: Requests that may run at once.
        interval: From one request's start to the next, at least.
        timestamp_format: How window bounds are sent, ISO 8601 or milliseconds. The reference
            takes both and says the unit of neither.
        key_origin: Where the key was found, for messages; None: it was given in code.
    """

    base_url: str
    api_key: str = field(repr=False)
    connect_timeout: float = 10.0
    read_timeout: float = 120.0
    request_timeout: float | None = None
    attempts: int = 5
    backoff: float = 1.0
    longest_wait: float = 600.0
    largest_answer: int = 4 * 1024**3
    concurrency: int = 8
    interval: float = 0.0
    timestamp_format: TTimestampFormat = "iso"
    key_origin: str | None = None

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            SettingError: One cannot be used.
        """
        for name in ("connect_timeout", "read_timeout", "request_timeout"):
            self._check_seconds(name, is_zero_allowed=False)
        for name in ("backoff", "longest_wait", "interval"):
            self._check_seconds(name, is_zero_allowed=True)
        for name in ("attempts", "largest_answer", "concurrency"):
            at_least_one(getattr(self, name), name)
        one_of(self.timestamp_format, "timestamp_format")

    def _check_seconds(self, name: str, is_zero_allowed: bool) -> None:
        seconds = getattr(self, name)
        if seconds is None and name == "request_timeout":
            return
        is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not is_number or not 0 <= seconds < float("inf") or not (seconds or is_zero_allowed):
            least = "at least 0" if is_zero_allowed else "more than 0"
            raise SettingError(f"{name}={seconds!r} must be a number of seconds, {least}")

    @property
    def deadline(self) -> float:
        """Seconds from a request's beginning to the last byte of its response, at most."""
        return 10 * self.read_timeout if self.request_timeout is None else self.request_timeout


@dataclass(frozen=True)
class Recheck:
    """What a schedule reads again for events that become visible late.

    Attributes:
        days: Up to which age days are read again.
        every: How often, milliseconds.
        resources: Names of the resources; None: the selected ones over the whole account.
    """

    days: int
    every: int = DAY
    resources: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Settings:
    """What to load and how. Times are milliseconds.

    Attributes:
        start: First moment to load, None: ``DEFAULT_HISTORY`` before now.
        end: Moment to load up to, exclusive; None: as far as is settled.
        window: Width of the first windows.
        overlap: How far before its progress each run reads again.
        settle: How long ago a window must have ended on the server to count as complete.
        clock_tolerance: By how much the server's clock and the local one may differ.
        accept_fewer_events: A window may lack events that the run before saw in it.
        same_account: An unknown address or key is of the account that the state is about.
        concurrency: Windows fetched at once.
        largest_load: Events after which a run stops at the next window, None: never.
        stop_when: Asked between windows, and by other threads while a request waits; anything true
            ends the run there.
        on_error: ``raise``: a failed window ends the run and nothing is loaded. ``keep``: what
            is complete is loaded, the failures are in the resource's metrics.
        classification: Classes of robots whose hits are requested, one request each; "" is a
            request without.
        classification_parameter: Name of the hit operations' parameter.
        items_events: ``itemsEvents`` of the campaign operations' request body.
        timestamps_are_final: NP6 never gives an event another timestamp.
        widen_bounds: By how much the bounds that are sent lie outside of the window.
        row_limit: Rows at which the API is known to cut a response; None: none is known.
        table_format: The format of the tables, None: the destination's own.
        bad_events: ``refuse``: a response with an event that cannot be taken fails. ``keep``: such
            events go to ``rejected_events``.
        account: What the column ``account`` of the dimensions says.
        privacy: What becomes of values about persons.
        spool_dir: Folder for temporary files, None: the pipeline's own.
        cutoff: Events published before it are removed, and never requested; None: none are.
        recheck: What to read again; None: nothing.
    """

    start: int | None
    end: int | None
    window: int
    overlap: int
    settle: int
    clock_tolerance: int
    accept_fewer_events: bool
    same_account: bool
    concurrency: int
    largest_load: int | None
    stop_when: Callable[[], object]
    on_error: TOnError
    classification: tuple[str, ...]
    classification_parameter: str
    items_events: Sequence[Any]
    timestamps_are_final: bool
    widen_bounds: int
    row_limit: int | None
    table_format: TTableFormat | None = None
    bad_events: TBadEvents = "refuse"
    account: str = ""
    privacy: Privacy = KEEP_ALL
    spool_dir: Path | None = None
    cutoff: int | None = None
    recheck: Recheck | None = None

    def beginning(self, now: int) -> int:
        """Where a first load begins; in whole seconds unless ``start`` says otherwise.

        Args:
            now: The time, milliseconds since the epoch.
        """
        if self.start is not None:
            return self.start
        first = now // SECOND * SECOND - int(DEFAULT_HISTORY.total_seconds()) * SECOND
        return max(first, self.cutoff or 0)

    @property
    def is_backfill(self) -> bool:
        """Whether just the given range is loaded, and no cursor moves."""
        return self.start is not None and self.end is not None


_SPAN = re.compile(r"(?P<count>[1-9][0-9]{0,3}) ?(?P<unit>day|week|month|year)s?")


@dataclass(frozen=True)
class Retention:
    """How long events are kept.

    Attributes:
        count: How many units.
        unit: ``days``, ``weeks``, ``months`` or ``years`` of the calendar.
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Retention:
        """The span of a text like ``25 months``.

        Raises:
            SettingError: It is none.
        """
        found = _SPAN.fullmatch(str(text).strip().lower())
        if found is None:
            raise SettingError(f"retention={text!r} is no span like 400 days, 25 months or 2 years")
        return cls(int(found["count"]), f"{found['unit']}s")

    def cutoff(self, now: int) -> int:
        """Midnight, UTC, from which events are kept; it moves once a day.

        Args:
            now: The time, milliseconds since the epoch.

        >>> Retention.parse("1 month").cutoff(moment_ms("2024-03-31T09:00", "now"))
        1709164800000
        """
        today = pendulum.from_timestamp(now // SECOND).start_of("day")
        return int(today.subtract(**{self.unit: self.count}).timestamp()) * SECOND


def check_days_are_kept(days: int, cutoff: int | None, now: int, what: str) -> None:
    """Refuses to read days again that retention removes.

    Args:
        days: Up to which age.
        cutoff: From when events are kept, milliseconds since the epoch; None: for ever.
        now: Milliseconds since the epoch.
        what: What asks for it, for the message.

    Raises:
        SettingError: Some of the days lie before the cutoff.
    """
    if cutoff is not None and now // DAY * DAY - days * DAY < cutoff:
        most = (now // DAY * DAY - cutoff) // DAY
        raise SettingError(
            f"{what}: days of before {iso(cutoff)[:10]} were or will be removed by retention, and"
            f" cannot be read again. Read up to {most} days again at most, or keep events longer."
        )


def kept_from(start: int | None, end: int | None, cutoff: int | None) -> int | None:
    """Where to begin so that nothing is requested that retention removes.

    Args:
        start: Where it was asked to begin, milliseconds since the epoch; None: nowhere.
        end: Where it was asked to stop, None likewise.
        cutoff: From when events are kept, None: for ever.

    Raises:
        SettingError: All that was requested lies before the cutoff.
    """
    if cutoff is None:
        return start
    if end is not None and end <= cutoff:
        raise SettingError(
            f"end={iso(end)}: all of it lies before {iso(cutoff)}, and retention removes that."
            " Nothing was requested."
        )
    return None if start is None else max(start, cutoff)


def check_end(end: int | None, begins: int, resource: str) -> None:
    """Refuses a run that would end before its first moment.

    Args:
        end: Where it was asked to stop, milliseconds since the epoch; None: nowhere.
        begins: Its first moment, likewise.
        resource: Name of the resource, for the message.

    Raises:
        SettingError: It would.
    """
    if end is not None and end <= begins:
        raise SettingError(
            f"{resource}: end={iso(end)} lies before {iso(begins)}, the first moment to load, so"
            " nothing would be loaded. Give start as well, on the command line --start; it is 30"
            " days ago where nothing says otherwise."
        )


def recheck_of(
    days: str | float | timedelta | None,
    every: str | float | timedelta,
    resources: str | Sequence[str] | None,
) -> Recheck | None:
    """What to read again.

    Args:
        days: Up to which age: ``14d``, a timedelta, or seconds.
        every: How often, likewise.
        resources: Names, as a list or in one text with commas.

    Raises:
        SettingError: One cannot be used.

    >>> recheck_of("14d", "1d", "actions_events, actions_reactivities").days
    14
    """
    interval = long_span_ms(every, "recheck_every")
    named = resources.split(",") if isinstance(resources, str) else resources
    names = None if named is None else tuple(one for name in named if (one := name.strip()))
    if days is None or days == "" or days == "off":
        return None
    span = long_span_ms(days, "recheck")
    if span % DAY or not DAY <= span <= LONGEST_RECHECK * DAY:
        raise SettingError(
            f"recheck={days!r} must be whole days, from 1d to {LONGEST_RECHECK}d: days are read"
            " again at 1, 2, 4, 8 … days of age, up to this"
        )
    return Recheck(span // DAY, interval, names)
