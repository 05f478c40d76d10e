"""A reload of a lake to which NP6 returns fewer events than the lake has."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from np6_source.loading import load
from tests.runs.lakes import Lake, TMake
from tests.support import at, event

BY_ID = "action_events_activations"
DAY = 86_400_000
FORMATS = [
    None,
    pytest.param("delta", marks=pytest.mark.destinations),
    pytest.param("iceberg", marks=pytest.mark.destinations),
]
EVENTS = [event(n, at("03-01") + n * DAY // 20) for n in range(40)]
"""Twenty on each of two days."""


@pytest.mark.parametrize("table_format", FORMATS)
def test_it_fails_where_they_are_many_unless_told_that_they_are_gone_for_good(
    tmp_path: Path, serve: TMake, source_of: TMake, table_format: str | None
) -> None:
    options = {"table_format": table_format} if table_format else {}
    lake = Lake(tmp_path, serve(EVENTS, now=at("03-04")), source_of, same_account=True, **options)
    lake.load()
    everything = lake.ids()

    lake.sandbox = serve(EVENTS[:28], now=at("03-05"))
    (failure,) = reload(lake)
    assert failure["kind"] == "FewerEvents"
    assert (
        "NP6 did not return 12 of 40 events again that are in the tables (2024-03-02"
        in (failure["message"])
    )
    assert "accept_fewer_events=True" in failure["message"]
    assert lake.ids() == everything
    assert reload(lake, accept_fewer_events=True) == []


def test_events_of_ids_that_it_does_not_ask_for_are_none_of_them(
    tmp_path: Path, serve: TMake, source_of: TMake
) -> None:
    of_two = [event(n, at("03-01") + n, f"000AA{n % 2}") for n in range(40)]
    sandbox = serve(of_two, now=at("03-04"))
    lake = Lake(tmp_path, sandbox, source_of)
    for ids, is_reload in (["000AA0", "000AA1"], False), (["000AA0"], True):
        make_source = partial(source_of, sandbox, BY_ID, action_ids=ids, on_error="keep")
        assert not load(lake.pipeline(), make_source, reload=is_reload).failures
        sandbox.now = at("03-05")
    assert len(lake.ids()) == 40


def test_rows_of_a_load_that_ran_beside_it_are_none_of_them(
    tmp_path: Path, serve: TMake, source_of: TMake
) -> None:
    """It may have been requested up to five seconds earlier, and merged later."""
    begun = at("03-04")
    lake = Lake(tmp_path, serve(EVENTS, now=begun), source_of, same_account=True)
    lake.load()
    lake.sandbox = serve(EVENTS[:28], now=begun + 3000)
    assert reload(lake) == []


def reload(lake: Lake, **options: Any) -> list[dict[str, Any]]:
    """The failures of a reload."""
    make_source = lambda **more: lake.source(on_error="keep", **options, **more)  # noqa: E731
    return load(lake.pipeline(), make_source, reload=True).failures
