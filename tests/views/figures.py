"""The figures of every view, computed in plain Python from the events as served.

No SQL, and nothing of ``np6_source``: what the views say is compared with this, cell by cell.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

TRow = dict[str, Any]
KNOWN = [
    "execution",
    "activation",
    "cancellation",
    "bounce",
    "hit",
    "reply",
    "complaint",
    "optout",
    "impression",
]
EVENT_VIEWS = {
    "activations": "activation",
    "executions": "execution",
    "cancellations": "cancellation",
    "bounces": "bounce",
    "hits": "hit",
    "replies": "reply",
    "complaints": "complaint",
    "optouts": "optout",
    "impressions": "impression",
}
HOURS = (1, 6, 24, 72, 168, 720)


@dataclass(frozen=True)
class Between:
    """A figure that depends on the time of asking."""

    least: float
    most: float


@dataclass
class Served:
    """What an API has served, and what the connector noted about it.

    Attributes:
        events: The events' payloads.
        robots: Robot class by event id.
        requested_at: When each event was requested, milliseconds since the epoch.
        campaigns: Pairs of campaign and event id.
        windows: Rows of the ledger that are proven: resource, scope_id, start, end, count,
            requested_at.
        asked: The span of time in which the views were read.
        message_key: What makes events one message.
    """

    events: list[dict[str, Any]]
    robots: Mapping[str, str] = field(default_factory=dict)
    requested_at: Mapping[str, int] = field(default_factory=dict)
    campaigns: Iterable[tuple[str, str]] = ()
    windows: Iterable[tuple[str, str, int, int, int, int]] = ()
    asked: tuple[int, int] = (0, 0)
    message_key: str = "stamp"


def get(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def identity(event: dict[str, Any]) -> tuple[str, str]:
    return get(event, "identity.agency") or "", get(event, "identity.customer") or ""


def text(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else str(value)


def day(ms: int | None) -> str | None:
    return (
        None if ms is None else datetime.fromtimestamp(ms // 1000, timezone.utc).date().isoformat()
    )


def least(values: Iterable[Any]) -> Any:
    return min((v for v in values if v is not None), default=None)


def most(values: Iterable[Any]) -> Any:
    return max((v for v in values if v is not None), default=None)


def rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def minutes(first: int | None, second: int | None) -> float | None:
    return None if first is None or second is None else (second - first) / 1000 / 60


def flat(event: dict[str, Any], served: Served) -> TRow:
    """The fields of an event that figures need."""
    detail = get(event, "source.detail") or {}
    send = detail.get("activation") or detail.get("execution") or {}
    person = send.get("receiver") or send.get("recipient") or {}
    if not isinstance(person, dict):
        person = {}
    if person.get("type") == "contact":
        person = person.get("value") or {}
    kind = event.get("type")
    recipient = send.get("recipient") if isinstance(send.get("recipient"), str) else None
    domain = None
    if recipient is not None and "@" in recipient:
        domain = recipient.rpartition("@")[2].lower().rstrip(".")
    link, bounce = detail.get("link") or {}, detail.get("bounce") or {}
    return {
        "event_id": event["id"],
        "type": kind,
        "subtype": link.get("type")
        or get(bounce, "analysis.verdict")
        or get(detail, "cancellation.type"),
        "at": event["timestamp"],
        "channel": get(event, "source.type"),
        "action_id": text(send.get("id")),
        "action_kind": send.get("kind"),
        "action_version": send.get("version"),
        "message_id": get(send, "stamp.id") or None,
        "message_thread_id": get(send, "stamp.thread"),
        "message_set_id": get(send, "stamp.set"),
        "stamped_at": get(send, "stamp.time"),
        "contact_id": person.get("id")
        or (person.get("value") if person.get("type") == "id" else None),
        "contact_hash": person.get("hash"),
        "recipient": recipient,
        "recipient_domain": domain,
        "requested_at": served.requested_at.get(event["id"]),
        "robot": served.robots.get(event["id"]),
        "detail": detail,
    }


def grouped(rows: Iterable[TRow], *key: str) -> dict[tuple[Any, ...], list[TRow]]:
    groups: dict[tuple[Any, ...], list[TRow]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in key)].append(row)
    return groups


def count(rows: Iterable[TRow], condition: Callable[[TRow], Any]) -> int:
    return sum(1 for row in rows if condition(row))


def figures(served: Served) -> dict[str, list[TRow]]:
    """The rows of every view."""
    by_id = {event["id"]: flat(event, served) for event in served.events}
    events = list(by_id.values())
    keyed = by_action_and_contact(by_id) if served.message_key == "action_contact" else by_id
    found = {view: event_view(events, kind) for view, kind in EVENT_VIEWS.items()}
    messages = [
        message_of(key[0], rows)
        for key, rows in grouped(
            (e for e in keyed.values() if e["type"] in KNOWN), "message_id"
        ).items()
        if key[0] is not None
    ]
    found["messages"] = messages
    found["action_performance"] = [
        dict(zip(("action_id", "channel"), key, strict=True)) | NAMES | TIMES(rows) | metrics(rows)
        for key, rows in grouped(messages, "action_id", "channel").items()
    ]
    daily = [
        m
        | {
            "sent_on": day(
                next(
                    (
                        m[name]
                        for name in ("sent_at", "cancelled_at", "executed_at", "stamped_at")
                        if m[name] is not None
                    ),
                    None,
                )
            )
        }
        for m in messages
    ]
    found["action_performance_daily"] = [
        dict(zip(("action_id", "channel", "sent_on"), key, strict=True)) | NAMES | metrics(rows)
        for key, rows in grouped(daily, "action_id", "channel", "sent_on").items()
    ]
    found["campaign_performance"] = campaigns(keyed, messages, served)
    found["contact_engagement"] = contacts(messages, served)
    found["deliverability_daily"] = deliverability(messages)
    found["bounce_reasons_daily"] = bounce_reasons(found["bounces"])
    found["link_performance"] = links(found["hits"])
    found["device_breakdown"] = devices(found["hits"])
    found["activity_daily"] = activity(events)
    found["response_curve"] = response_curve(messages, events)
    found["freshness"] = freshness(served, events)
    found["data_quality"] = quality(events, messages, found["hits"], served)
    return found


def by_action_and_contact(by_id: Mapping[str, TRow]) -> dict[str, TRow]:
    """The events, executions with stamps of their own in the messages of their activations."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for e in by_id.values():
        if e["message_id"] is not None and e["type"] is not None:
            kinds[e["message_id"]].add(e["type"])
    waiting: dict[tuple[str, str, str], str] = {}
    activation_of: dict[str, set[str]] = defaultdict(set)
    order = {"execution": 0, "activation": 1}
    for e in sorted(
        (e for e in by_id.values() if e["type"] in order and e["message_id"] is not None),
        key=lambda e: (e["at"], order[e["type"]], e["message_id"]),
    ):
        person = e["channel"], e["action_id"], e["contact_id"]
        if None in person[1:]:
            continue
        if e["type"] == "execution" and kinds[e["message_id"]] == {"execution"}:
            waiting[person] = e["message_id"]
        is_alone = e["type"] == "activation" and "execution" not in kinds[e["message_id"]]
        if is_alone and person in waiting:
            activation_of[waiting.pop(person)].add(e["message_id"])
    moved = {}
    for event_id, e in by_id.items():
        if e["message_id"] in activation_of:
            own = {"message_thread_id": None, "message_set_id": None, "stamped_at": None}
            e = e | own | {"message_id": min(activation_of[e["message_id"]])}
        moved[event_id] = e
    return moved


