"""The ledger keeps itself short in each database whose merges are this package's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from np6_source.ledger import coverage
from np6_source.upkeep.ledger_compaction import PURPOSE, compact
from np6_source.windows import Window, gaps
from tests.destinations.stores import Store
from tests.support import at, event

ALL = "actions_events"
TMake = Callable[..., Any]


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_rows_of_a_day_long_past_become_one(
    kind: str, make_store: Callable[[str], Store], serve: TMake, source_of: TMake
) -> None:
    store = make_store(kind)
    sandbox = serve([event(1, at("03-01T01:00"), type="hit")], now=at("03-01T06:00"))
    for moment in ("03-01T06:00", "03-01T12:00", "03-02T06:00", "05-10"):
        sandbox.now = at(moment)
        pipeline = store.pipeline
        pipeline.run(source_of(sandbox, ALL, start="2024-03-01", **store.source_options))
    span = Window(at("03-01"), at("05-09"))
    assert gaps(span, coverage(pipeline)[ALL, ""]) == []
    with pipeline.sql_client() as client:
        (before,) = client.execute_sql("SELECT COUNT(*) FROM load_windows")[0]
        removed = compact(pipeline)
        (after,) = client.execute_sql("SELECT COUNT(*) FROM load_windows")[0]
        joined = client.execute_sql(
            "SELECT distinct_count, event_count, type_counts FROM load_windows WHERE purpose = %s",
            PURPOSE,
        )
    assert removed > 1
    assert after == before - removed
    assert (1, 1, '{"hit":1}') in [tuple(row) for row in joined]
    assert gaps(span, coverage(pipeline)[ALL, ""]) == []
    assert compact(pipeline) == 0
