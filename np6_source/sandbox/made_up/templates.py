"""Payloads from templates: text with expressions in angle brackets becomes SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..event_row import COLUMNS
from ..query import literal

LINKS = (
    ("homepage", "https://www.example.com/"),
    ("offer of the week", "https://www.example.com/offers?utm_source=np6"),
    ("new arrivals", "https://shop.example.com/new?sort=recent"),
    ("my account", "https://www.example.com/account"),
    ("social", "https://social.example.org/brand"),
)
"""Label and destination of the links that messages have."""
ENVELOPE = (
    '{"type":"<type>","id":"<event_id>","timestamp":<happened_at>,'
    '"identity":{"type":"customer","agency":"DEMO","customer":"028"},'
    '"source":{"type":"<channel>","detail":{<detail>}}}'
)
FOOTPRINT = '{"type":"footprint","id":"<contact_id>","unicity":"<unicity>","hash":"<hash>"}'
STAMP = '{"time":<stamp_time>,"id":"<stamp_id>","thread":"<thread_id>"}'


def sql(template: str) -> str:
    """SQL of a text with expressions in angle brackets; a name stands for its column."""
    parts = re.split(r"<([^<>]+)>", template)
    return f"concat({', '.join(_part(index, part) for index, part in enumerate(parts) if part)})"


def _part(index: int, part: str) -> str:
    return part if index % 2 else literal(part)


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(literal, values))}]"


def one_of(values: Sequence[str], index: str) -> str:
    """SQL of one of some texts, by a number of any size."""
    return f"({_list(values)})[1 + ({index}) % {len(values)}]"


def payload_of(detail: str, **values: str) -> str:
    """SQL of an event's payload.

    Args:
        detail: Template of the inside of ``source.detail``.
        values: SQL for names in the envelope, where it is not the column of that name.
    """
    template = ENVELOPE.replace("<detail>", detail)
    for name, expression in values.items():
        template = template.replace(f"<{name}>", f"<{expression}>")
    return sql(template)


def event_row(kind: str, payload: str, **values: str) -> str:
    """SELECT list of an event in the columns of an account."""
    given = {
        "event_id": "event_id",
        "timestamp": "happened_at",
        "visible_at": "happened_at",
        "activation_timestamp": "activated_at",
        "type": literal(kind),
        "channel": "channel",
        "action_id": "CASE WHEN channel IN ('email', 'sms') THEN source_id END",
        "campaign_id": "campaign_id",
        "contact_id": "contact_id",
        "contact_unicity": "unicity",
        "contact_hash": "hash",
        "notification_id": "CASE WHEN channel = 'notification' THEN source_id END",
        "display_content_id": "CASE WHEN channel = 'display' THEN source_id END",
        "payload": f"encode({payload})",
    } | values
    return ", ".join(
        f'({given.get(name, "NULL")})::{column_type} AS "{name}"' for name, column_type in COLUMNS
    )
