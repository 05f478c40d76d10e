"""What ``np6_source`` was asked to do, checked and in exact units."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pendulum

from .errors import SettingError, did_you_mean
from .events.privacy import KEEP_ALL, Privacy
from .windows import DAY, SECOND, iso, to_ms

if TYPE_CHECKING:
    from dlt.common.schema.typing import TTableFormat

TMoment = str | datetime | date | int
"""A datetime, a date, an ISO 8601 text, or milliseconds since the epoch. Naive values are UTC."""

TTimestampFormat = Literal["iso", "ms"]

TOnError = Literal["raise", "keep"]
TBadEvents = Literal["refuse", "keep"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "on_error": get_args(TOnError),
    "bad_events": get_args(TBadEvents),
    "timestamp_format": get_args(TTimestampFormat),
    "table_format": ("delta", "iceberg", "hive", "native"),
}
"""The values of the parameters that take one of a few."""

DEFAULT_HISTORY = timedelta(days=30)
"""How far back a first load begins, unless ``start`` says otherwise."""

_LATEST = to_ms(datetime(9999, 12, 31, tzinfo=timezone.utc))
_EARLIEST = to_ms(datetime(2000, 1, 1, tzinfo=timezone.utc))


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

        >>> Retention.parse("1 month").cutoff(to_ms(datetime(2024, 3, 31, 9, tzinfo=timezone.utc)))
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


def moment_ms(value: TMoment, name: str) -> int:
    """Milliseconds since the epoch of a moment in any of the types of ``TMoment``.

    Args:
        value: See ``TMoment``. A text of digits is milliseconds.
        name: The parameter, for the message.

    Raises:
        SettingError: It is no moment, or one before 2000 (most likely seconds, where milliseconds
            are expected).
    """
    if isinstance(value, str) and re.fullmatch(r"\d{9,}", value.strip()):
        value = int(value)
    if isinstance(value, bool):
        raise SettingError(f"{name}={value!r} is not a moment")
    if isinstance(value, int):
        ms = value
    elif isinstance(value, datetime):
        ms = to_ms(value)
    elif isinstance(value, date):
        ms = to_ms(datetime.combine(value, time(), timezone.utc))
    elif isinstance(value, str):
        try:
            parsed = pendulum.parser.parse(value.strip(), tz="UTC")
            if not isinstance(parsed, pendulum.DateTime):
                raise ValueError(value)
        except ValueError:
            raise SettingError(
                f"{name}={value!r} is not an ISO date like 2024-05-01 or 2024-05-01T10:00:00Z"
            ) from None
        try:
            ms = to_ms(parsed)
        except OverflowError:
            raise SettingError(f"{name}={value!r} is beyond the calendar") from None
    else:
        raise SettingError(f"{name} must be a datetime, ISO text or milliseconds, not {value!r}")
    if ms > _LATEST:
        raise SettingError(f"{name}={value!r} is after the year 9999; numbers are milliseconds")
    if ms < _EARLIEST:
        raise SettingError(
            f"{name}={value!r} is before the year 2000; numbers are milliseconds since the epoch"
        )
    return ms


def span_ms(value: timedelta | float, name: str, least: float = 0.0) -> int:
    """Milliseconds of a duration given as timedelta or seconds.

    Raises:
        SettingError: It is no duration, or shorter than ``least`` seconds.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not least <= seconds < float("inf"):
        raise SettingError(f"{name}={value!r} must be at least {least:g} seconds")
    return round(seconds * SECOND)


SPOT_CHECKS_TO = 4
"""Rechecks look once a week at a day of up to so many times their longest age."""
LONGEST_RECHECK = 366
"""Days up to which days can be read again."""


