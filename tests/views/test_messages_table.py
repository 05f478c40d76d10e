"""``messages`` as a table is the view's query, whatever was loaded in whatever order."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dlt
import pytest

from np6_source import views
from np6_source.loading import load
from np6_source.views.translation import translated
from tests.support import Warehouse, at
from tests.views.accounts import small

TMake = Callable[..., Any]
END = "2025-03-10"


@pytest.fixture(params=["duckdb", "postgres"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> dlt.Pipeline:
    if request.param == "duckdb":
        return Warehouse(tmp_path).pipeline
    socket = quote(request.getfixturevalue("postgres_socket"), safe="")
    return dlt.pipeline(
        "np6_table",
        destination=dlt.destinations.postgres(f"postgresql://postgres:x@{socket}/postgres"),
        dataset_name=f"np6_table_{abs(hash(request.node.name)) % 10**8}",
        pipelines_dir=str(tmp_path / "pipelines"),
    )


def query(pipeline: dlt.Pipeline, sql: str) -> list[tuple[Any, ...]]:
    with pipeline.sql_client() as client:
        return [tuple(row) for row in client.execute_sql(sql) or ()]


def differences(pipeline: dlt.Pipeline) -> int:
    """Rows of the table that the query has not, and the other way round."""
    (view,) = [view for view in views.views() if view.name == "messages"]
    with views._place(pipeline) as place:
        assert place is not None
        sql = f"SELECT * FROM ({translated(view.query, place.names)}) AS q"
    columns = ", ".join(f'"{name}"' for name in view.columns)
    table = f"SELECT {columns} FROM messages_table"
    return len(query(pipeline, f"({table} EXCEPT ALL {sql}) UNION ALL ({sql} EXCEPT ALL {table})"))


def test_after_every_load_in_any_order_it_is_the_query(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    """Late events, ranges in no order, loads without views in between, and robots' marks."""
    events = small(events=600).events()
    chance = random.Random(7)
    held = chance.sample(events, len(events) // 2)
    days = [("2025-02-03", "2025-02-20"), ("2025-01-06", "2025-02-10"), ("2025-01-20", END)]
    for number, (start, end) in enumerate([*days, ("2025-01-06", END)]):
        if number == 3:
            held = events
        sandbox = serve(held, now=at("2025-03-11"))
        load(
            pipeline,
            lambda sandbox=sandbox, start=start, end=end: source_of(
                sandbox, "actions_events", start=start, end=end, window=100 * 86_400
            ),
            views="off" if number == 1 else "auto",
            materialize=None if number else True,
        )
        if number != 1:
            assert differences(pipeline) == 0, number
            assert query(pipeline, "SELECT count_packages_not_in_messages FROM freshness") == [(0,)]
    assert query(pipeline, "SELECT count(*) FROM messages")[0][0] > 100


def test_what_is_not_in_it_shows_and_comes_with_the_next_refresh(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    events = small(events=300).events()
    for held, mode in ((events[:100], "auto"), (events, "off")):
        sandbox = serve(held, now=at("2025-03-11"))
        load(
            pipeline,
            lambda sandbox=sandbox: source_of(
                sandbox, "actions_events", start="2025-01-06", end=END, window=100 * 86_400
            ),
            views=mode,
            materialize=True,
        )
    assert differences(pipeline) > 0
    assert query(pipeline, "SELECT count_packages_not_in_messages FROM freshness") == [(1,)]

    assert not views.make(pipeline).changed
    assert differences(pipeline) == 0

    assert views.make(pipeline, materialize=False).changed
    assert query(pipeline, "SELECT count(*) FROM messages")[0][0] > 0
    with pytest.raises(Exception, match="messages_table"):
        query(pipeline, "SELECT 1 FROM messages_table")


def test_after_a_reload_nothing_of_before_is_left(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    events = small(events=300).events()
    for held, reload in ((events, False), (events[:50], True)):
        sandbox = serve(held, now=at("2025-03-11"))
        load(
            pipeline,
            lambda sandbox=sandbox: source_of(
                sandbox, "actions_events", start="2025-01-06", window=100 * 86_400
            ),
            reload=reload,
            materialize=True,
        )
        assert differences(pipeline) == 0
    assert 0 < query(pipeline, "SELECT count(*) FROM messages")[0][0] <= 50


def test_somebody_elses_table_of_that_name_stays(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    sandbox = serve(small(events=60).events(), now=at("2025-03-11"))
    load(pipeline, lambda: source_of(sandbox, "actions_events", start="2025-01-06"), views="off")
    query(pipeline, "CREATE TABLE messages_table AS SELECT 1 AS mine")

    with pytest.raises(views.ViewsFailed, match="has messages_table already"):
        views.make(pipeline, materialize=True)
    assert views.make(pipeline).changed
    assert not views.make(pipeline).changed
    views.drop(pipeline)
    assert query(pipeline, "SELECT mine FROM messages_table") == [(1,)]
