"""What a made-up account sends, and when."""

from __future__ import annotations

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
        place: Its number.
        id: Its id.
        channel: email, sms, notification or display.
        campaign: Id of its campaign.
        sent_at: When a mass mailing goes out, ms since the epoch; None: sent all the time, as
            messages that something triggers are.
        share: Contacts that get it, in thousandths.
        version: Version uuid of a notification.
    """

    place: int
    id: str
    channel: str
    campaign: str
    sent_at: int | None
    share: int
    version: str


def planned_mailings(
    seed: int, start: int, end: int, actions: int, campaigns: int
) -> list[Mailing]:
    """What is sent in the account's time: evenly, mass mailings on weekdays in the daytime."""
    campaign_ids = [uuid_of(digest(seed, "campaign", number)) for number in range(campaigns)]
    first_notification = 156 + pick(20, seed, "notification")
    mailings = []
    for place in range(actions + 4):
        extra = place - actions
        if extra < 0:
            channel = "sms" if place % 6 == 4 else "email"
            # The first is the action of the documented samples.
            offset = pick(30, seed, "action", place) if place else 0
            name = base_36(32_908 + place * 37 + offset, 6)
        elif extra < 2:
            channel, name = "notification", str(first_notification + extra)
        else:
            channel, name = "display", base_36(17_000 + extra * 11, 6)
        is_triggered = channel == "display" or place % 4 == 3
        even = start + (end - start) * (2 * place + 1) // (2 * actions + 8)
        share = {"sms": 300, "notification": 250, "display": 120}.get(channel, 700)
        mailings.append(
            Mailing(
                place,
                name,
                channel,
                campaign_ids[place % campaigns],
                None if is_triggered else _working_hour(even, start, end, seed, place),
                share // 2 if is_triggered else share + pick(200, seed, "share", place),
                uuid_of(digest(seed, "version", place)),
            )
        )
    return mailings


def _working_hour(moment: int, start: int, end: int, seed: int, place: int) -> int:
    day = moment // DAY + pick(4, seed, "day", place)
    weekday = (day + 3) % 7  # 0 is Monday; the epoch began on a Thursday.
    if weekday > 4:
        day -= weekday - 1 - place % 3
    hour = SEND_HOURS[pick(len(SEND_HOURS), seed, "hour", place)]
    found = day * DAY + hour * HOUR + 15 * MINUTE * pick(4, seed, "quarter", place)
    return found if start <= found < end else moment
