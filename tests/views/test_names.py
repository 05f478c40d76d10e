"""Names stand beside ids where they are loaded, and never multiply a row."""

from __future__ import annotations

import duckdb

from np6_source.views import statements
from np6_source.views.base_tables import BASE_TABLES
from np6_source.views.translation import TYPES, Names


def test_names_stand_beside_ids_once_whatever_the_accounts() -> None:
    present = {table: frozenset(columns) for table, columns in BASE_TABLES.items()}
    names = Names("duckdb", lambda name: ["np6", name], lambda name: name, present)
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA np6")
        for table, columns in BASE_TABLES.items():
            shown = ", ".join(f'"{name}" {TYPES[kind]}' for name, kind in columns.items())
            connection.execute(f"CREATE TABLE np6.{table} ({shown})")
        for _, statement in statements(names):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO np6.events (id, type, message_id, action_id, channel, timestamp) VALUES"
            " ('e1', 'activation', 'm1', '000AA1', 'email', now()),"
            " ('e2', 'activation', 'm2', '7', 'notification', now()),"
            " ('e3', 'activation', 'm3', '7', 'display', now());"
            "INSERT INTO np6.actions VALUES ('000AA1', 'mailMessage', 'Spring', 5),"
            " ('000AA1', 'mailMessage', 'Spring', 5), ('7', 'mailMessage', 'not this one', 5);"
            "INSERT INTO np6.action VALUES ('000AA1', 'mailMessage', 'Spring', 5);"
            "INSERT INTO np6.categories VALUES (5, 'Seasons'), (5, 'Seasons');"
            "INSERT INTO np6.notifications VALUES (7, 'push-app', 'Ping'), (7, 'push-app', 'Ping');"
            "INSERT INTO np6.events__campaigns (event_id, campaign_id) VALUES ('e1', 'k');"
            "INSERT INTO np6.campaigns VALUES ('k', 'A year'), ('k', 'A year')"
        )
        found = connection.execute(
            "SELECT action_id, channel, action_name, action_type, category_name, count_sent"
            " FROM np6.action_performance ORDER BY channel"
        ).fetchall()
        campaign = connection.execute(
            "SELECT campaign_name, count_sent FROM np6.campaign_performance"
        ).fetchall()

    assert found == [
        ("7", "display", None, None, None, 1),
        ("000AA1", "email", "Spring", "mailMessage", "Seasons", 1),
        ("7", "notification", "Ping", "push-app", None, 1),
    ]
    assert campaign == [("A year", 1)]
