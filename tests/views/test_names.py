"""Names stand beside ids where they are loaded, and never multiply a row."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from np6_source.views import statements
from np6_source.views.base_tables import BASE_TABLES
from np6_source.views.translation import TYPES, Names


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A dataset with every table that views read, empty, and the views."""
    present = {table: frozenset(columns) for table, columns in BASE_TABLES.items()}
    names = Names("duckdb", lambda name: ["np6", name], lambda name: name, present)
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA np6")
        for table, columns in BASE_TABLES.items():
            shown = ", ".join(f'"{name}" {TYPES[kind]}' for name, kind in columns.items())
            connection.execute(f"CREATE TABLE np6.{table} ({shown})")
        for _, statement in statements(names):
            connection.execute(statement)
        yield connection


def test_names_stand_beside_ids_once_whatever_the_accounts(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute(
        "INSERT INTO np6.events (id, type, message_id, action_id, channel, timestamp) VALUES"
        " ('e1', 'activation', 'm1', '000AA1', 'email', now()),"
        " ('e2', 'activation', 'm2', '7', 'notification', now()),"
        " ('e3', 'activation', 'm3', '7', 'display', now());"
        "INSERT INTO np6.actions VALUES ('000AA1', 'mailMessage', 'Spring', 5, now()),"
        " ('000AA1', 'mailMessage', 'Spring', 5, now()),"
        " ('7', 'mailMessage', 'not this one', 5, now());"
        "INSERT INTO np6.action VALUES ('000AA1', 'mailMessage', 'Spring', 5, now());"
        "INSERT INTO np6.categories VALUES (5, 'Seasons', now()), (5, 'Seasons', now());"
        "INSERT INTO np6.notifications VALUES (7, 'push-app', 'Ping', now()),"
        " (7, 'push-app', 'Ping', now());"
        "INSERT INTO np6.events__campaigns (event_id, campaign_id) VALUES ('e1', 'k');"
        "INSERT INTO np6.campaigns VALUES ('k', 'A year', now()), ('k', 'A year', now())"
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


@pytest.mark.parametrize(("before", "now"), [("Autumn", "Winter"), ("Winter", "Autumn")])
def test_what_was_renamed_has_the_name_that_was_requested_last(
    connection: duckdb.DuckDBPyConnection, before: str, now: str
) -> None:
    """Rows by id stay where the list of the account is loaded anew, and files keep every version.

    A response without a name takes none away.
    """
    old, new, newest = (f"'2026-0{month}-01 00:00:00 UTC'" for month in (1, 2, 3))
    connection.execute(
        "INSERT INTO np6.events (id, type, message_id, action_id, channel, timestamp) VALUES"
        " ('e1', 'activation', 'm1', '000AA1', 'email', now()),"
        " ('e2', 'activation', 'm2', '7', 'notification', now());"
        f"INSERT INTO np6.action VALUES ('000AA1', 'mailMessage', '{before}', 5, {old}),"
        f" ('000AA1', NULL, NULL, NULL, {newest});"
        f"INSERT INTO np6.actions VALUES ('000AA1', 'mailMessage', '{now}', 6, {new});"
        f"INSERT INTO np6.categories VALUES (5, 'Five', {new}), (6, '{before}', {old}),"
        f" (6, '{now}', {new});"
        f"INSERT INTO np6.notifications VALUES (7, 'push-app', '{before}', {old}),"
        f" (7, 'push-app', '{now}', {new});"
        "INSERT INTO np6.events__campaigns (event_id, campaign_id) VALUES ('e1', 'k');"
        f"INSERT INTO np6.campaign VALUES ('k', '{before}', {old});"
        f"INSERT INTO np6.campaigns VALUES ('k', '{now}', {new})"
    )

    for view in ("action_performance", "action_performance_daily"):
        assert connection.execute(
            f"SELECT action_name, category_name FROM np6.{view} ORDER BY channel"
        ).fetchall() == [(now, now), (now, None)]
    assert connection.execute("SELECT campaign_name FROM np6.campaign_performance").fetchall() == [
        (now,)
    ]
