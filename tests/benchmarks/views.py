"""What the views cost over 2 million events: CPU seconds, in DuckDB, on this machine.

``python tests/benchmarks/views.py [--events N]`` makes the tables with SQL, asks
``action_performance`` through the views and with ``messages`` as a table, and brings that up to
date after an increment of 50,000 events, and after one that moves 5,000 events to other messages.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dlt

sys.path.insert(0, str(Path(__file__).parents[2]))

from np6_source import np6_source, views
from np6_source.sandbox import Sandbox, account_from_events

MOST_THROUGH_VIEWS = 3.0
MOST_FOR_A_REFRESH = 1.0
INCREMENT = 50_000
MOVED = 5_000


@contextmanager
def cpu(label: str, found: dict[str, float]) -> Iterator[None]:
    """Measures the CPU seconds of this process, all threads."""
    before = time.process_time()
    yield
    found[label] = time.process_time() - before
    sys.stdout.write(f"{label:55} {found[label]:6.2f} CPU s\n")


def fill(pipeline: dlt.Pipeline, events: int, first: int, load_id: str) -> None:
    """Adds events: of every ten messages' events an execution, an activation, and hits of half."""
    with pipeline.sql_client() as client:
        client.execute_sql(
            "INSERT INTO events (id, type, subtype, timestamp, channel, action_id, contact_id,"
            " recipient_domain, message_id, requested_at)"
            " SELECT concat('e', n), CASE n % 3 WHEN 0 THEN 'execution' WHEN 1 THEN 'activation'"
            " ELSE 'hit' END,"
            " CASE WHEN n % 3 = 2 THEN CASE WHEN n % 4 = 0 THEN 'redirection' ELSE 'open' END END,"
            " TIMESTAMPTZ '2025-01-01 00:00:00+00' + to_milliseconds(n * 1000),"
            " 'email', concat('000A', n // 3 % 40), concat('C', n // 3 % 100000), 'example.com',"
            f" md5(concat('m', n // 3)), TIMESTAMPTZ '2025-06-01 00:00:00+00' + to_seconds({first})"
            f" FROM range({first}, {first + events}) AS numbers(n)"
        )
        client.execute_sql(
            "INSERT INTO load_windows (resource, scope_id, window_start, window_end, requested_at,"
            " _dlt_load_id) SELECT 'actions_events', '', TIMESTAMPTZ '2025-01-01 00:00:00+00',"
            " TIMESTAMPTZ '2025-01-02 00:00:00+00',"
            f" TIMESTAMPTZ '2025-06-01 00:00:00+00' + to_seconds({first}), '{load_id}'"
        )
        client.execute_sql(
            "INSERT INTO _dlt_loads (load_id, schema_name, status, inserted_at)"
            f" VALUES ('{load_id}', 'np6', 0, now())"
        )


def move(pipeline: dlt.Pipeline, events: int, requested: int) -> None:
    """Puts the first events, as if requested with the last increment, into other messages."""
    with pipeline.sql_client() as client:
        client.execute_sql(
            "UPDATE events SET message_id = concat(message_id, '-later'),"
            f" requested_at = TIMESTAMPTZ '2025-06-01 00:00:00+00' + to_seconds({requested})"
            f" WHERE id IN (SELECT concat('e', n) FROM range({events}) AS numbers(n))"
        )


def ask(pipeline: dlt.Pipeline) -> int:
    """Asks ``action_performance``; returns its number of rows."""
    with pipeline.sql_client() as client:
        return len(client.execute_sql("SELECT * FROM action_performance") or ())


def main() -> int:
    """Measures; exit status 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    options = parser.parse_args()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "np6_bench_views",
            destination=dlt.destinations.duckdb(f"{folder}/bench.duckdb"),
            dataset_name="np6",
            pipelines_dir=f"{folder}/pipelines",
        )
        with Sandbox(account_from_events([])) as sandbox:
            source = np6_source(sandbox.key, base_url=sandbox.url, start="2025-01-01")
            pipeline.run(source.with_resources("actions_events"))
        fill(pipeline, options.events, 0, "bench-1")
        views.make(pipeline)
        with cpu("action_performance through the views", found):
            assert ask(pipeline) == 40
        with cpu("messages as a table, made", found):
            views.make(pipeline, materialize=True)
        with cpu("action_performance over the table", found):
            assert ask(pipeline) == 40
        fill(pipeline, INCREMENT, options.events, "bench-2")
        with cpu(f"messages refreshed after {INCREMENT:,} events", found):
            assert not views.make(pipeline).changed
        fill(pipeline, INCREMENT, options.events + INCREMENT, "bench-3")
        move(pipeline, MOVED, options.events + INCREMENT)
        with cpu(f"messages refreshed after {INCREMENT:,}, {MOVED:,} moved", found):
            assert not views.make(pipeline).changed
        with cpu("views looked at, nothing new", found):
            views.make(pipeline)
    through, refresh = (
        found["action_performance through the views"],
        found[f"messages refreshed after {INCREMENT:,} events"],
    )
    return int(through > MOST_THROUGH_VIEWS or refresh > MOST_FOR_A_REFRESH)


if __name__ == "__main__":
    sys.exit(main())