def recheck(
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

    >>> recheck("14d", "1d", "actions_events, actions_reactivities").days
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


def long_span_ms(value: str | float | timedelta, name: str) -> int:
    """Milliseconds of a duration that may be written as text: ``14d``, ``12h``, ``30m``.

    Raises:
        SettingError: It is no duration.

    >>> long_span_ms("14d", "recheck") == 14 * DAY, long_span_ms(60, "recheck")
    (True, 60000)
    """
    if not isinstance(value, str):
        return span_ms(value, name)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value.strip().lower())
    if found is None:
        raise SettingError(f"{name}={value!r} is no duration like 14d, 12h or 30m")
    seconds = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}[found[2]]
    return span_ms(float(found[1]) * seconds, name)


def at_least_one(value: int, name: str) -> int:
    """The number, if it is one and positive.

    Raises:
        SettingError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingError(f"{name}={value!r} must be a whole number, at least 1")
    return value


def checked_folder(value: str, name: str) -> Path:
    """The folder, if files can be made in it.

    Args:
        value: Its path.
        name: The parameter, for the message.

    Raises:
        SettingError: It is not there, is no folder, or cannot be written to.
    """
    folder = Path(value)
    if not value or not folder.is_dir():
        raise SettingError(f"{name}={value!r} is no folder; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingError(f"{name}={value!r} cannot be written to")
    return folder.absolute()


def interval_between(requests_per_minute: float | None) -> float:
    """Seconds from one request to the next; 0 where there is no limit.

    Raises:
        SettingError: It is no number, or not positive.
    """
    if requests_per_minute is None:
        return 0.0
    is_number = isinstance(requests_per_minute, (int, float))
    if not is_number or isinstance(requests_per_minute, bool) or not requests_per_minute > 0:
        raise SettingError(f"requests_per_minute={requests_per_minute!r} must be more than 0")
    return 60.0 / requests_per_minute


def one_of(value: Any, name: str, known: Sequence[str] | None = None) -> None:
    """Makes sure that a setting is one of those known.

    Args:
        value: The value.
        name: The setting.
        known: What it can be; None: see ``CHOICES``.

    Raises:
        SettingError: It is not; names the nearest.
    """
    choices = CHOICES[name] if known is None else known
    if value not in choices:
        near = did_you_mean(str(value), choices)
        raise SettingError(f"{name}={value!r} must be one of {', '.join(choices)}{near}")


def classes(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Classes of robots, each once, ``""`` first.

    Args:
        value: A list, or one text with commas, as the reference shows it. An empty entry stands for
            a request without the parameter; so does no value at all.

    >>> classes("mpp, gsr"), classes(",mpp"), classes(None)
    (('mpp', 'gsr'), ('', 'mpp'), ('',))
    """
    listed = (value or "").split(",") if value is None or isinstance(value, str) else value
    found = dict.fromkeys(name.strip() for name in listed) or {"": None}
    return tuple(sorted(found, key=bool))


def ids(values: Sequence[str | int] | str | int | None, name: str) -> tuple[str, ...]:
    """The ids as they are sent: text, each once, in the order given.

    Args:
        values: The ids; a text, as it comes from the environment, is a JSON list or has commas
            between them.
        name: The parameter, for the message.

    Raises:
        SettingError: One is empty or cannot be an id.
    """
    if values is None:
        return ()
    if isinstance(values, bytes):
        raise SettingError(f"{name}: {values!r} is not a list of ids")
    if isinstance(values, str):
        values = _listed(values, name)
    if isinstance(values, int):
        values = [values]
    result: dict[str, None] = {}
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise SettingError(f"{name}: {value!r} is not an id")
        text = str(value).strip()
        if text in ("", ".", ".."):
            raise SettingError(f"{name}: {value!r} is not an id")
        result[text] = None
    return tuple(result)


def _listed(text: str, name: str) -> list[str | int]:
    """The ids in one text."""
    if not text.strip().startswith("["):
        return [*text.split(",")]
    try:
        listed: list[str | int] = json.loads(text)
    except ValueError:
        raise SettingError(f'{name}={text!r} is no JSON list like ["000PE4"]') from None
    return listed
