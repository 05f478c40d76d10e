"""What the views' columns mean: for the documentation, comments in the destination, and dbt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..schema import TABLES

if TYPE_CHECKING:
    from .definitions import View

KEYS = {
    "activations": ("event_id",),
    "executions": ("event_id",),
    "cancellations": ("event_id",),
    "bounces": ("event_id",),
    "hits": ("event_id",),
    "replies": ("event_id",),
    "complaints": ("event_id",),
    "optouts": ("event_id",),
    "impressions": ("event_id",),
    "messages": ("message_id",),
    "action_performance": ("action_id", "channel"),
    "action_performance_daily": ("action_id", "channel", "sent_on"),
    "campaign_performance": ("campaign_id", "channel"),
    "contact_engagement": ("contact_id",),
    "deliverability_daily": ("sent_on", "channel", "recipient_domain"),
    "bounce_reasons_daily": (
        "bounced_on",
        "channel",
        "recipient_domain",
        "verdict",
        "status_code_enhanced",
        "subject_type",
        "subject_detail_type",
    ),
    "link_performance": (
        "action_id",
        "channel",
        "link_type",
        "link_label",
        "link_destination",
        "form_id",
    ),
    "device_breakdown": (
        "action_id",
        "channel",
        "link_type",
        "device_type",
        "os_family",
        "browser_type",
        "browser_name",
    ),
    "activity_daily": ("happened_on", "channel", "action_id"),
    "response_curve": ("action_id", "channel", "hours_since_sending"),
    "freshness": ("resource", "scope_id", "classification"),
    "data_quality": ("check_name",),
}
"""The columns that identify a row, by view."""

CHANNEL = "email, sms, notification, display …"
ACTION = "The action (e-mail, SMS), notification or display content"
DELIVERED = "delivered messages whose activation is loaded"

COMMON: Mapping[str, str] = {
    "action_id": ACTION,
    "action_name": "Its name, where names are loaded",
    "action_type": "Its type, where names are loaded",
    "cancellation_type": "Why: redlisted target, user defined policy …",
    "campaign_id": "The campaign's uuid",
    "campaign_name": "Its name, where names are loaded",
    "category_name": "Name of the action's category, where names are loaded",
    "channel": CHANNEL,
    "click_rate": "count_unique_clicks / count_delivered",
    "click_rate_including_robots": "count_unique_clicks_including_robots / count_delivered",
    "click_to_open_rate": "count_unique_clicks / count_unique_readers: of those who read",
    "cancellation_rate": "count_cancelled / count_decided",
    "complaint_rate": "count_complained / count_delivered",
    "bounce_rate": "count_bounced / count_sent",
    "delivery_rate": "count_delivered / count_sent",
    "hard_bounce_rate": "count_hard_bounced / count_sent",
    "observable_open_rate": (
        "count_unique_opens / (count_delivered - count_hidden_opens): without the messages whose"
        " opens Apple's proxy hides"
    ),
    "open_rate": "count_unique_opens / count_delivered: people",
    "open_rate_including_robots": "count_unique_opens_including_robots / count_delivered",
    "unsubscribe_rate": "count_unsubscribed / count_delivered",
    "count_actions": "Actions of these messages",
    "count_bounced": "Messages that bounced, of those whose activation is loaded",
    "count_cancelled": "Messages that were cancelled",
    "count_clicks": "Clicks of people on messages whose activation is loaded",
    "count_complained": f"Complained about, of the {DELIVERED}",
    "count_decided": "Messages whose activation is loaded, or that were cancelled",
    "count_delivered": "Messages that did not bounce, of those whose activation is loaded",
    "count_executed": "Messages with an execution; executions may have stamps of their own, and"
    " are then messages of their own",
    "count_hard_bounced": "Messages that bounced for good, of those whose activation is loaded",
    "count_hidden_opens": f"Opened by Apple's proxy and visibly by nobody, of the {DELIVERED}",
    "count_messages_without_activation": "Sent messages whose activation is not loaded: in no rate",
    "count_opens": "Opens of people, of messages whose activation is loaded",
    "count_replied": f"Replied to, of the {DELIVERED}",
    "count_sent": "Messages whose activation is loaded",
    "count_sent_with_execution": "Of these, messages whose execution is known, by the stamp or by"
    " message_key",
    "count_unique_clicks": f"Clicked by a person, of the {DELIVERED}",
    "count_unique_clicks_including_robots": f"Clicked by a person or robot, of the {DELIVERED}",
    "count_unique_opens": f"Opened by a person, of the {DELIVERED}",
    "count_unique_opens_including_robots": f"Opened by a person or robot, of the {DELIVERED}",
    "count_unique_readers": f"Opened or clicked by a person, of the {DELIVERED}",
    "count_unsubscribed": f"Unsubscribed from, of the {DELIVERED}",
    "event_id": "The event, events.id",
    "first_event_at": "Its first event of a known type",
    "first_sent_at": "Its first activation",
    "form_id": "Of a form hit the form",
    "happened_at": "When NP6 published the event",
    "happened_on": "Its UTC day",
    "last_event_at": "Its last event of a known type",
    "last_sent_at": "Its last activation",
    "robot_class": "mpp (Apple's privacy proxy), gsr (Google), genericrobot; NULL of a person",
    "sent_on": "UTC day of the activation",
    "stamped_at": "When the message's stamp was made",
}
"""Meanings of columns that are the same in every view that has them."""

ENGAGED = "where the activation is not loaded too"
OF_VIEW: Mapping[str, Mapping[str, str]] = {
    "hits": {
        "is_robot": "Whether NP6 classified the hit as a robot's, as far as robots were asked for"
    },
    "messages": {
        "message_id": "The message (stamp id)",
        "executed_at": "First execution",
        "sent_at": "First activation",
        "cancelled_at": "First cancellation",
        "bounced_at": "First bounce",
        "complained_at": "First complaint",
        "replied_at": "First reply",
        "opted_out_at": "First opt-out of notifications",
        "first_seen_at": "First impression",
        "first_opened_at": "First open by a person",
        "last_opened_at": "Last open by a person",
        "first_clicked_at": "First click by a person",
        "last_clicked_at": "Last click by a person",
        "first_mirrored_at": "First view of the mirror page by a person",
        "first_form_at": "First form by a person",
        "unsubscribed_at": "First unsubscription by a person",
        "requested_at": "When the last of the responses that brought its events was requested",
        "count_events": "Its events of known types",
        "was_executed": "Whether it has an execution",
        "was_sent": "Whether it has an event that only sent messages have",
        "is_activation_loaded": "Whether its activation is loaded: rates count only these",
        "was_cancelled": "Whether it has a cancellation; a sent message may have one",
        "was_delivered": "Sent, and no bounce",
        "was_bounced": "Whether it has a bounce of any verdict",
        "was_hard_bounced": "Whether it has a bounce with verdict hard",
        "was_complained": "Whether it has a complaint",
        "was_replied": "Whether it has a reply",
        "was_opted_out": "Whether it has an opt-out of notifications",
        "was_unsubscribed": "Whether a person unsubscribed from it",
        "was_opened": "Whether a person opened it",
        "was_clicked": "Whether a person clicked in it",
        "was_opened_including_robots": "Whether anybody opened it",
        "was_clicked_including_robots": "Whether anybody clicked in it",
        "is_open_hidden": "No open of a person, one or more through Apple's proxy: unknown",
        "count_opens": "Opens of people",
        "count_clicks": "Clicks of people",
        "count_opens_including_robots": "Opens of people and robots",
        "count_clicks_including_robots": "Clicks of people and robots",
        "count_robot_hits": "Hits of robots, of any kind",
        "minutes_to_open": "From sent_at to first_opened_at; negative where published out of order",
        "minutes_to_click": "From sent_at to first_clicked_at; may be negative",
        "minutes_to_bounce": "From sent_at to bounced_at; may be negative",
        "is_ambiguous": "Whether its events name several actions; action_id is then the least",
    },
    "action_performance_daily": {
        "sent_on": "UTC day of the activation, else cancellation, execution, stamp",
    },
    "contact_engagement": {
        "first_opened_at": "First open by a person",
        "last_opened_at": "Last open by a person",
        "last_clicked_at": "Last click by a person",
        "count_bounced": f"Messages that bounced, {ENGAGED}",
        "count_hard_bounced": f"Messages that bounced for good, {ENGAGED}",
        "count_messages_opened": f"Messages that a person opened, {ENGAGED}",
        "count_messages_clicked": f"Messages that a person clicked in, {ENGAGED}",
        "count_opens": f"Opens of people, {ENGAGED}",
        "count_clicks": f"Clicks of people, {ENGAGED}",
        "count_refusals": "Messages with an unsubscription, complaint or opt-out",
        "days_since_open": "Whole days since last_opened_at, now",
        "days_since_click": "Whole days since last_clicked_at, now",
    },
    "deliverability_daily": {
        "count_soft_bounced": "Messages that bounced, but not for good",
    },
    "bounce_reasons_daily": {
        "bounced_on": "UTC day of the bounce",
        "count_bounces": "Bounces",
        "count_unique_messages": "Messages that bounced so",
        "count_async": "Bounces reported after the other side had taken the message",
        "example_diagnostic": "One of the other sides' texts",
    },
    "link_performance": {
        "count_hits": "Hits of people",
        "count_unique_messages": "Messages that a person hit",
        "count_unique_contacts": "Contacts who hit, people",
        "count_hits_including_robots": "Hits of people and robots",
        "count_unique_messages_including_robots": "Messages that a person or robot hit",
        "first_hit_at": "First hit of a person",
        "last_hit_at": "Last hit of a person",
    },
    "device_breakdown": {
        "link_type": "Kind of hit: open, redirection …; unknown where it is missing",
        "device_type": "Smartphone …; unknown where it is missing",
        "os_family": "Android …; unknown where it is missing",
        "browser_type": "Mobile browser …; unknown where it is missing",
        "browser_name": "Chrome Mobile …; unknown where it is missing",
        "count_hits": "Hits of people",
        "count_unique_messages": "Messages that were hit",
        "count_unique_contacts": "Contacts who hit",
    },
    "activity_daily": {
        "happened_on": "UTC day on which the events were published",
        "count_events": "All events, of unknown types and without a message too",
        "count_executions": "Executions",
        "count_activations": "Activations",
        "count_cancellations": "Cancellations",
        "count_bounces": "Bounces",
        "count_hits": "Hits of people, of any kind",
        "count_opens": "Opens of people",
        "count_clicks": "Clicks of people",
        "count_unsubscriptions": "Unsubscriptions by people",
        "count_robot_hits": "Hits of robots, of any kind",
        "count_replies": "Replies",
        "count_complaints": "Complaints",
        "count_optouts": "Opt-outs of notifications",
        "count_impressions": "Impressions",
    },
    "response_curve": {
        "hours_since_sending": "1, 6, 24, 72, 168 or 720",
        "count_delivered": f"The {DELIVERED} that were at least so old at the latest event",
        "count_unique_opens": "Of these, opened by a person within the hours",
        "count_unique_clicks": "Of these, clicked by a person within the hours",
    },
    "freshness": {
        "classification": "Class of robots that was requested; empty: all events",
        "is_account_wide": "Whether the resource covers the whole account",
        "covered_from": "Start of the first window",
        "complete_from": "From here to complete_until nothing is missing",
        "complete_until": "End of what is loaded without a gap from complete_from, exclusive",
        "count_gaps": "Spans between covered_from and complete_until that no load covers",
        "count_windows": "Rows of load_windows: windows, cut at midnights; read again ones too",
        "count_events_answered": "Events in their responses, read again ones too",
        "last_requested_at": "When the last window was requested",
        "lag_minutes": "Minutes since complete_until, now",
        "last_event_at": "The latest event of the dataset, from whatever resource",
        "count_packages_not_in_messages": (
            "Load packages that are not in messages yet, where that is a table; else NULL"
        ),
    },
    "data_quality": {
        "check_name": "What is counted",
        "count_found": "How many were found; none is good, but for executions with the same stamp"
        " (all is good) and robots",
        "count_of": "Of how many",
    },
}
"""Meanings of columns in one view, before those in ``COMMON``."""


@dataclass(frozen=True)
class ViewColumn:
    """A column of a view.

    Attributes:
        comment: Its meaning.
        data_type: dlt's data type.
        personal: The class of personal data it belongs to, ``no`` for none.
        nullable: Whether it may be NULL.
    """

    comment: str
    data_type: str
    personal: str = "no"
    nullable: bool = True


def described(view: View) -> dict[str, ViewColumn]:
    """The columns of a view, in order."""
    return {name: _described(view, name) for name in view.columns}


def _described(view: View, name: str) -> ViewColumn:
    base = {column.name: column for table in reversed(TABLES) for column in table.columns}
    same = base.get(BASE_COLUMNS.get(name, name))
    comment = OF_VIEW.get(view.name, {}).get(name) or COMMON.get(name)
    if comment is None:
        comment = same.description if same else ""
    nullable = not (
        (name.startswith(("was_", "is_", "count_")) and name != "count_packages_not_in_messages")
        or (len(view.key) == 1 and name in view.key)
    )
    return ViewColumn(comment, _data_type(name), same.personal if same else "no", nullable)


BASE_COLUMNS = {"example_diagnostic": "diagnostic", "form_id": "link_value"}
"""Columns of tables whose values columns of other names hold."""


def _data_type(name: str) -> str:
    """The data type that a column's name says, by the conventions of the views."""
    if name.endswith("_at") or name in ("covered_from", "complete_from", "complete_until"):
        return "timestamp"
    if name.endswith("_on"):
        return "date"
    if name.startswith(("was_", "is_")):
        return "bool"
    if name.startswith(("count_", "days_", "hours_")):
        return "bigint"
    if name.endswith("_rate") or "_rate_" in name or name.startswith(("minutes_", "lag_")):
        return "double"
    return "text"