def event_view(events: list[TRow], kind: str) -> list[TRow]:
    rows = []
    for e in events:
        if e["type"] != kind:
            continue
        row = {
            "event_id": e["event_id"],
            "happened_at": e["at"],
            "happened_on": day(e["at"]),
            **{
                name: e[name]
                for name in [
                    "channel",
                    "action_id",
                    "action_kind",
                    "action_version",
                    "message_id",
                    "message_thread_id",
                    "message_set_id",
                    "contact_id",
                    "contact_hash",
                    "recipient",
                    "recipient_domain",
                    "requested_at",
                ]
            },
        }
        detail = e["detail"]
        if kind in ("activation", "execution", "cancellation"):
            row["stamped_at"] = e["stamped_at"]
        if kind == "cancellation":
            row["cancellation_type"] = get(detail, "cancellation.type")
            row["value_type"] = get(detail, "cancellation.value.type")
            row["value_message"] = get(detail, "cancellation.value.message")
        if kind == "bounce":
            row["verdict"] = get(detail, "bounce.analysis.verdict")
            row["status_type"] = get(detail, "bounce.status.type")
            row["status_code_enhanced"] = get(detail, "bounce.status.code.enhanced")
            row["diagnostic"] = get(detail, "bounce.status.diagnostic")
            row["mta"] = get(detail, "bounce.status.mta")
            row["subject_type"] = get(detail, "bounce.analysis.subject.type")
            row["subject_detail_type"] = get(detail, "bounce.analysis.subject.detail.type")
        if kind == "hit":
            for name in ("type", "label", "source", "destination"):
                row[f"link_{name}"] = get(detail, f"link.{name}")
            row["form_id"] = get(detail, "link.value") if e["subtype"] == "form" else None
            row["is_robot"] = e["robot"] is not None
            row["robot_class"] = e["robot"]
            row["client_type"] = get(detail, "client.type")
            row["client_ip_version"] = get(detail, "client.ip.type")
            row["client_ip"] = get(detail, "client.ip.value")
            row["user_agent"] = get(detail, "client.ua.ua")
            for name in ("type", "name", "version", "vendor"):
                row[f"browser_{name}"] = get(detail, f"client.ua.client.{name}")
            for name in ("name", "family", "vendor"):
                row[f"os_{name}"] = get(detail, f"client.ua.os.{name}")
            for name in ("type", "name", "brand"):
                row[f"device_{name}"] = get(detail, f"client.ua.device.{name}")
        rows.append(row)
    return rows


