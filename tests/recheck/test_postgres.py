"""Days read again into PostgreSQL, whose driver gives other types than DuckDB's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dlt
import pytest

from np6_source.recheck import plan_recheck, recheck
from np6_source.reconcile import reconcile
from np6_source.sandbox import generated_account
from np6_source.windows import Window
from tests.support import PostgresDataset, at, event

TMake = Callable[..., Any]
BOTH = ("actions_events", "actions_reactivities")


@pytest.fixture
def pipeline(postgres_dataset: Callable[[str], PostgresDataset]) -> dlt.Pipeline:
    return postgres_dataset("np6_recheck").pipeline


def test_unchanged_rows_stay_and_missing_ones_arrive(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    """With every type of event, unknown fields and free data among them."""
    odd = [event(1, at("03-01T05:00"), mood={"b": [1, 2.5], "a": "é"})]
    account = generated_account(400, seed=5, start="2024-03-01", end="2024-03-03")
    api = serve(account, now=at("03-05"))
    odd_api = serve(odd, now=at("03-05"))
    pipeline.run(source_of(api, *BOTH))
    pipeline.run(source_of(odd_api, "actions_events", start=at("03-01"), end=at("03-02")))
    span = Window(at("03-01"), at("03-03"))

    def again(of: Any, *resources: str) -> Any:
        source = lambda: source_of(of, *resources, on_error="keep")  # noqa: E731
        plan = plan_recheck(pipeline, source(), span=span, now=at("03-05"))
        return recheck(pipeline, source, plan, accept_fewer=True)

    same = again(api, *BOTH)
    assert (same.days, same.loaded, same.failures) == (4, 0, [])
    assert again(odd_api, "actions_events").loaded == 0
    with pipeline.sql_client() as client:
        client.execute_sql(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE type = 'hit' LIMIT 3)"
        )
        client.execute_sql("UPDATE events__bounces SET diagnostic = 'another'")
        ((bounces,),) = client.execute_sql("SELECT count(*) FROM events__bounces") or []
    found = reconcile(pipeline, source_of(api, *BOTH), span)
    assert {one.kind for one in found.differences} == {"missing", "gone"}  # The odd one is gone.
    filled = again(api, "actions_events")
    assert (filled.new, filled.changed) == (3, bounces)
    with pipeline.sql_client() as client:
        (left,) = client.execute_sql(
            "SELECT count(*) FROM events__bounces WHERE diagnostic = 'another'"
        ) or [(None,)]
    assert left == (0,)
    assert again(api, "actions_events").loaded == 0
