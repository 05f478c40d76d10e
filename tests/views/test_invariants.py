"""What holds of the views whatever the events are, and in whatever order they came."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from np6_source.schema import TABLES
from np6_source.views import statements, views
from np6_source.views.translation import plain_names

TYPES = {
    "execution": [None],
    "activation": [None],
    "cancellation": ["redlisted target", None],
    "bounce": ["hard", "soft", "unheard of", None],
    "hit": ["open", "open", "redirection", "mirror", "form", "unsubscribe", None],
    "reply": [None],
    "complaint": [None],
    "optout": [None],
    "impression": [None],
    "teleportation": [None],
}
SQL_TYPES = {"text": "VARCHAR", "timestamp": "TIMESTAMPTZ", "bigint": "BIGINT", "json": "VARCHAR"}


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(TYPES)))
    return {
        "type": kind,
        "subtype": draw(st.sampled_from(TYPES[kind])),
        "timestamp": draw(st.integers(0, 40 * 24)),
        "message_id": draw(st.sampled_from(["m1", "m2", "m3", "m4", None])),
        "action_id": draw(st.sampled_from(["A", "A", "A", "B", None])),
        "contact_id": draw(st.sampled_from(["c1", "c2", None])),
        "channel": draw(st.sampled_from(["email", "email", "sms", None])),
        "robot": draw(st.sampled_from([None, None, "mpp", "gsr"])),
        "campaign": draw(st.sampled_from([None, "k1", "k2"])),
    }


class Database:
    """Tables as the connector fills them, in memory, and the views over them."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA np6")
        for table in TABLES:
            columns = ", ".join(f'"{c.name}" {SQL_TYPES[c.data_type]}' for c in table.columns)
            self.connection.execute(f"CREATE TABLE np6.{table.name} ({columns})")
        if "events__robots" not in [table.name for table in TABLES]:
            self.connection.execute(
                "CREATE TABLE np6.events__robots (event_id VARCHAR, robot_class VARCHAR)"
            )
        self.connection.execute(
            "CREATE TABLE np6._dlt_loads (load_id VARCHAR, schema_name VARCHAR,"
            " status BIGINT, inserted_at TIMESTAMPTZ)"
        )
        names = plain_names("duckdb", "np6")
        present = {**names.present, "events__robots": frozenset({"event_id", "robot_class"})}
        names = type(names)(names.dialect, names.path, names.column, present)
        for _, statement in statements(names):
            self.connection.execute(statement)

    def hold(self, found: list[tuple[str, dict[str, Any]]]) -> None:
        """Holds these events, each id once, the last of each."""
        for table in ("events", "events__robots", "events__campaigns"):
            self.connection.execute(f"DELETE FROM np6.{table}")
        for event_id, event in found:
            for table, key in (
                ("events", "id"),
                ("events__robots", "event_id"),
                ("events__campaigns", "event_id"),
            ):
                self.connection.execute(f"DELETE FROM np6.{table} WHERE {key} = ?", [event_id])
            self.connection.execute(
                "INSERT INTO np6.events (id, type, subtype, timestamp, message_id, action_id,"
                " contact_id, channel, requested_at)"
                " VALUES (?, ?, ?, TIMESTAMPTZ '2025-01-01 00:00:00+00' + to_hours(?), ?, ?, ?, ?,"
                " TIMESTAMPTZ '2025-06-01 00:00:00+00')",
                [
                    event_id,
                    event["type"],
                    event["subtype"],
                    event["timestamp"],
                    event["message_id"],
                    event["action_id"],
                    event["contact_id"],
                    event["channel"],
                ],
            )
            if event["robot"] and event["type"] == "hit":
                self.connection.execute(
                    "INSERT INTO np6.events__robots (event_id, robot_class) VALUES (?, ?)",
                    [event_id, event["robot"]],
                )
            if event["campaign"]:
                self.connection.execute(
                    "INSERT INTO np6.events__campaigns (event_id, campaign_id) VALUES (?, ?)",
                    [event_id, event["campaign"]],
                )  # fmt: skip

    def rows(self, view: str) -> list[dict[str, Any]]:
        found = self.connection.execute(f"FROM np6.{view}")
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def contents(self) -> dict[str, list[str]]:
        """Every view but what depends on the time of asking, in an order of its own."""
        return {
            view.name: sorted(
                repr({k: v for k, v in row.items() if not k.startswith("days_since")})
                for row in self.rows(view.name)
            )
            for view in views()
        }


DATABASE = Database()


@settings(max_examples=60, deadline=None)
@given(st.lists(events(), max_size=25))
def test_rates_keys_and_sums(found: list[dict[str, Any]]) -> None:
    DATABASE.hold([(f"e{number}", event) for number, event in enumerate(found)])
    for view in views():
        rows = DATABASE.rows(view.name)
        keys = Counter(tuple(row[k] for k in view.key) for row in rows)
        assert not [key for key, count in keys.items() if count > 1], view.name
        for row in rows:
            for column, value in row.items():
                if column.endswith("_rate") or "_rate_" in column:
                    assert value is None or 0 <= value <= 1, (view.name, row)
                if column.startswith(("was_", "is_", "count_")):
                    assert value is not None or column.endswith("_not_in_messages"), (column, row)
            if "count_delivered" in row and "count_bounced" in row:
                assert row["count_sent"] == row["count_delivered"] + row["count_bounced"]
    whole: Counter[tuple[Any, ...]] = Counter()
    for sign, view_name in ((1, "action_performance"), (-1, "action_performance_daily")):
        for row in DATABASE.rows(view_name):
            for column, value in row.items():
                if column.startswith("count_"):
                    whole[row["action_id"], row["channel"], column] += sign * value
    assert not [key for key, rest in whole.items() if rest]
    total = sum(row["count_events"] for row in DATABASE.rows("activity_daily"))
    assert total == len(found)


@settings(max_examples=30, deadline=None)
@given(st.lists(events(), max_size=15), st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(found: list[dict[str, Any]], random: Any) -> None:
    named = [(f"e{number}", event) for number, event in enumerate(found)]
    DATABASE.hold(named)
    once = DATABASE.contents()
    shuffled = named + random.sample(named, len(named) // 2)
    random.shuffle(shuffled)
    DATABASE.hold(shuffled)

    assert DATABASE.contents() == once