def message_of(message_id: str, events: list[TRow]) -> TRow:
    def times(kind: str, subtype: str | None = None) -> list[int]:
        return [
            e["at"]
            for e in events
            if e["type"] == kind
            and (subtype is None or (e["subtype"] == subtype and e["robot"] is None))
        ]

    opens, clicks = times("hit", "open"), times("hit", "redirection")
    all_opens = [e for e in events if e["type"] == "hit" and e["subtype"] == "open"]
    all_clicks = [e for e in events if e["type"] == "hit" and e["subtype"] == "redirection"]
    sent_at, bounced_at = least(times("activation")), least(times("bounce"))
    was_sent = any(e["type"] not in ("execution", "cancellation") for e in events)
    actions = {e["action_id"] for e in events} - {None}
    row: TRow = {"message_id": message_id}
    for name in [
        "message_thread_id",
        "message_set_id",
        "channel",
        "action_id",
        "action_kind",
        "action_version",
        "contact_id",
        "contact_hash",
        "recipient",
        "recipient_domain",
        "stamped_at",
    ]:
        row[name] = least(e[name] for e in events)
    row |= {
        "executed_at": least(times("execution")),
        "sent_at": sent_at,
        "sent_on": day(sent_at),
        "cancelled_at": least(times("cancellation")),
        "bounced_at": bounced_at,
        "complained_at": least(times("complaint")),
        "replied_at": least(times("reply")),
        "opted_out_at": least(times("optout")),
        "first_seen_at": least(times("impression")),
        "first_opened_at": least(opens),
        "last_opened_at": most(opens),
        "first_clicked_at": least(clicks),
        "last_clicked_at": most(clicks),
        "first_mirrored_at": least(times("hit", "mirror")),
        "first_form_at": least(times("hit", "form")),
        "unsubscribed_at": least(times("hit", "unsubscribe")),
        "first_event_at": least(e["at"] for e in events),
        "last_event_at": most(e["at"] for e in events),
        "requested_at": most(e["requested_at"] for e in events),
        "count_events": len(events),
        "was_executed": bool(times("execution")),
        "was_sent": was_sent,
        "is_activation_loaded": bool(times("activation")),
        "was_cancelled": bool(times("cancellation")),
        "was_delivered": was_sent and not times("bounce"),
        "was_bounced": bool(times("bounce")),
        "was_hard_bounced": any(e["type"] == "bounce" and e["subtype"] == "hard" for e in events),
        "was_complained": bool(times("complaint")),
        "was_replied": bool(times("reply")),
        "was_opted_out": bool(times("optout")),
        "was_unsubscribed": bool(times("hit", "unsubscribe")),
        "was_opened": bool(opens),
        "was_clicked": bool(clicks),
        "was_opened_including_robots": bool(all_opens),
        "was_clicked_including_robots": bool(all_clicks),
        "is_open_hidden": not opens and any(e["robot"] == "mpp" for e in all_opens),
        "count_opens": len(opens),
        "count_clicks": len(clicks),
        "count_opens_including_robots": len(all_opens),
        "count_clicks_including_robots": len(all_clicks),
        "count_robot_hits": count(events, lambda e: e["type"] == "hit" and e["robot"]),
        "minutes_to_open": minutes(sent_at, least(opens)),
        "minutes_to_click": minutes(sent_at, least(clicks)),
        "minutes_to_bounce": minutes(sent_at, bounced_at),
        "cancellation_type": least(e["subtype"] for e in events if e["type"] == "cancellation"),
        "is_ambiguous": len(actions) > 1,
    }
    return row


