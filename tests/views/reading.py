"""Loads a story into a database, reads its views, and compares them with the figures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import dlt

from np6_source import np6_source, views
from np6_source.sandbox import Sandbox
from np6_source.windows import to_ms
from tests.views.accounts import Story
from tests.views.figures import Between, Served, figures

TRow = dict[str, Any]
CELLS, DIFFERENT = "cells of views compared", "cells of views that differ"
"""Properties of a test that the closing lines add up."""


def load(pipeline: dlt.Pipeline, story: Story) -> None:
    """Loads a story, with the marks of its robots, and makes the views."""
    for account in story.loads:
        with Sandbox(account) as sandbox:
            source = np6_source(
                sandbox.key,
                base_url=sandbox.url,
                start=story.start,
                end=story.end,
                window=100 * 86_400,
                **story.ids,
            )
            pipeline.run(source.with_resources(*story.resources))
    mark(pipeline, story.robots)
    views.make(pipeline, message_key=story.message_key)


def mark(pipeline: dlt.Pipeline, robots: Mapping[str, str]) -> None:
    """Writes ``events__robots`` as requests for robots do."""
    with pipeline.sql_client() as client:
        table = client.make_qualified_table_name("events__robots")
        events = client.make_qualified_table_name("events")
        client.execute_sql(f"DELETE FROM {table}")
        there = {row[0] for row in client.execute_sql(f"SELECT id FROM {events}") or ()}
        rows = [f"('{event}', '{kind}')" for event, kind in robots.items() if event in there]
        if rows:
            client.execute_sql(
                f"INSERT INTO {table} (event_id, robot_class, timestamp, requested_at)"
                " SELECT e.id, marked.kind, e.timestamp, e.requested_at"
                f" FROM {events} AS e"
                f" JOIN (VALUES {', '.join(rows)}) AS marked (id, kind) ON marked.id = e.id"
            )


@contextmanager
def reading(pipeline: dlt.Pipeline, time_zone: str = "UTC") -> Iterator[Any]:
    """A client whose session has a time zone."""
    with pipeline.sql_client() as client:
        client.execute_sql(f"SET TIME ZONE '{time_zone}'")
        yield client


def rows(client: Any, relation: str) -> list[TRow]:
    """What a table or view has."""
    with client.execute_query(f"SELECT * FROM {client.make_qualified_table_name(relation)}") as c:
        names = [column[0] for column in c.description]
        return [dict(zip(names, map(plain, row), strict=True)) for row in c.fetchall()]


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_ms(value)
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def served(client: Any, story: Story, asked: tuple[int, int]) -> Served:
    """What the story's API has served, with the connector's own notes from the base tables."""
    windows = [
        (r["resource"], r["scope_id"], r["window_start"], r["window_end"], r["event_count"],
         r["requested_at"])
        for r in rows(client, "load_windows")
    ]  # fmt: skip
    campaigns = []
    if story.ids:
        campaigns = [(r["campaign_id"], r["event_id"]) for r in rows(client, "events__campaigns")]
    return Served(
        events=story.events,
        robots=story.robots,
        requested_at={r["id"]: r["requested_at"] for r in rows(client, "events")},
        campaigns=campaigns,
        windows=windows,
        asked=asked,
        message_key=story.message_key,
    )


def now() -> int:
    return time.time_ns() // 1_000_000


def read_all(client: Any) -> dict[str, list[TRow]]:
    """Every view."""
    return {view.name: rows(client, view.name) for view in views.views()}


def compared(
    pipeline: dlt.Pipeline,
    story: Story,
    time_zone: str = "UTC",
    record: Callable[[str, object], None] = lambda name, value: None,
) -> Counter[str]:
    """Compares every cell of every view; counts them by view. Fails where any differ.

    Args:
        pipeline: The pipeline that has loaded the story.
        story: The story.
        time_zone: The session's.
        record: Takes the numbers of cells compared and different, for the closing lines.
    """
    with reading(pipeline, time_zone) as client:
        before = now()
        found = read_all(client)
        asked = (before - 1, now() + 1)
        expected = figures(served(client, story, asked))
    assert found.keys() == expected.keys()
    cells: Counter[str] = Counter()
    wrong: list[str] = []
    for view in views.views():
        compare(view.name, view.key, view.columns, found[view.name], expected[view.name], wrong)
        cells[view.name] = sum(map(len, found[view.name]))
    record(CELLS, cells.total())
    record(DIFFERENT, len(wrong))
    assert not wrong, f"{len(wrong)} of {cells.total()} cells differ:\n" + "\n".join(wrong[:20])
    return cells


def compare(
    name: str,
    key: Iterable[str],
    columns: tuple[str, ...],
    found: list[TRow],
    expected: list[TRow],
    wrong: list[str],
) -> None:
    """Notes every cell in which two lists of rows differ."""
    by_key = {tuple(row[k] for k in key): row for row in found}
    assert len(by_key) == len(found), f"{name}: a key stands twice"
    wanted = {tuple(row[k] for k in key): row for row in expected}
    for missing in wanted.keys() - by_key.keys():
        wrong.append(f"{name}: no row {missing}")
    for extra in by_key.keys() - wanted.keys():
        wrong.append(f"{name}: row {extra}")
    for k in wanted.keys() & by_key.keys():
        assert tuple(by_key[k]) == columns, name
        assert set(wanted[k]) == set(columns), (name, set(wanted[k]) ^ set(columns))
        for column in columns:
            if not agree(by_key[k][column], wanted[k][column]):
                wrong.append(
                    f"{name}{k}.{column}: {by_key[k][column]!r}, not {wanted[k][column]!r}"
                )


def agree(found: Any, expected: Any) -> bool:
    if isinstance(expected, Between):
        return found is not None and expected.least <= found <= expected.most
    if isinstance(expected, float) and isinstance(found, float):
        return abs(found - expected) <= 1e-9 * max(1.0, abs(expected))
    return type(found) is type(expected) and bool(found == expected)


def query(pipeline: dlt.Pipeline, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query; tables without a schema are the dataset's."""
    with pipeline.sql_client() as client:
        return [tuple(row) for row in client.execute_sql(sql) or ()]
