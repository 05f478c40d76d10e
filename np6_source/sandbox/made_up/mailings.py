"""What a made-up account sends, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ..clock import DAY, HOUR, MINUTE, TMoment, milliseconds
from .chance import base_36, digest, pick, uuid_of

DEFAULT_START = datetime(2025, 1, 6, tzinfo=timezone.utc)
DEFAULT_SPAN = timedelta(weeks=8)
SEND_HOURS = (7, 8, 9, 9, 10, 10, 14, 16)


def span_of(start: TMoment | None, end: TMoment | None) -> tuple[int, int]:
    """The time an account covers, milliseconds since the epoch, UTC; defaults where not given.

    Raises:
        ValueError: The end is not after the start.
    """
    first = milliseconds(DEFAULT_START if start is None else start)
    last = first + DEFAULT_SPAN // timedelta(milliseconds=1) if end is None else milliseconds(end)
    if last <= first:
        raise ValueError("end must be after start")
    return first, last


@dataclass(frozen=True)
class Mailing:
    """One thing that is sent: an action, a notification or a display content.

    Attributes:
        number: Its number.
        id: Its id.
        channel: email, sms, notification or display.
        campaign: Id of its campaign.
        sent_at: When a mass mailing goes out, ms since the epoch; None: sent all the time, as
            messages that something triggers are.
        share: Contacts that get it, in thousandths.
        version: Version uuid of a notification.
    """

    number: int
    id: str
    channel: str
    campaign: str
    sent_at: int | None
    share: int
    version: str


def planned_mailings(
    seed: int, start: int, end: int, actions: int, campaigns: int, unequal: bool = False
) -> list[Mailing]:
    """What is sent in the account's time: evenly, mass mailings on weekdays in the daytime.

    Args:
        seed: Another seed, other mailings.
        start: Start of the account's time, milliseconds since the epoch, inclusive.
        end: End of it, exclusive.
        actions: How many e-mail and SMS actions.
        campaigns: How many campaigns they belong to.
        unequal: Mass mailings are of very unequal sizes: half of them go to an eighth at most of
            whom the largest goes to.
    """
    campaign_ids = [uuid_of(digest(seed, "campaign", number)) for number in range(campaigns)]
    first_notification = 156 + pick(20, seed, "notification")
    mailings = []
    for number in range(actions + 4):
        extra = number - actions
        if extra < 0:
            channel = "sms" if number % 6 == 4 else "email"
            # The first is the action of the documented samples.
            offset = pick(30, seed, "action", number) if number else 0
            name = base_36(32_908 + number * 37 + offset, 6)
        elif extra < 2:
            channel, name = "notification", str(first_notification + extra)
        else:
            channel, name = "display", base_36(17_000 + extra * 11, 6)
        is_triggered = channel == "display" or number % 4 == 3
        even = start + (end - start) * (2 * number + 1) // (2 * actions + 8)
        share = {"sms": 300, "notification": 250, "display": 120}.get(channel, 700)
        size = share // 2 if is_triggered else share + pick(200, seed, "share", number)
        if unequal and not is_triggered:
            size = max(1, round(size * (pick(1000, seed, "size", number) / 1000) ** 3))
        mailings.append(
            Mailing(
                number,
                name,
                channel,
                campaign_ids[number % campaigns],
                None if is_triggered else _working_hour(even, start, end, seed, number),
                size,
                uuid_of(digest(seed, "version", number)),
            )
        )
    return mailings


@dataclass(frozen=True)
class Level:
    """How much an account sends in the course of its time.

    Attributes:
        growth: What it sends in the end, of what it sends in the beginning.
        holidays: Days, from 0 on, on which it sends half of that.
    """

    growth: float = 1.0
    holidays: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """The share of the highest level that is sent on average, holidays left aside."""
        if self.growth == 1:
            return 1.0
        return (self.growth - 1) / math.log(self.growth) / max(1.0, self.growth)

    def condition(self, start: int, end: int) -> str:
        """SQL: whether a send, with its ``stamp_time``, is among those that are made."""
        if self == Level():
            return "true"
        since = f"(stamp_time - {start})"
        level = f"pow({self.growth}, {since} / {float(end - start)}) / {max(1.0, self.growth)}"
        if self.holidays:
            days = ", ".join(map(str, self.holidays))
            level += f" * CASE WHEN {since} // {DAY} IN ({days}) THEN 0.5 ELSE 1 END"
        return f"unit('level', send) < {level}"


def level_of(seed: int, start: int, end: int, growth: float, holidays: int) -> Level:
    """A level with so many holidays, anywhere in the account's time.

    Raises:
        ValueError: The growth is not above 0, or there are fewer days than holidays.
    """
    days = (end - start) // DAY
    if growth <= 0:
        raise ValueError("growth must be above 0")
    if not 0 <= holidays <= days:
        raise ValueError(f"holidays must be 0 to {days}, the account's days")
    by_chance = sorted(range(days), key=lambda day: digest(seed, "holiday", day))
    return Level(growth, tuple(sorted(by_chance[:holidays])))


def _working_hour(moment: int, start: int, end: int, seed: int, number: int) -> int:
    day = moment // DAY + pick(4, seed, "day", number)
    weekday = (day + 3) % 7  # 0 is Monday; the epoch began on a Thursday.
    if weekday > 4:
        day -= weekday - 1 - number % 3
    hour = SEND_HOURS[pick(len(SEND_HOURS), seed, "hour", number)]
    found = day * DAY + hour * HOUR + 15 * MINUTE * pick(4, seed, "quarter", number)
    return found if start <= found < end else moment
