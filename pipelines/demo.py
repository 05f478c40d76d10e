"""The whole way without an account: a local NP6 API, the real script, and questions to the tables.

Starts a made-up account on a free loopback port, runs ``np6_to_duckdb.py`` against it, compares
the tables with what the API says it served, and answers three questions with SQL.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from np6_source.sandbox import Sandbox, generated_account

DATABASE = Path("demo.duckdb")
WEEKS = 6

QUESTIONS = {
    "How did each e-mail do?": """\
SELECT
    action_id,
    count_sent,
    round(delivery_rate, 3) AS delivery_rate,
    round(open_rate, 3) AS open_rate,
    round(click_rate, 3) AS click_rate,
    round(unsubscribe_rate, 4) AS unsubscribe_rate
FROM np6.action_performance
WHERE channel = 'email'
ORDER BY count_sent DESC
LIMIT 8""",
    "How did the campaign do?": """\
SELECT
    campaign_id,
    count_sent,
    round(delivery_rate, 3) AS delivery_rate,
    round(open_rate, 3) AS open_rate,
    round(click_rate, 3) AS click_rate
FROM np6.campaign_performance
ORDER BY count_sent DESC""",
    "Which links were clicked, and on what?": """\
SELECT
    link_label,
    link_destination,
    count(*) AS clicks,
    round(100 * count(*) FILTER (device_type = 'Smartphone') / count(*), 1) AS smartphone_pct
FROM np6.events__hits
WHERE link_type = 'redirection'
GROUP BY ALL
ORDER BY clicks DESC
LIMIT 5""",
    "Why did messages not arrive?": """\
SELECT verdict AS outcome, status_code_enhanced AS code, subject_type AS reason, count(*) AS events
FROM np6.events__bounces
GROUP BY ALL
UNION ALL
SELECT 'cancelled', NULL, cancellation_type, count(*)
FROM np6.events__cancellations
GROUP BY ALL
ORDER BY events DESC
LIMIT 8""",
}


def main() -> int:
    """Runs the demo; exit status 0 where the tables hold what the API served."""
    console = Console(soft_wrap=True)
    for file in (DATABASE, DATABASE.with_suffix(".duckdb.wal")):
        file.unlink(missing_ok=True)
    end = datetime.now(timezone.utc).replace(microsecond=0)
    start = end - timedelta(weeks=WEEKS)
    account = generated_account(events=60_000, seed=6, start=start, end=end)
    with Sandbox(account) as sandbox:
        console.print(f"[bold]A made-up NP6 account answers at {sandbox.url}[/bold]")
        command = [
            "pipelines/np6_to_duckdb.py",
            *("--pipeline", "np6_demo", "--pipelines-dir", "build/demo"),
            *("--duckdb-file", str(DATABASE), "--reload", "--progress", "none"),
            *("--base-url", sandbox.url, "--start", start.date().isoformat()),
            *("--campaign-ids", min(account.example_ids("campaign_id", 100))),
            *("--resources", "actions_events", "actions_reactivities", "campaign_events"),
        ]
        console.print("$ python", " ".join(command), style="dim", highlight=False)
        status = subprocess.run(
            [sys.executable, *command],
            env={**os.environ, "SOURCES__NP6__API_KEY": sandbox.key},
            check=False,
        ).returncode
        served = sandbox.statistics()["served"]
    if status != 0:
        return status
    with duckdb.connect(str(DATABASE), read_only=True) as connection:
        connection.sql("SET TimeZone = 'UTC'")
        agree = show_tables(console, connection, served)
        for question, query in QUESTIONS.items():
            console.print(f"\n[bold]{question}[/bold]")
            console.print(Syntax(query, "sql", theme="bw", background_color="default"))
            print(connection.sql(query))
    console.print(f"The tables are in [bold]{DATABASE}[/bold]; the local API has stopped.")
    return 0 if agree else 1


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
