"""Requests as facts: what one asks of an account, with its SQL condition, and what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

TSort = Literal["asc", "desc"]
TDelay = Literal["none", "constant", "exponential", "batches", "nine_days"]

_SECOND, _HOUR, _DAY = 1_000, 3_600_000, 86_400_000

ROBOT_CLASSES = ("genericrobot", "mpp", "gsr")
"""The robot classes of the reference: generic robots, Apple's mail privacy proxy, Google's security
robot."""

ID_COLUMNS = (
    "action_id",
    "campaign_id",
    "contact_id",
    "contact_unicity",
    "contact_hash",
    "notification_id",
    "display_content_id",
)
"""The index columns of an event that a request can name by an id."""


@dataclass(frozen=True)
class EventChoice:
    """One event type of an ``itemsEvents`` entry.

    Attributes:
        type: Event type.
        subtypes: Of these subtypes only; empty: of any.
    """

    type: str
    subtypes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ItemsChoice:
    """One entry of a campaign request's ``itemsEvents``.

    Attributes:
        channel: Channel of the events (``type`` of the entry), None: any.
        events: Events of these types only; empty: of any.
        items: Ids of the actions; empty: all actions of the campaign.
    """

    channel: str | None = None
    events: tuple[EventChoice, ...] = ()
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class EventQuery:
    """The events one request asks for. Every bound is in milliseconds since the epoch, UTC.

    Attributes:
        start: Earliest event timestamp, inclusive. None: no bound, as for every other attribute.
        end: Latest event timestamp, exclusive.
        activation_start: Earliest timestamp of the activation the event belongs to, inclusive.
        activation_end: Latest timestamp of that activation, exclusive.
        visible_until: Only events that were readable at this time, inclusive.
        below_serial: Only events that the account had before it was given this serial number.
        channels: Only events of these channels.
        types: Only events of these types.
        without_types: No events of these types.
        subtypes: Only events of these subtypes.
        ids: Pairs of an index column (``ID_COLUMNS``) and the value it must have.
        robots: Only hits of these robot classes; empty: only hits that no robot made; None: all.
        items: Only events that one of these entries names.
        sort: Order by timestamp. None: shuffled, as the reference promises no order.
        shuffle: Seed of the shuffling.
        limit: How many events at most, the first in order.
        by_activation: ``start`` and ``end`` bound the activation that an event belongs to.
        published_from: No events with an earlier timestamp.
        published_until: No events with this timestamp, or a later one.
        delay: How long after ``visible_at`` an event can be read.
        delay_seconds: How long that is, see ``Variants``.
        vanishing: Percent of the events that are gone a day after their timestamp.
        moving: Percent of the events that are dated a second later from the next day on.
        whole_seconds: Timestamps are cut to the second.
        now: The time by which events vanish and move.
    """

    start: int | None = None
    end: int | None = None
    activation_start: int | None = None
    activation_end: int | None = None
    visible_until: int | None = None
    below_serial: int | None = None
    channels: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    without_types: tuple[str, ...] = ()
    subtypes: tuple[str, ...] | None = None
    ids: tuple[tuple[str, str], ...] = ()
    robots: tuple[str, ...] | None = None
    items: tuple[ItemsChoice, ...] | None = None
    sort: TSort | None = None
    shuffle: int = 0
    limit: int | None = None
    by_activation: bool = False
    published_from: int | None = None
    published_until: int | None = None
    delay: TDelay = "none"
    delay_seconds: int = 0
    vanishing: int = 0
    moving: int = 0
    whole_seconds: bool = False
    now: int = 0

    def moment(self) -> str:
        """SQL of an event's timestamp as responses have it."""
        moment = '"timestamp"'
        if self.moving:
            is_moved = f"{_chance('moving')} < {self.moving} AND {moment} <= {self.now - _DAY}"
            moment = f"({moment} + CASE WHEN {is_moved} THEN {_SECOND} ELSE 0 END)"
        return f"({moment} // {_SECOND} * {_SECOND})" if self.whole_seconds else moment

    def readable_at(self) -> str:
        """SQL of when an event can be read."""
        longest = self.delay_seconds * _SECOND
        late = {
            "none": "0",
            "constant": str(longest),
            "exponential": f"(-ln(({_chance('delay', 1_000_000)} + 1) / 1000001.0) * {longest})",
            "batches": f'CASE WHEN "timestamp" // {_HOUR} % 24 = 7 THEN {longest} ELSE 0 END',
            "nine_days": f"CASE WHEN {_chance('delay', 1_000)} = 0 THEN {9 * _DAY} ELSE 0 END",
        }[self.delay]
        return "visible_at" if late == "0" else f"visible_at + {late}::BIGINT"

    def condition(self) -> str:
        """The SQL condition that an event must meet, over the columns of ``Account``."""
        moment = self.moment()
        if self.by_activation:
            moment = f"coalesce(activation_timestamp, {moment})"
        parts = [
            f"{column} {operator} {bound}"
            for column, operator, bound in (
                (moment, ">=", self.start),
                (moment, "<", self.end),
                (self.moment(), ">=", self.published_from),
                (self.moment(), "<", self.published_until),
                ("activation_timestamp", ">=", self.activation_start),
                ("activation_timestamp", "<", self.activation_end),
                (self.readable_at(), "<=", self.visible_until),
                ("serial", "<", self.below_serial),
            )
            if bound is not None
        ]
        if self.channels is not None:
            parts.append(_is_one_of("channel", self.channels))
        if self.types is not None:
            parts.append(_is_one_of("type", self.types))
        if self.without_types:
            parts.append(f"(type IS NULL OR NOT {_is_one_of('type', self.without_types)})")
        if self.subtypes is not None:
            parts.append(_is_one_of("subtype", self.subtypes))
        parts += [f"{column} = {literal(value)}" for column, value in self.ids]
        if self.robots is not None:
            parts.append(_is_one_of("robot", self.robots) if self.robots else "robot IS NULL")
        if self.vanishing:
            is_gone = f"{_chance('vanishing')} < {self.vanishing}"
            parts.append(f'NOT ({is_gone} AND "timestamp" <= {self.now - _DAY})')
        if self.items is not None:
            parts.append(_any_of(_items_condition(entry) for entry in self.items))
        return " AND ".join(parts) or "true"


