"""What an analyst who trusts nothing asks first: in SQL, and in Python over what the API served.

Unlike the figures of each view these go across views and base tables, as people write them.
"""

from __future__ import annotations

import runpy
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import dlt
import pytest

from tests.support import ROOT, Warehouse
from tests.views.accounts import Story, activation, in_campaigns
from tests.views.figures import get, rate
from tests.views.reading import load

TEvent = dict[str, Any]
TAnswer = Any


class Served:
    """What the API has served, by message."""

    def __init__(self, story: Story) -> None:
        self.robots = story.robots
        self.events = story.events
        self.messages: dict[str, list[TEvent]] = defaultdict(list)
        for event in self.events:
            self.messages[self.send(event)["stamp"]["id"]].append(event)
        self.sent = {one for one in self.messages if self.first(one, "activation")}
        self.delivered = {one for one in self.sent if not self.first(one, "bounce")}

    @staticmethod
    def send(event: TEvent) -> dict[str, Any]:
        detail = event["source"]["detail"]
        found: dict[str, Any] = detail.get("activation") or detail["execution"]
        return found

    def of_people(self, message: str, link: str) -> list[TEvent]:
        return [
            event
            for event in self.messages[message]
            if event["type"] == "hit"
            and event["source"]["detail"]["link"]["type"] == link
            and event["id"] not in self.robots
        ]

    def first(self, message: str, kind: str) -> TEvent | None:
        found = [event for event in self.messages[message] if event["type"] == kind]
        return min(found, key=lambda event: int(event["timestamp"]), default=None)

    def hits(self) -> Iterator[TEvent]:
        return (event for event in self.events if event["type"] == "hit")

    def contact(self, message: str) -> str:
        event = self.messages[message][0]
        send = self.send(event)
        person: dict[str, str] = send.get("receiver") or send["recipient"]
        return person["id"]


def day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, timezone.utc).date().isoformat()


def domain(message: str, served: Served) -> str | None:
    sent = served.first(message, "activation")
    address = sent and activation(sent).get("recipient")
    return address.rpartition("@")[2].lower() if address and "@" in address else None


def opened_of_delivered(served: Served) -> float | None:
    opened = [m for m in served.delivered if served.of_people(m, "open")]
    return rate(len(opened), len(served.delivered))


def sent_by_day(served: Served) -> dict[str, int]:
    times = [served.first(message, "activation") for message in served.sent]
    return dict(Counter(day(event["timestamp"]) for event in times if event))


def never_read(served: Served) -> set[str]:
    sent = Counter(served.contact(message) for message in served.sent)
    return {c for c, count in sent.items() if count >= 3 and c not in readers(served)}


def readers(served: Served) -> set[str]:
    """A click without an open is a reading too: an SMS has no picture."""
    return {
        served.contact(message)
        for message in served.messages
        if served.of_people(message, "open") or served.of_people(message, "redirection")
    }


def minutes_to_open(served: Served) -> float:
    waits = []
    for message in served.sent:
        opens = [event["timestamp"] for event in served.of_people(message, "open")]
        sent = served.first(message, "activation")
        if opens and sent:
            waits.append((min(opens) - sent["timestamp"]) / 60_000)
    return statistics.median(waits)


def clickers(served: Served) -> dict[str, int]:
    contacts = defaultdict(set)
    for event in served.hits():
        link = event["source"]["detail"]["link"]
        if link["type"] == "redirection" and event["id"] not in served.robots:
            contacts[link.get("label")].add(activation(event)["receiver"]["id"])
    return {label: len(found) for label, found in contacts.items()}


def bounces_by_domain(served: Served) -> dict[Any, tuple[int, int]]:
    found = {
        one: (
            sum(domain(m, served) == one for m in served.sent),
            sum(domain(m, served) == one for m in served.sent - served.delivered),
        )
        for one in {domain(m, served) for m in served.sent}
    }
    return dict(found)


def hard_bounced_addresses(served: Served) -> set[str]:
    return {
        activation(event)["recipient"]
        for event in served.events
        if event["type"] == "bounce"
        and get(event, "source.detail.bounce.analysis.verdict") == "hard"
    }


