"""The elements that an account has of the dimensions.

Elements are served as they were given (``Account.describe``). Of what was not described, actions,
campaigns, notifications, contacts, the redlist and subscriptions follow from the events; the rest
is empty.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ..dimensions import Dimension
from .account import Account, StoredAccount
from .clock import moment
from .query import literal

TElement = dict[str, Any]

CREATED = "creationDate"
CREATION_BOUNDS: dict[str, tuple[str, str, str]] = {
    "actions": ("creation_start", "creation_end", CREATED),
    "redlist_mail": ("startDate", "endDate", "timestamp"),
    "redlist_sms": ("startDate", "endDate", "timestamp"),
}
"""Query parameters that bound a time of the elements, and the field that holds it."""

CONTACT_COLUMNS = {"target_ids": "contact_id", "target_unicities": "contact_unicity"} | {
    "target_hashes": "contact_hash"
}

REDLISTED = {
    "redlist_mail": "channel = 'email' AND (subtype = 'unsubscribe' OR type = 'complaint')",
    "redlist_sms": "channel = 'sms' AND type = 'reply'",
}
"""Events that put their contact on a redlist. That they do is an assumption."""


def elements(account: Account, dimension: Dimension, query: Mapping[str, str]) -> list[TElement]:
    """The array of an operation over the whole account.

    Args:
        account: The account.
        dimension: The operation.
        query: The request's parameters.

    Raises:
        ValueError: A bound is no moment.
    """
    found = account.descriptions.get(dimension.name)
    if found is None:
        derive = DERIVED.get(dimension.name)
        found = derive(account) if derive and isinstance(account, StoredAccount) else []
    if dimension.name not in CREATION_BOUNDS:
        return found
    start, end, field = CREATION_BOUNDS[dimension.name]
    first = moment(query[start]) if start in query else None
    last = moment(query[end]) if end in query else None
    return [
        element
        for element in found
        if (first is None or moment(element[field]) >= first)
        and (last is None or moment(element[field]) < last)
    ]


def element(account: Account, dimension: Dimension, scope: str) -> TElement | list[TElement] | None:
    """The response to a request for one id; None where the account does not know it.

    Args:
        account: The account.
        dimension: The operation.
        scope: The id.
    """
    if dimension.ids in CONTACT_COLUMNS:
        contact = _contact(account, CONTACT_COLUMNS[dimension.ids], scope)
        if contact is None or dimension.gives == "object":
            return contact and contact["target"]
        return [contact["subscription"]] if contact["has_app"] else []
    name = {"action": "actions", "campaign": "campaigns"}[dimension.name]
    described = account.descriptions.get(dimension.name, [])
    listed = account.descriptions.get(name)
    if listed is None and isinstance(account, StoredAccount):
        listed = DERIVED[name](account)
    return next((e for e in (*described, *(listed or ())) if str(e["id"]) == scope), None)


def _contact(account: Account, column: str, value: str) -> TElement | None:
    samples = account.descriptions.get("targets", [])
    field = {"contact_id": "id", "contact_hash": "hash"}.get(column)
    for target in samples:
        if field and target[field] == value:
            return {"target": target, "has_app": False}
    if not account.knows(column, value) or not isinstance(account, StoredAccount):
        return None
    rows = _rows(
        account,
        "SELECT max(contact_id), max(contact_unicity), max(contact_hash), min(timestamp),"
        f" max(timestamp), bool_or(channel = 'notification') FROM events"
        f" WHERE {column} = {literal(value)}",
    )
    contact_id, unicity, contact_hash, first, last, has_app = rows[0]
    footprint = {"type": "footprint", "id": contact_id, "unicity": unicity, "hash": contact_hash}
    application = next(iter(account.descriptions.get("applications", ())), {}).get("id")
    name = str(unicity or contact_id).partition("@")[0].partition(".")[0]
    return {
        "has_app": has_app,
        "target": {
            "id": contact_id,
            "hash": contact_hash,
            CREATED: iso(first or 0),
            "lastUpdateDate": iso(last or 0),
            "fields": {"1": unicity, "2": name.title(), "5": len(name), "6": [name[:1].upper()]},
        },
        "subscription": {
            "id": _uuid("subscription", contact_id),
            "lifecycle": {
                "creation": {"date": iso(first or 0), "user": "sdk"},
                "modification": {"date": iso(last or 0), "user": "sdk"},
            },
            "application": application or _uuid("application"),
            "provider": {"type": "fcm", "token": f"secret-token-{_uuid('token', contact_id)}"},
            "contact": {"type": "footprint", "footprint": footprint},
        },
    }


def _actions(account: StoredAccount) -> list[TElement]:
    return [
        {
            "type": f"{'sms' if channel == 'sms' else 'mail'}Message",
            "id": action,
            "name": f"Action {action}",
            CREATED: iso(first - 86_400_000),
            "informations": {"folder": 1, "category": 1, "state": 50},
            "settings": {"templating": {"version": "4"}},
            "monitor": {"lastSent": {"at": iso(last)}},
        }
        for action, channel, first, last in _rows(
            account,
            "SELECT action_id, min(channel), min(timestamp), max(timestamp) FROM events"
            " WHERE action_id IS NOT NULL GROUP BY 1 ORDER BY 1",
        )
    ]


def _campaigns(account: StoredAccount) -> list[TElement]:
    return [
        {
            "id": campaign,
            "name": f"Campaign {campaign[:8]}",
            "description": None,
            "startDate": iso(first),
            "endDate": None,
            CREATED: iso(first - 86_400_000),
            "updateDate": iso(first),
            "items": [],
        }
        for campaign, first in _rows(
            account,
            "SELECT campaign_id, min(timestamp) FROM events WHERE campaign_id IS NOT NULL"
            " GROUP BY 1 ORDER BY 1",
        )
    ]


def _notifications(account: StoredAccount) -> list[TElement]:
    return [
        {
            "type": "push-app",
            "id": int(number),
            "name": f"Notification {number}",
            "stamp": {"creation": iso(first), "modification": iso(first)},
            "active": True,
            "versions": [],
        }
        for number, first in _rows(
            account,
            "SELECT notification_id, min(timestamp) FROM events"
            " WHERE notification_id IS NOT NULL GROUP BY 1 ORDER BY 1",
        )
    ]


def _redlist(name: str) -> Callable[[StoredAccount], list[TElement]]:
    def listed(account: StoredAccount) -> list[TElement]:
        return [
            {"id": contact, "timestamp": iso(first), "origin": origin}
            for contact, first, origin in _rows(
                account,
                "SELECT contact_id, min(timestamp), min(CASE type WHEN 'complaint' THEN 5 WHEN"
                " 'reply' THEN 6 ELSE 4 END) FROM events WHERE contact_id IS NOT NULL AND"
                f" {REDLISTED[name]} GROUP BY 1 ORDER BY 1",
            )
        ]

    return listed


DERIVED: dict[str, Callable[[StoredAccount], list[TElement]]] = {
    "actions": _actions,
    "campaigns": _campaigns,
    "notifications": _notifications,
    **{name: _redlist(name) for name in REDLISTED},
}


def iso(ms: int) -> str:
    """A moment as the reference's samples write it: ISO 8601 in whole seconds, UTC."""
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _uuid(*names: object) -> str:
    return str(uuid.UUID(hashlib.md5(":".join(map(str, names)).encode()).hexdigest()))


def _rows(account: Account, statement: str) -> list[tuple[Any, ...]]:
    cursor = account.connection.cursor()
    try:
        return cursor.execute(statement).fetchall()
    finally:
        cursor.close()