NAMES = {"action_name": None, "action_type": None, "category_name": None}


def TIMES(messages: list[TRow]) -> TRow:  # noqa: N802
    return {
        "first_sent_at": least(m["sent_at"] for m in messages),
        "last_sent_at": most(m["sent_at"] for m in messages),
        "last_event_at": most(m["last_event_at"] for m in messages),
    }


def metrics(messages: list[TRow]) -> TRow:
    loaded = [m for m in messages if m["is_activation_loaded"]]
    delivered = [m for m in loaded if not m["was_bounced"]]
    sent, arrived = len(loaded), len(delivered)
    cancelled = count(messages, lambda m: m["was_cancelled"])
    decided = count(messages, lambda m: m["is_activation_loaded"] or m["was_cancelled"])
    opens = count(delivered, lambda m: m["was_opened"])
    clicks = count(delivered, lambda m: m["was_clicked"])
    any_opens = count(delivered, lambda m: m["was_opened_including_robots"])
    any_clicks = count(delivered, lambda m: m["was_clicked_including_robots"])
    readers = count(delivered, lambda m: m["was_opened"] or m["was_clicked"])
    hidden = count(delivered, lambda m: m["is_open_hidden"])
    bounced = count(loaded, lambda m: m["was_bounced"])
    hard = count(loaded, lambda m: m["was_hard_bounced"])
    unsubscribed = count(delivered, lambda m: m["was_unsubscribed"])
    complained = count(delivered, lambda m: m["was_complained"])
    return {
        "count_executed": count(messages, lambda m: m["was_executed"]),
        "count_cancelled": cancelled,
        "count_sent": sent,
        "count_delivered": arrived,
        "count_bounced": bounced,
        "count_hard_bounced": hard,
        "count_decided": decided,
        "count_unique_opens": opens,
        "count_unique_clicks": clicks,
        "count_unique_opens_including_robots": any_opens,
        "count_unique_clicks_including_robots": any_clicks,
        "count_unique_readers": readers,
        "count_hidden_opens": hidden,
        "count_unsubscribed": unsubscribed,
        "count_complained": complained,
        "count_replied": count(delivered, lambda m: m["was_replied"]),
        "count_opens": sum(m["count_opens"] for m in loaded),
        "count_clicks": sum(m["count_clicks"] for m in loaded),
        "count_messages_without_activation": count(
            messages, lambda m: m["was_sent"] and not m["is_activation_loaded"]
        ),
        "count_sent_with_execution": count(loaded, lambda m: m["was_executed"]),
        "delivery_rate": rate(arrived, sent),
        "bounce_rate": rate(bounced, sent),
        "hard_bounce_rate": rate(hard, sent),
        "cancellation_rate": rate(cancelled, decided),
        "open_rate": rate(opens, arrived),
        "click_rate": rate(clicks, arrived),
        "click_to_open_rate": rate(clicks, readers),
        "unsubscribe_rate": rate(unsubscribed, arrived),
        "complaint_rate": rate(complained, arrived),
        "observable_open_rate": rate(opens, arrived - hidden),
        "open_rate_including_robots": rate(any_opens, arrived),
        "click_rate_including_robots": rate(any_clicks, arrived),
    }


