"""An event as an account stores it: its payload, and the columns that requests filter by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .query import ID_COLUMNS

COLUMNS = (
    ("event_id", "VARCHAR"),
    ("timestamp", "BIGINT"),
    ("visible_at", "BIGINT"),
    ("activation_timestamp", "BIGINT"),
    ("type", "VARCHAR"),
    ("subtype", "VARCHAR"),
    ("channel", "VARCHAR"),
    *((column, "VARCHAR") for column in ID_COLUMNS),
    ("robot", "VARCHAR"),
    ("payload", "BLOB"),
)
"""What an account knows of an event: the columns requests filter by, and the payload's JSON."""


@dataclass(frozen=True)
class EventRow:
    """An event with its index columns given explicitly.

    For payloads whose shape says too little: a broken timestamp, an unknown channel, JSON text that
    must reach the client byte by byte. What is None is derived from the payload where its shape is
    understood.

    Attributes:
        payload: The event: a dict, or JSON as text or bytes, which is served as it is.
        event_id: The event's uuid.
        timestamp: Publication time, milliseconds since the epoch, UTC.
        visible_at: When the event becomes readable, in the same unit. None: at its timestamp.
        activation_timestamp: Timestamp of the activation the event belongs to.
        type: Event type.
        subtype: Of a hit the link type, of a bounce the verdict, of a cancellation its type.
        channel: email, sms, notification or display.
        action_id: Action of an e-mail or SMS event.
        campaign_id: Campaign of the action.
        contact_id: Contact's id.
        contact_unicity: Contact's unicity.
        contact_hash: Contact's hash.
        notification_id: Notification of a push event, as text.
        display_content_id: Content of a display event.
        robot: Robot class of a hit that a robot made.
    """

    payload: Mapping[str, Any] | str | bytes
    event_id: str | None = None
    timestamp: int | None = None
    visible_at: int | None = None
    activation_timestamp: int | None = None
    type: str | None = None
    subtype: str | None = None
    channel: str | None = None
    action_id: str | None = None
    campaign_id: str | None = None
    contact_id: str | None = None
    contact_unicity: str | None = None
    contact_hash: str | None = None
    notification_id: str | None = None
    display_content_id: str | None = None
    robot: str | None = None


TEvent = Mapping[str, Any] | str | bytes | EventRow


def row_and_payload(event: TEvent) -> tuple[EventRow, dict[str, Any]]:
    """The event with its payload as bytes, and the payload read, empty where it cannot be."""
    row = event if isinstance(event, EventRow) else EventRow(event)
    if isinstance(row.payload, bytes):
        raw = row.payload
    elif isinstance(row.payload, str):
        # A lone surrogate in the text itself becomes the invalid bytes a careless server sends.
        raw = row.payload.encode("utf-8", "surrogatepass")
    else:
        raw = json.dumps(row.payload, separators=(",", ":")).encode()
    try:
        payload = json.loads(raw)
    except (ValueError, RecursionError):
        payload = None
    return replace(row, payload=raw), payload if isinstance(payload, dict) else {}


def index_columns(payload: dict[str, Any]) -> dict[str, Any]:
    """The index columns that a documented payload shows."""
    channel = _text(value_at(payload, "source", "type"))
    detail = value_at(payload, "source", "detail") or {}
    activation = value_at(detail, "activation")
    send = activation or value_at(detail, "execution")
    person = value_at(activation, "receiver") or value_at(
        value_at(detail, "execution"), "recipient"
    )
    if value_at(person, "type") == "contact":
        person = value_at(person, "value")
    by_value = (
        value_at(person, "type") if value_at(person, "type") in ("id", "unicity", "hash") else None
    )
    subtype = (
        value_at(detail, "link", "type")
        or value_at(detail, "bounce", "analysis", "verdict")
        or value_at(detail, "cancellation", "type")
    )
    kinds = {"cancellation": "cancellation", "bounce": "bounce", "link": "hit"}
    kinds |= {"activation": "activation", "execution": "execution"}
    kind = payload.get("type") or next((kinds[key] for key in kinds if value_at(detail, key)), None)
    timestamp = payload.get("timestamp")
    activated_at = value_at(activation, "stamp", "time")
    source_id = _text(value_at(send, "id"))
    found: dict[str, Any] = {
        "event_id": _text(payload.get("id")),
        "timestamp": timestamp if is_64_bit(timestamp) else None,
        "activation_timestamp": activated_at if is_64_bit(activated_at) else None,
        "type": _text(kind),
        "subtype": _text(subtype),
        "channel": channel,
        "contact_id": _text(value_at(person, "value" if by_value == "id" else "id")),
        "contact_unicity": _text(value_at(person, "value" if by_value == "unicity" else "unicity")),
        "contact_hash": _text(value_at(person, "value" if by_value == "hash" else "hash")),
    }
    id_column = {"notification": "notification_id", "display": "display_content_id"}
    found[id_column.get(channel or "", "action_id")] = source_id
    return {name: value for name, value in found.items() if value is not None}


def value_at(value: Any, *keys: str) -> Any:
    """What is under nested keys of a payload; None where one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value).encode("utf-8", "replace").decode("utf-8")


def is_64_bit(value: Any) -> bool:
    """Whether a value is an integer that DuckDB's BIGINT takes."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