def robots_by_class(served: Served) -> dict[str, int]:
    return dict(Counter(served.robots[event["id"]] for event in served.hits()
                        if event["id"] in served.robots))  # fmt: skip


def hits_by_device(served: Served) -> dict[str, int]:
    found: Counter[str] = Counter()
    for event in served.hits():
        if event["id"] not in served.robots:
            agent = event["source"]["detail"]["client"].get("ua") or {}
            found[(agent.get("device") or {}).get("type") or "unknown"] += 1
    return dict(found)


def unsubscribed(served: Served) -> dict[str, int]:
    found = Counter(
        str(activation(served.of_people(message, "unsubscribe")[0])["id"])
        for message in served.delivered
        if served.of_people(message, "unsubscribe")
    )
    return dict(found)


def hours_of_opens(served: Served) -> dict[int, int]:
    return dict(
        Counter(
            datetime.fromtimestamp(event["timestamp"] / 1000, timezone.utc).hour
            for message in served.messages
            for event in served.of_people(message, "open")
        )
    )


def keys_of_data(served: Served) -> dict[str, int]:
    return dict(
        Counter(
            key
            for event in served.events
            for key in (event["source"]["detail"].get("execution") or {}).get("data") or {}
        )
    )


QUESTIONS: dict[str, tuple[str, Callable[[Served], TAnswer]]] = {
    "How many messages were sent?": (
        "SELECT SUM(count_sent) FROM action_performance",
        lambda served: len(served.sent),
    ),
    "How many were sent each day?": (
        "SELECT sent_on, SUM(count_sent) FROM action_performance_daily GROUP BY 1"
        " HAVING SUM(count_sent) > 0",
        sent_by_day,
    ),
    "How many people were written to?": (
        "SELECT COUNT(*) FROM contact_engagement WHERE count_sent > 0",
        lambda served: len({served.contact(message) for message in served.sent}),
    ),
    "What share of people opened, over everything?": (
        "SELECT SUM(count_unique_opens) / SUM(count_delivered) FROM action_performance",
        opened_of_delivered,
    ),
    "The same from the days?": (
        "SELECT SUM(count_unique_opens) / SUM(count_delivered) FROM action_performance_daily",
        opened_of_delivered,
    ),
    "The same from the messages?": (
        "SELECT AVG(CASE WHEN was_opened THEN 1.0 ELSE 0.0 END) FROM messages"
        " WHERE is_activation_loaded AND was_delivered",
        opened_of_delivered,
    ),
    "How many people clicked each link?": (
        "SELECT link_label, COUNT(DISTINCT contact_id) FROM hits"
        " WHERE link_type = 'redirection' AND NOT is_robot GROUP BY 1",
        clickers,
    ),
    "Which domains reject us?": (
        "SELECT recipient_domain, SUM(count_sent), SUM(count_bounced)"
        " FROM deliverability_daily GROUP BY 1",
        bounces_by_domain,
    ),
    "To whom should we never write again?": (
        "SELECT DISTINCT recipient, 1 FROM bounces WHERE verdict = 'hard'",
        lambda served: dict.fromkeys(hard_bounced_addresses(served), 1),
    ),
    "Who got three messages or more and never read one?": (
        "SELECT contact_id, 1 FROM contact_engagement WHERE count_sent >= 3"
        " AND days_since_open IS NULL AND days_since_click IS NULL",
        lambda served: dict.fromkeys(never_read(served), 1),
    ),
    "How many minutes until half of the readers have opened?": (
        "SELECT MEDIAN(minutes_to_open) FROM messages",
        minutes_to_open,
    ),
    "At which hours do people open?": (
        "SELECT hour(happened_at AT TIME ZONE 'UTC'), COUNT(*) FROM hits"
        " WHERE link_type = 'open' AND NOT is_robot GROUP BY 1",
        hours_of_opens,
    ),
    "How many hits are robots', by class?": (
        "SELECT robot_class, COUNT(*) FROM events__robots GROUP BY 1",
        robots_by_class,
    ),
    "On which devices do people read?": (
        "SELECT device_type, SUM(count_hits) FROM device_breakdown GROUP BY 1",
        hits_by_device,
    ),
    "Who unsubscribed, by action?": (
        "SELECT action_id, SUM(count_unsubscribed) FROM action_performance GROUP BY 1"
        " HAVING SUM(count_unsubscribed) > 0",
        unsubscribed,
    ),
    "How many events happened, of whatever kind?": (
        "SELECT SUM(count_events) FROM activity_daily",
        lambda served: len(served.events),
    ),
    "What do senders attach to messages?": (
        "SELECT key, COUNT(*) FROM events__execution_data GROUP BY 1",
        keys_of_data,
    ),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dlt.Pipeline, Served]:
    story = in_campaigns()
    pipeline = Warehouse(tmp_path_factory.mktemp("questions")).pipeline
    load(pipeline, story)
    return pipeline, Served(story)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_that_of_the_served_events(
    told: tuple[dlt.Pipeline, Served], question: str
) -> None:
    pipeline, served = told
    sql, compute = QUESTIONS[question]
    expected = compute(served)
    with pipeline.sql_client() as client:
        client.execute_sql("SET TIME ZONE 'America/Los_Angeles'")
        rows = [tuple(map(plain, row)) for row in client.execute_sql(sql) or ()]
    assert expected
    if isinstance(expected, dict):
        found = {row[0]: row[1] if len(row) == 2 else row[1:] for row in rows}
        assert len(found) == len(rows)
        assert found == expected
    else:
        assert rows[0][0] == pytest.approx(expected, rel=1e-9)


def plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def links_of_demo(served: Served) -> dict[Any, tuple[int, int]]:
    found: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for event in served.hits():
        link = event["source"]["detail"]["link"]
        if link["type"] == "redirection":
            found[link.get("label")][0] += event["id"] not in served.robots
            found[link.get("label")][1] += 1
    return {label: (people, every) for label, (people, every) in found.items()}


def domains_of_demo(served: Served) -> dict[Any, tuple[Any, ...]]:
    email = {m for m in served.messages if served.messages[m][0]["source"]["type"] == "email"}
    found = {}
    for one in {domain(m, served) for m in served.sent & email}:
        sent = {m for m in served.sent & email if domain(m, served) == one}
        bounced = len(sent - served.delivered)
        found[one] = (len(sent), bounced, round(100 * bounced / len(sent), 1))
    return found


def readers_of_demo(served: Served) -> dict[int, tuple[int, ...]]:
    """The account is of last year: nobody has read within two weeks."""
    sent = Counter(served.contact(message) for message in served.sent)
    bounced = Counter(served.contact(m) for m in served.messages if served.first(m, "bounce"))
    contacts = {contact for contact in sent if sent[contact] > bounced[contact]}
    read = contacts & readers(served)
    return {len(contacts): (0, len(read), len(contacts - read))}


def printed(question: str) -> str:
    """The SQL below a question of docs/analyse.md."""
    page = (ROOT / "docs" / "analyse.md").read_text(encoding="utf-8")
    assert question in page
    return page.partition(question)[2].partition("```sql\n")[2].partition("```")[0]


def test_who_clicks_without_an_open_still_reads(told: tuple[dlt.Pipeline, Served]) -> None:
    """The account is of last year: whoever has read has done so long ago, but not so long."""
    pipeline, served = told
    never = printed("Who no longer reads?").replace("> 7", "> 1000000")
    with pipeline.sql_client() as client:
        found = [row[0] for row in client.execute_sql(never) or ()]

    assert sorted(found) == sorted(never_read(served))
    assert found


DEMO = runpy.run_path(str(ROOT / "pipelines" / "demo.py"))["QUESTIONS"]


@pytest.mark.parametrize(
    ("question", "compute"),
    [
        ("Which links were clicked?", links_of_demo),
        ("Which domains reject us?", domains_of_demo),
        ("Who no longer reads?", readers_of_demo),
    ],
)
def test_the_demo_answers_what_was_served(
    told: tuple[dlt.Pipeline, Served], question: str, compute: Callable[[Served], TAnswer]
) -> None:
    pipeline, served = told
    expected = compute(served)
    with pipeline.sql_client() as client:
        rows = [tuple(row) for row in client.execute_sql(DEMO[question]) or ()]

    assert len(rows) == min(5, len(expected))
    assert {row[0]: row[1:] for row in rows}.items() <= expected.items()
