"""Parameters as people write them, checked and in exact units."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any, Literal, get_args

import pendulum

from .errors import SettingError, did_you_mean
from .windows import SECOND, to_ms

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

_LATEST = to_ms(datetime(9999, 12, 31, tzinfo=timezone.utc))
_EARLIEST = to_ms(datetime(2000, 1, 1, tzinfo=timezone.utc))


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


def long_span_ms(value: str | float | timedelta, name: str) -> int:
    """Milliseconds of a duration that may be written as text: ``14d``, ``12h``, ``30m``.

    Raises:
        SettingError: It is no duration.

    >>> long_span_ms("14d", "recheck") == 14 * 86_400_000, long_span_ms(60, "recheck")
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
        values = _ids_in(values, name)
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


def _ids_in(text: str, name: str) -> list[str | int]:
    """The ids in one text."""
    if not text.strip().startswith("["):
        return [*text.split(",")]
    try:
        listed: list[str | int] = json.loads(text)
    except ValueError:
        raise SettingError(f'{name}={text!r} is no JSON list like ["000PE4"]') from None
    return listed