def campaigns(by_id: dict[str, TRow], messages: list[TRow], served: Served) -> list[TRow]:
    members = {(campaign, by_id[event]["message_id"]) for campaign, event in served.campaigns}
    by_message = {m["message_id"]: m for m in messages}
    rows = [by_message[m] | {"campaign_id": c} for c, m in members if m in by_message]
    return [
        {
            "campaign_id": campaign,
            "channel": channel,
            "campaign_name": None,
            "count_actions": len({m["action_id"] for m in group} - {None}),
        }
        | TIMES(group)
        | metrics(group)
        for (campaign, channel), group in grouped(rows, "campaign_id", "channel").items()
    ]


def contacts(messages: list[TRow], served: Served) -> list[TRow]:
    def days_since(ms: int | None) -> Between | None:
        if ms is None:
            return None
        first, last = (math.floor((asked - ms) / 86_400_000) for asked in served.asked)
        return Between(first, last)

    return [
        {
            "contact_id": contact,
            "contact_hash": least(m["contact_hash"] for m in group),
            "first_sent_at": least(m["sent_at"] for m in group),
            "last_sent_at": most(m["sent_at"] for m in group),
            "first_opened_at": least(m["first_opened_at"] for m in group),
            "last_opened_at": most(m["last_opened_at"] for m in group),
            "last_clicked_at": most(m["last_clicked_at"] for m in group),
            "first_event_at": least(m["first_event_at"] for m in group),
            "last_event_at": most(m["last_event_at"] for m in group),
            "count_sent": count(group, lambda m: m["is_activation_loaded"]),
            "count_bounced": count(group, lambda m: m["was_bounced"]),
            "count_hard_bounced": count(group, lambda m: m["was_hard_bounced"]),
            "count_cancelled": count(group, lambda m: m["was_cancelled"]),
            "count_messages_opened": count(group, lambda m: m["was_opened"]),
            "count_messages_clicked": count(group, lambda m: m["was_clicked"]),
            "count_opens": sum(m["count_opens"] for m in group),
            "count_clicks": sum(m["count_clicks"] for m in group),
            "count_refusals": count(
                group,
                lambda m: m["was_unsubscribed"] or m["was_complained"] or m["was_opted_out"],
            ),
            "days_since_open": days_since(most(m["last_opened_at"] for m in group)),
            "days_since_click": days_since(most(m["last_clicked_at"] for m in group)),
        }
        for (contact,), group in grouped(messages, "contact_id").items()
        if contact is not None
    ]


def deliverability(messages: list[TRow]) -> list[TRow]:
    key = ("sent_on", "channel", "recipient_domain")
    rows = []
    loaded = [m for m in messages if m["is_activation_loaded"]]
    for values, group in grouped(loaded, *key).items():
        delivered = [m for m in group if not m["was_bounced"]]
        bounced = len(group) - len(delivered)
        hard = count(group, lambda m: m["was_hard_bounced"])
        complained = count(delivered, lambda m: m["was_complained"])
        rows.append(
            dict(zip(key, values, strict=True))
            | {
                "count_sent": len(group),
                "count_delivered": len(delivered),
                "count_bounced": bounced,
                "count_hard_bounced": hard,
                "count_soft_bounced": bounced - hard,
                "count_complained": complained,
                "count_unsubscribed": count(delivered, lambda m: m["was_unsubscribed"]),
                "bounce_rate": rate(bounced, len(group)),
                "hard_bounce_rate": rate(hard, len(group)),
                "complaint_rate": rate(complained, len(delivered)),
            }
        )
    return rows


