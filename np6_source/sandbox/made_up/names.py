"""What the things of a made-up account are called: names that fit what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..clock import DAY
from ..descriptions import iso
from .chance import digest, pick, uuid_of
from .mailings import Mailing

TElements = list[dict[str, Any]]

CATEGORIES = ("Newsletter", "Promotion", "Service", "Loyalty", "Retention", "Surveys")
SUBJECTS = {
    "Newsletter": ("The week in brief", "What is new", "Read this first", "Our picks"),
    "Promotion": ("Spring sale", "Two for one", "Free delivery", "Last chance"),
    "Service": ("Order confirmed", "Your parcel is on its way", "Reset your password", "Invoice"),
    "Loyalty": ("Your points", "Birthday gift", "Gold member offer", "Thank you"),
    "Retention": ("We miss you", "Your basket is waiting", "Come back", "A small present"),
    "Surveys": ("How did we do?", "Two questions", "Rate your order", "Tell us more"),
}
CAMPAIGN_THEMES = ("Spring", "Summer", "Back to school", "Winter", "Anniversary", "Always on")
FIELDS = (
    ("email", "Email", True),
    ("textField", "First name", False),
    ("textField", "Last name", False),
    ("phone", "Mobile", False),
    ("numeric", "Orders", False),
    ("multipleSelectList", "Interests", False),
    ("singleSelectList", "Language", False),
    ("date", "Birthday", False),
)
VALUE_LISTS = {
    6: ("Interests", False, ("Football", "Cooking", "Travel", "Books")),
    7: ("Language", True, ("fr", "en", "de")),
}
SEGMENTS = (
    "All contacts",
    "Buyers of the last 12 months",
    "Inactive for 6 months",
    "Test contacts",
)


def names_of(
    seed: int, mailings: Sequence[Mailing], start: int, end: int, contacts: int
) -> dict[str, TElements]:
    """The elements that the dimensions' operations return, by resource.

    Args:
        seed: Another seed, other names.
        mailings: What the account sends.
        start: Start of the account's time, milliseconds since the epoch, UTC.
        end: End of it, exclusive.
        contacts: How many contacts it has.
    """
    sent = [m for m in mailings if m.channel in ("email", "sms")]
    pushes = [m for m in mailings if m.channel == "notification"]
    applications = _applications(seed, start)
    return {
        "actions": [_action(seed, mailing, start, end) for mailing in sent],
        "action": [_details(seed, mailing, start, end) for mailing in sent],
        "categories": [
            {
                "id": 100 + index,
                "name": name,
                "description": None if index else "Sent every week",
                "creationDate": iso(start - 400 * DAY),
            }
            for index, name in enumerate(CATEGORIES)
        ],
        "segments": _segments(start, contacts),
        "fields": _fields(),
        "value_lists": [
            {
                "id": number,
                "name": name,
                "ordered": is_ordered,
                "values": [
                    {"index": index, "value": value} for index, value in enumerate(values, 1)
                ],
            }
            for number, (name, is_ordered, values) in VALUE_LISTS.items()
        ],
        "notifications": [
            _notification(mailing, start, applications[0]["id"], index)
            for index, mailing in enumerate(pushes)
        ],
        "campaigns": _campaigns(mailings, start, end),
        "applications": applications,
        "pressure_topics": [
            {
                "id": uuid_of(digest(seed, "topic", label)),
                "label": label,
                "description": f"At most {most} a week",
                "stamp": {"creation": iso(start - 90 * DAY), "modification": iso(start)},
                "createdBy": "somebody@example.com",
                "modifiedBy": "somebody@example.com",
            }
            for label, most in (("Promotions", 2), ("Newsletters", 1))
        ],
    }


def _category(mailing: Mailing) -> int:
    """Index of a mailing's category: what is triggered is service, retention or loyalty."""
    categories = (2, 4, 3) if mailing.sent_at is None else (0, 1, 5)
    return categories[mailing.number % 3]


def _title(seed: int, mailing: Mailing) -> tuple[str, str]:
    """Name and subject of an action. Every name is another."""
    category = CATEGORIES[_category(mailing)]
    subjects = SUBJECTS[category]
    subject = subjects[pick(len(subjects), seed, "subject", mailing.number)]
    return f"{category} {mailing.number + 1:02d} - {subject}", subject