@dataclass(frozen=True)
class RecordedRequest:
    """One request and the response to it.

    Attributes:
        method: HTTP method.
        path: Path, percent escapes decoded.
        query: Query parameters, decoded.
        headers: Headers as sent; names in any case.
        body: The body's JSON, None where there is none.
        status: Status of the response, 0 where the connection ended without one.
        event_count: Events in the response, before any fault cut or changed it.
        byte_count: Bytes of the body that were made, uncompressed.
        request_id: The response's ``x-request-id``.
        received_at: When it came in, seconds of the machine's monotonic clock.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any
    status: int
    event_count: int
    byte_count: int
    request_id: str
    received_at: float = 0.0


def chance(event_id: str, salt: str) -> int:
    """A number below 100 that an event always has, as SQL has it."""
    digest = hashlib.md5((event_id + salt).encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "little") % 100


def _chance(salt: str, below: int = 100) -> str:
    """SQL of a number that an event always has."""
    return f"(md5_number_lower(event_id || {literal(salt)}) % {below})"


def literal(value: str) -> str:
    """The SQL literal of a text.

    A character that UTF-8 text cannot hold (a lone surrogate) is replaced, and so is NUL:
    no id holds one, so the literal then matches nothing it should not.
    """
    clean = value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{SYMBOL FOR NULL}")
    return "'" + clean.replace("'", "''") + "'"


def _is_one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(map(literal, values))})" if values else "false"


def _any_of(parts: Iterable[str]) -> str:
    listed = list(parts)
    return f"({' OR '.join(listed)})" if listed else "false"


def _items_condition(entry: ItemsChoice) -> str:
    parts = []
    if entry.channel is not None:
        parts.append(f"channel = {literal(entry.channel)}")
    if entry.items:
        parts.append(_is_one_of("action_id", entry.items))
    if entry.events:
        parts.append(_any_of(_choice_condition(choice) for choice in entry.events))
    return f"({' AND '.join(parts) or 'true'})"


def _choice_condition(choice: EventChoice) -> str:
    condition = f"type = {literal(choice.type)}"
    if choice.subtypes:
        return f"({condition} AND {_is_one_of('subtype', choice.subtypes)})"
    return condition