def bounce_reasons(bounces: list[TRow]) -> list[TRow]:
    key = [
        "bounced_on",
        "channel",
        "recipient_domain",
        "verdict",
        "status_code_enhanced",
        "subject_type",
        "subject_detail_type",
    ]
    rows = [b | {"bounced_on": b["happened_on"]} for b in bounces]
    return [
        dict(zip(key, values, strict=True))
        | {
            "count_bounces": len(group),
            "count_unique_messages": len({b["message_id"] for b in group} - {None}),
            "count_async": count(group, lambda b: b["status_type"] == "async"),
            "example_diagnostic": least(b["diagnostic"] for b in group),
        }
        for values, group in grouped(rows, *key).items()
    ]


def links(hits: list[TRow]) -> list[TRow]:
    key = ["action_id", "channel", "link_type", "link_label", "link_destination", "form_id"]
    rows = []
    for values, group in grouped((h for h in hits if h["link_type"] != "open"), *key).items():
        people = [h for h in group if not h["is_robot"]]
        rows.append(
            dict(zip(key, values, strict=True))
            | {
                "count_hits": len(people),
                "count_unique_messages": len({h["message_id"] for h in people} - {None}),
                "count_unique_contacts": len({h["contact_id"] for h in people} - {None}),
                "count_hits_including_robots": len(group),
                "count_unique_messages_including_robots": len(
                    {h["message_id"] for h in group} - {None}
                ),
                "first_hit_at": least(h["happened_at"] for h in people),
                "last_hit_at": most(h["happened_at"] for h in people),
            }
        )
    return rows


def devices(hits: list[TRow]) -> list[TRow]:
    unknown = ["link_type", "device_type", "os_family", "browser_type", "browser_name"]
    people = [
        h | {name: "unknown" if h[name] is None else h[name] for name in unknown}
        for h in hits
        if not h["is_robot"]
    ]
    key = ["action_id", "channel", *unknown]
    return [
        dict(zip(key, values, strict=True))
        | {
            "count_hits": len(group),
            "count_unique_messages": len({h["message_id"] for h in group} - {None}),
            "count_unique_contacts": len({h["contact_id"] for h in group} - {None}),
        }
        for values, group in grouped(people, *key).items()
    ]


def activity(events: list[TRow]) -> list[TRow]:
    rows = [e | {"happened_on": day(e["at"])} for e in events]
    found = []
    for values, group in grouped(rows, "happened_on", "channel", "action_id").items():
        hits = [e for e in group if e["type"] == "hit"]
        people = [e for e in hits if e["robot"] is None]
        found.append(
            dict(zip(("happened_on", "channel", "action_id"), values, strict=True))
            | {"count_events": len(group)}
            | {
                f"count_{name}": count(group, lambda e, kind=kind: e["type"] == kind)
                for name, kind in EVENT_VIEWS.items()
                if name != "hits"
            }
            | {
                "count_hits": len(people),
                "count_opens": count(people, lambda e: e["subtype"] == "open"),
                "count_clicks": count(people, lambda e: e["subtype"] == "redirection"),
                "count_unsubscriptions": count(people, lambda e: e["subtype"] == "unsubscribe"),
                "count_robot_hits": len(hits) - len(people),
            }
        )
    return found