def _action(seed: int, mailing: Mailing, start: int, end: int) -> dict[str, Any]:
    is_triggered = mailing.sent_at is None
    begins = start if mailing.sent_at is None else mailing.sent_at
    medium = "sms" if mailing.channel == "sms" else "mail"
    scheduler: dict[str, Any] = {"type": "asap" if is_triggered else "scheduled"}
    scheduler["startDate"] = iso(begins)
    state = 100 if not is_triggered and mailing.number % 7 == 5 else 50
    return {
        "type": f"{medium}{'Message' if is_triggered else 'Campaign'}",
        "id": mailing.id,
        "name": _title(seed, mailing)[0],
        "creationDate": iso(begins - DAY * (1 + mailing.number % 5)),
        "informations": {
            "folder": 10 + mailing.number % 3,
            "category": 100 + _category(mailing),
            "state": state,
        },
        "settings": {"templating": {"version": "4"}},
        "scheduler": scheduler,
        "monitor": {"lastSent": {"at": iso(end - 1000 if is_triggered else begins)}},
    }


def _details(seed: int, mailing: Mailing, start: int, end: int) -> dict[str, Any]:
    listed = _action(seed, mailing, start, end)
    name, subject = _title(seed, mailing)
    segments = {"selected": [41, 42][: 1 + mailing.number % 2], "excluded": [43]}
    content: dict[str, Any] = {"html": f"<html><body><h1>{subject}</h1></body></html>"}
    if mailing.channel == "email":
        content["subject"] = subject
        content["headers"] = {"from": {"label": "Example", "domain": "mail.example.com"}}
    return listed | {
        "description": f"{name}, made up",
        "scheduler": listed["scheduler"] | {"segments": segments},
        "content": content,
    }


def _segments(start: int, contacts: int) -> TElements:
    return [
        {
            "type": "dynamic" if index in (1, 2) else "static",
            "id": 41 + index,
            "name": name,
            "creation": iso(start - 200 * DAY),
            "expiration": iso(start + 1000 * DAY),
            "isTest": index == 3,
            "targetsCount": (contacts, contacts // 2, contacts // 5, 3)[index],
            **({"parentId": 41} if index in (1, 2) else {}),
        }
        for index, name in enumerate(SEGMENTS)
    ]


def _fields() -> TElements:
    return [
        {
            "type": kind,
            "id": number,
            "name": name,
            "isUnicity": is_unicity,
            "isMandatory": is_unicity,
            "isCriterion": number < 6,
            **({"constraint": {"operator": 3, "value": "0"}} if kind == "numeric" else {}),
            **({"valueListId": number} if number in VALUE_LISTS else {}),
        }
        for number, (kind, name, is_unicity) in enumerate(FIELDS, 1)
    ]


def _notification(mailing: Mailing, start: int, application: str, index: int) -> dict[str, Any]:
    return {
        "type": "push-app",
        "id": int(mailing.id),
        "name": ("Flash sale alert", "Delivery update")[index % 2],
        "description": None,
        "stamp": {"creation": iso(start - 10 * DAY), "modification": iso(start - DAY)},
        "active": True,
        "settings": {"urgent": bool(index % 2), "purpose": "marketing"},
        "application": application,
        "task": {"id": f"task-{mailing.number}", "type": "segment"},
        "versions": [{"id": mailing.version}],
    }


def _campaigns(mailings: Sequence[Mailing], start: int, end: int) -> TElements:
    ids = list(dict.fromkeys(mailing.campaign for mailing in mailings))
    return [
        {
            "id": campaign,
            "name": f"{CAMPAIGN_THEMES[index % len(CAMPAIGN_THEMES)]} {2025 + index // 6}",
            "description": None,
            "startDate": iso(start),
            "endDate": iso(end),
            "creationDate": iso(start - 30 * DAY),
            "updateDate": iso(start - DAY),
            "items": [
                {"type": mailing.channel, "id": 7000 + mailing.number}
                for mailing in mailings
                if mailing.campaign == campaign
            ],
        }
        for index, campaign in enumerate(ids)
    ]


def _applications(seed: int, start: int) -> TElements:
    return [
        {
            "type": "native",
            "id": uuid_of(digest(seed, "application")),
            "name": "Example shop",
            "description": "The shop's app",
            "active": True,
            "stamp": {"creation": iso(start - 300 * DAY), "modification": iso(start - 20 * DAY)},
            "icon": "https://www.example.com/icon.png",
            "providers": [{"type": "fcm", "key": f"secret-key-{digest(seed, 'provider')}"}],
            "routes": [],
            "channels": ["news"],
        }
    ]
