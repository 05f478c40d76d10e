"""Accounts whose views are compared with figures computed from what they serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from np6_source.sandbox import (
    SAMPLE_CAMPAIGN_ID,
    Account,
    account_from_events,
    generated_account,
    sample_account,
)
from np6_source.sandbox.query import ROBOT_CLASSES, EventQuery
from np6_source.views import TMessageKey
from np6_source.windows import to_ms

START, MIDDLE, END = "2025-01-06", "2025-01-27", "2025-03-10"
HERE = "actions_events"


@dataclass
class Story:
    """An account and how it is loaded.

    Attributes:
        loads: The account at the time of each load.
        start: Start of the loads.
        end: End of the loads.
        resources: The resources that load it.
        ids: Ids for them.
        robots: Robot class by event id, as requests for robots return them.
        channels: The channels that the resources cover.
        message_key: What makes events one message.
    """

    loads: list[Account]
    start: str = START
    end: str = END
    resources: tuple[str, ...] = (HERE,)
    ids: dict[str, list[Any]] = field(default_factory=dict)
    robots: dict[str, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ("email", "sms")
    message_key: TMessageKey = "stamp"

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the loads return, each event once."""
        span = EventQuery(start=moment(self.start), end=moment(self.end), channels=self.channels)
        return list({e["id"]: e for account in self.loads for e in account.events(span)}.values())


def moment(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=timezone.utc))


def robots_of(account: Account) -> dict[str, str]:
    return {
        event["id"]: robot
        for robot in ROBOT_CLASSES
        for event in account.events(EventQuery(robots=(robot,)))
    }


def small(**options: Any) -> Account:
    return generated_account(**{"events": 1200, "actions": 5, "campaigns": 2, "seed": 3} | options)


def generated(**options: Any) -> Story:
    account = small(**options)
    return Story([account], robots=robots_of(account))


def samples() -> Story:
    return Story(
        [sample_account()],
        start="2021-01-01",
        end="2021-12-01",
        resources=(HERE, "campaign_events"),
        ids={"campaign_ids": [SAMPLE_CAMPAIGN_ID]},
    )


def in_campaigns(**options: Any) -> Story:
    story = generated(**options)
    story.resources = (HERE, "campaign_events")
    story.ids = {"campaign_ids": story.loads[0].example_ids("campaign_id")}
    return story


def every_channel() -> Story:
    story = generated()
    story.resources = (
        HERE,
        "notification_events_executions",
        "notification_events_cancellations",
        "notification_events_activations",
        "notifications_reactivities",
        "display_events_activations",
    )
    story.ids = {"notification_ids": story.loads[0].example_ids("notification_id")}
    story.channels = ("email", "sms", "notification", "display")
    return story


def from_the_middle() -> Story:
    story = generated()
    story.start = MIDDLE
    return story


def late() -> Story:
    """Every third event comes with the second load only."""
    events = small().events()
    early = [event for number, event in enumerate(events) if number % 3]
    story = Story([account_from_events(early), account_from_events(events)])
    story.robots = robots_of(small())
    return story


def changed(change: Callable[[list[dict[str, Any]]], None], **options: Any) -> Story:
    account = small(**options)
    events = account.events()
    change(events)
    return Story([account_from_events(events)], robots=robots_of(account))


def reactions_on_bounced(events: list[dict[str, Any]]) -> None:
    """Every fourth hit is of a message that bounced."""
    bounced = [activation(e) for e in events if e["type"] == "bounce"]
    hits = [e for e in events if e["type"] == "hit"]
    for number, hit in enumerate(hits[::4]):
        activation(hit)["stamp"] = bounced[number % len(bounced)]["stamp"]


def unknown_type(events: list[dict[str, Any]]) -> None:
    for event in events[::7]:
        event["type"] = "teleportation"
    del events[1]["type"]


def without_stamp(events: list[dict[str, Any]]) -> None:
    """Every fifth event has none, or one whose id is empty, and is of a second account."""
    for number, event in enumerate(events[::5]):
        event["identity"] = event["identity"] | {"customer": "029"}
        for send in event["source"]["detail"].values():
            if isinstance(send, dict) and number % 2:
                send.pop("stamp", None)
            elif isinstance(send, dict) and "stamp" in send:
                send["stamp"]["id"] = ""


def of_several_actions(events: list[dict[str, Any]]) -> None:
    """Every ninth event names another action than its message's others, or no contact."""
    for number, event in enumerate(events[::9]):
        detail = event["source"]["detail"]
        send = detail.get("activation") or detail["execution"]
        if number % 2:
            send["id"] = "000ZZ9"
        else:
            send.pop("receiver", None)
            send.pop("recipient", None)


def out_of_order(events: list[dict[str, Any]]) -> None:
    """Every fifth activation is published after its reactions, near the end of time."""
    for number, event in enumerate(e for e in events if e["type"] == "activation"):
        if number % 5 == 0:
            event["timestamp"] = moment(END) - 1 - number


def by_action_and_contact(story: Story) -> Story:
    """Of campaigns only the executions are loaded: they bring their activations' messages."""
    story.message_key = "action_contact"
    if story.ids:
        story.ids["campaign_items_events"] = [
            {"type": channel, "events": [{"type": "execution"}]} for channel in story.channels
        ]
    return story


def to_few_contacts(events: list[dict[str, Any]]) -> None:
    """Actions send to the same three contacts again and again, and cancel in between.

    Every fifth execution names no contact, every sixth activation has an execution's stamp, and
    every eleventh event's stamp has an empty id.
    """
    stamps: list[Any] = []
    for number, event in enumerate(events):
        for send in event["source"]["detail"].values():
            if not (isinstance(send, dict) and "stamp" in send):
                continue
            person = send.get("receiver") or send.get("recipient")
            if isinstance(person, dict) and person.get("type") == "footprint":
                person["id"] = f"CON0000{send['stamp']['time'] % 3}"
            if event["type"] == "execution":
                stamps.append(send["stamp"])
                if number % 5 == 0:
                    del send["recipient"]
            if event["type"] == "activation" and number % 6 == 0 and len(stamps) > 1:
                send["stamp"] = stamps[-2]
            if number % 11 == 0:
                send["stamp"] = send["stamp"] | {"id": ""}


def email_only() -> Story:
    account = small()
    events = [e for e in account.events() if e["source"]["type"] == "email"]
    return Story([account_from_events(events)], robots=robots_of(account))


def without_robots() -> Story:
    story = generated()
    story.robots = {}
    return story


def empty() -> Story:
    return Story([account_from_events([])])


def activation(event: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = event["source"]["detail"]["activation"]
    return found


STORIES: dict[str, Callable[[], Story]] = {
    "samples": samples,
    "generated": generated,
    "own execution stamps": lambda: generated(execution_stamps="own"),
    "executions by action and contact": lambda: by_action_and_contact(
        in_campaigns(execution_stamps="own")
    ),
    "executions of few contacts": lambda: by_action_and_contact(
        changed(to_few_contacts, execution_stamps="own")
    ),
    "in campaigns": in_campaigns,
    "every channel": every_channel,
    "from the middle": from_the_middle,
    "late events in two loads": late,
    "reactions on bounced messages": lambda: changed(reactions_on_bounced),
    "an unknown type": lambda: changed(unknown_type),
    "events without a stamp, and of a second account": lambda: changed(without_stamp),
    "several actions, no contact": lambda: changed(of_several_actions),
    "published out of order": lambda: changed(out_of_order),
    "without robots": without_robots,
    "e-mail only": email_only,
    "empty": empty,
}
