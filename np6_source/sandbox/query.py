"""Requests as facts: what one asks of an account, with its SQL condition, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

TSort = Literal["asc", "desc"]

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

    def condition(self) -> str:
        """The SQL condition that an event must meet, over the columns of ``Account``."""
        moment = '"timestamp"'
        if self.by_activation:
            moment = 'coalesce(activation_timestamp, "timestamp")'
        parts = [
            f"{column} {operator} {bound}"
            for column, operator, bound in (
                (moment, ">=", self.start),
                (moment, "<", self.end),
                ('"timestamp"', ">=", self.published_from),
                ('"timestamp"', "<", self.published_until),
                ("activation_timestamp", ">=", self.activation_start),
                ("activation_timestamp", "<", self.activation_end),
                ("visible_at", "<=", self.visible_until),
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
