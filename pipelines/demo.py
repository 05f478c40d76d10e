"""The whole way without an account: a local NP6 API, the real script, and questions to the tables.

Starts a made-up account on a free loopback port, runs ``np6_to_duckdb.py`` against it, asks which
hits are robots', compares the tables and the views with what the API served, and answers questions
with SQL.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from np6_source.sandbox import EventQuery, Sandbox, generated_account
from np6_source.sandbox.query import ROBOT_CLASSES
from np6_source.windows import to_ms

DATABASE = Path("demo.duckdb")
WEEKS = 6
EVENTS = 8_000
"""Roughly; about robots there are three requests for each contact that has opened or clicked."""
EMAIL_AND_SMS = ("email", "sms")
SHOWN = (
    "count_sent",
    "count_delivered",
    "count_unique_opens",
    "count_unique_clicks",
    "count_unique_opens_including_robots",
    "count_unique_clicks_including_robots",
)
"""The figures that the demo computes by itself."""

QUESTIONS = {
    "How did the campaign do?": """\
SELECT
    campaign_name,
    channel,
    count_sent,
    round(delivery_rate, 3) AS delivery_rate,
    round(open_rate, 3) AS open_rate,
    round(click_rate, 3) AS click_rate
FROM np6.campaign_performance
ORDER BY count_sent DESC""",
    "Which links were clicked?": """\
SELECT link_label, sum(count_hits) AS clicks, sum(count_hits_including_robots) AS with_robots
FROM np6.link_performance
WHERE link_type = 'redirection'
GROUP BY ALL
ORDER BY clicks DESC
LIMIT 5""",
    "Which domains reject us?": """\
SELECT recipient_domain, sum(count_sent) AS sent, sum(count_bounced) AS bounced,
    round(100 * sum(count_bounced) / sum(count_sent), 1) AS bounced_pct
FROM np6.deliverability_daily
WHERE channel = 'email'
GROUP BY ALL
ORDER BY bounced DESC
LIMIT 5""",
    "Who no longer reads?": """\
SELECT count(*) AS contacts,
    count(*) FILTER (days_since_reading <= 14) AS read_in_two_weeks,
    count(*) FILTER (days_since_reading > 14) AS before_that,
    count(*) FILTER (days_since_reading IS NULL) AS never
FROM (SELECT *, least(days_since_open, days_since_click) AS days_since_reading
    FROM np6.contact_engagement)
WHERE count_sent > count_bounced""",
    "How fresh and how whole is this?": """\
SELECT resource, complete_until, count_gaps, round(lag_minutes, 1) AS lag_minutes
FROM np6.freshness
WHERE classification = ''
ORDER BY resource""",
}


WIDE = 116
"""Characters that the table of actions takes, so that names stay on one line."""


def main() -> int:
    """Runs the demo; exit status 0 where the tables hold what the API served."""
    console = Console(soft_wrap=True)
    for file in (DATABASE, DATABASE.with_suffix(".duckdb.wal")):
        file.unlink(missing_ok=True)
    # Settled: every request finds the same events, however long the load takes.
    end = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=5)
    start = end - timedelta(weeks=WEEKS)
    account = generated_account(events=EVENTS, seed=6, start=start, end=end)
    with Sandbox(account) as sandbox:
        console.print(f"[bold]A made-up NP6 account answers at {sandbox.url}[/bold]")
        command = [
            "pipelines/np6_to_duckdb.py",
            *("--pipeline", "np6_demo", "--pipelines-dir", "build/demo"),
            *("--duckdb-file", str(DATABASE), "--reload", "--yes"),
            *("--progress", "none"),
            *("--base-url", sandbox.url, "--start", start.date().isoformat()),
            *("--campaign-ids", min(account.example_ids("campaign_id", 100))),
            *("--resources", "actions_events", "actions_reactivities", "campaign_events"),
            *("--dimensions", "actions", "categories", "campaigns"),
        ]
        console.print("$ python", " ".join(command), style="dim", highlight=False)
        environment = {**os.environ, "SOURCES__NP6__API_KEY": sandbox.key}
        status = subprocess.run([sys.executable, *command], env=environment, check=False).returncode
        command = [
            *("-m", "np6_source", "robots"),
            *("--pipeline", "np6_demo", "--pipelines-dir", "build/demo"),
            *("--duckdb-file", str(DATABASE), "--base-url", sandbox.url),
        ]
        if status == 0:
            console.print("$ python", " ".join(command), style="dim", highlight=False)
            status = subprocess.run(
                [sys.executable, *command], env=environment, check=False
            ).returncode
        served = sandbox.statistics()["served"]
        everything = EventQuery(start=to_ms(start), channels=EMAIL_AND_SMS)
        robots = account.events(replace(everything, robots=ROBOT_CLASSES))
        expected = action_figures(
            account.events(everything), robots={event["id"] for event in robots}
        )
    if status != 0:
        return status
    with duckdb.connect(str(DATABASE), read_only=True) as connection:
        connection.sql("SET TimeZone = 'UTC'")
        agree = show_tables(console, connection, served)
        for question, query in QUESTIONS.items():
            console.print(f"\n[bold]{question}[/bold]")
            console.print(Syntax(query, "sql", theme="bw", background_color="default"))
            show_rows(console, connection, query)
        agree = show_actions(console, connection, expected) and agree
    console.print(f"The tables are in [bold]{DATABASE}[/bold]; the local API has stopped.")
    console.print("A picture of them: [bold]make report[/bold]")
    return 0 if agree else 1


def show_rows(console: Console, connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Prints what a query gives, numbers to the right."""
    result = connection.sql(query)
    rows = result.fetchall()
    table = Table()
    for name, *values in zip(result.columns, *rows, strict=True):
        is_number = all(isinstance(value, (int, float, Decimal)) for value in values)
        table.add_column(name, justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*map(shown, row))
    wide(console).print(table)