def response_curve(messages: list[TRow], events: list[TRow]) -> list[TRow]:
    latest = most(e["at"] for e in events)
    rows = []
    delivered = [m for m in messages if m["is_activation_loaded"] and not m["was_bounced"]]
    for (action, channel), group in grouped(delivered, "action_id", "channel").items():
        for hours in HOURS:
            ms = hours * 3_600_000
            old = [m for m in group if latest - m["sent_at"] >= ms]

            def within(name: str, old: list[TRow] = old, ms: int = ms) -> int:
                return sum(1 for m in old if m[name] is not None and m[name] - m["sent_at"] <= ms)

            opens, clicks = within("first_opened_at"), within("first_clicked_at")
            if old:
                rows.append(
                    {
                        "action_id": action,
                        "channel": channel,
                        "hours_since_sending": hours,
                        "count_delivered": len(old),
                        "count_unique_opens": opens,
                        "count_unique_clicks": clicks,
                        "open_rate": rate(opens, len(old)),
                        "click_rate": rate(clicks, len(old)),
                    }
                )
    return rows


def freshness(served: Served, events: list[TRow]) -> list[TRow]:
    by_scope: dict[tuple[str, str], list[tuple[int, int, int, int]]] = defaultdict(list)
    for resource, scope, *window in served.windows:
        by_scope[resource, scope].append(tuple(window))  # type: ignore[arg-type]
    rows = []
    for (resource, scope), windows in by_scope.items():
        islands: list[list[int]] = []
        for start, end, _, _ in sorted(windows):
            if islands and start <= islands[-1][1]:
                islands[-1][1] = max(islands[-1][1], end)
            else:
                islands.append([start, end])
        until = islands[-1][1]
        rows.append(
            {
                "resource": resource,
                "scope_id": scope,
                "classification": "",
                "is_account_wide": scope == "",
                "covered_from": islands[0][0],
                "complete_from": islands[-1][0],
                "complete_until": until,
                "count_gaps": len(islands) - 1,
                "count_windows": len(windows),
                "count_events_answered": sum(w[2] for w in windows),
                "last_requested_at": max(w[3] for w in windows),
                "lag_minutes": Between(*((asked - until) / 60_000 for asked in served.asked)),
                "last_event_at": most(e["at"] for e in events),
                "count_packages_not_in_messages": None,
            }
        )
    return rows


def quality(
    events: list[TRow], messages: list[TRow], hits: list[TRow], served: Served
) -> list[TRow]:
    sent = [m for m in messages if m["was_sent"]]
    loaded = [m for m in messages if m["is_activation_loaded"]]
    bounced = [m for m in messages if m["was_bounced"]]
    reactions = [
        "bounced_at",
        "complained_at",
        "replied_at",
        "opted_out_at",
        "first_seen_at",
        "first_opened_at",
        "first_clicked_at",
        "first_mirrored_at",
        "first_form_at",
        "unsubscribed_at",
    ]
    checks = {
        "sent messages whose activation is not loaded": (
            count(sent, lambda m: not m["is_activation_loaded"]),
            len(sent),
        ),
        "activations whose execution has the same stamp": (
            count(loaded, lambda m: m["was_executed"]),
            len(loaded),
        ),
        "messages both sent and cancelled": (
            count(sent, lambda m: m["was_cancelled"]),
            len(messages),
        ),
        "messages bounced and opened by people": (
            count(bounced, lambda m: m["was_opened"]),
            len(bounced),
        ),
        "messages whose first reaction precedes their activation": (
            count(
                loaded,
                lambda m: any(m[n] is not None and m[n] < m["sent_at"] for n in reactions),
            ),
            len(loaded),
        ),
        "messages of several actions": (
            count(messages, lambda m: m["is_ambiguous"]),
            len(messages),
        ),
        "events without a message id": (
            count(events, lambda e: e["message_id"] is None),
            len(events),
        ),
        "events without a contact id": (
            count(events, lambda e: e["contact_id"] is None),
            len(events),
        ),
        "hits marked as robots": (count(hits, lambda h: h["is_robot"]), len(hits)),
        "events of an unknown type": (
            count(events, lambda e: e["type"] not in KNOWN),
            len(events),
        ),
        "event ids that occur twice": (0, len(events)),
        "events of a second account": (
            count(served.events, lambda e: identity(e) != min(map(identity, served.events))),
            len(events),
        ),
    }
    return [
        {"check_name": name, "count_found": found, "count_of": of}
        for name, (found, of) in checks.items()
    ]