def wide(console: Console) -> Console:
    """A console on which no cell of the demo's tables is cut."""
    return Console(soft_wrap=True, width=max(console.width, WIDE))


def shown(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, datetime):
        return f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def action_figures(
    events: list[dict[str, Any]], robots: set[str]
) -> dict[tuple[str, str], dict[str, int]]:
    """Messages per action and channel that were sent, delivered, opened and clicked.

    Plain Python over what the API served; the views are compared with it.

    Args:
        events: The events' payloads.
        robots: Ids of the hits that are marked as robots'.
    """
    messages: dict[str, set[str]] = defaultdict(set)
    of_action: dict[str, tuple[str, str]] = {}
    for event in events:
        detail = event["source"]["detail"]
        send = detail.get("activation") or detail["execution"]
        message = send["stamp"]["id"]
        of_action[message] = (str(send["id"]), event["source"]["type"])
        kind = detail["link"]["type"] if event["type"] == "hit" else event["type"]
        messages[message].add(kind)
        if event["id"] not in robots:
            messages[message].add(f"{kind} by a person")
    figures: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(SHOWN, 0))
    for message, seen in messages.items():
        found = figures[of_action[message]]
        is_sent = "activation" in seen
        is_delivered = is_sent and "bounce" not in seen
        found["count_sent"] += is_sent
        found["count_delivered"] += is_delivered
        found["count_unique_opens"] += is_delivered and "open by a person" in seen
        found["count_unique_clicks"] += is_delivered and "redirection by a person" in seen
        found["count_unique_opens_including_robots"] += is_delivered and "open" in seen
        found["count_unique_clicks_including_robots"] += is_delivered and "redirection" in seen
    return dict(figures)


def show_actions(
    console: Console,
    connection: duckdb.DuckDBPyConnection,
    expected: dict[tuple[str, str], dict[str, int]],
) -> bool:
    """Prints the view ``action_performance``; tells whether it agrees with the served events."""
    table = Table(title="\nHow did each action do? (np6.action_performance)", title_justify="left")
    for name in ("action", "channel", "sent", "delivered", "opened", "clicked"):
        table.add_column(name, justify="left" if name in ("action", "channel") else "right")
    table.add_column("with robots: opened", justify="right")
    table.add_column("clicked", justify="right")
    rows = connection.sql(
        f"SELECT action_id, action_name, channel, {', '.join(SHOWN)}, open_rate, click_rate,"
        " open_rate_including_robots, click_rate_including_robots"
        " FROM np6.action_performance ORDER BY count_sent DESC"
    ).fetchall()
    found = {}
    for action, name, channel, *values in rows:
        counts, rates = values[: len(SHOWN)], values[len(SHOWN) :]
        found[action, channel] = dict(zip(SHOWN, counts, strict=True))
        shown = ["" if rate is None else f"{rate:.1%}" for rate in rates]
        table.add_row(name or action, channel, f"{counts[0]:,}", f"{counts[1]:,}", *shown)
    wide(console).print(table)
    agree = found == expected
    cells = sum(map(len, expected.values()))
    console.print(
        f"{cells} figures of {len(expected)} actions equal those computed from what the API served."
        if agree
        else "[bold]These figures are not those of what the API served.[/bold]"
    )
    return agree


def show_tables(
    console: Console, connection: duckdb.DuckDBPyConnection, served: dict[str, int]
) -> bool:
    """Prints the tables, and the events per type beside what the API served."""
    tables = Table("table", "rows", title="Tables in schema np6", title_justify="left")
    tables.columns[1].justify = "right"
    names = connection.sql(
        "SELECT table_name FROM duckdb_tables()"
        " WHERE schema_name = 'np6' AND NOT starts_with(table_name, '_dlt') ORDER BY 1"
    ).fetchall()
    for (name,) in names:
        ((count,),) = connection.sql(f'SELECT count(*) FROM np6."{name}"').fetchall()
        tables.add_row(name, f"{count:,}")
    console.print(tables)
    loaded = dict(connection.sql("SELECT type, count(*) FROM np6.events GROUP BY 1").fetchall())
    types = Table("event type", "API served", "in events", title="Nothing lost, nothing twice")
    types.title_justify = "left"
    for column in types.columns[1:]:
        column.justify = "right"
    for kind in sorted({*served, *loaded}):
        types.add_row(kind, f"{served.get(kind, 0):,}", f"{loaded.get(kind, 0):,}")
    console.print(types)
    return served == loaded


if __name__ == "__main__":
    sys.exit(main())
