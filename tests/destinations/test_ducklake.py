"""What docs/destinations.md prints for a DuckLake that lives for years."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from np6_source.schema import EVENTS
from np6_source.views import make
from tests.destinations.stores import DuckLakeStore
from tests.printed.project import blocks
from tests.support import at, event

pytestmark = pytest.mark.destinations

TMake = Callable[..., Any]


def test_its_upkeep_as_printed_leaves_few_files_and_every_row(
    tmp_path: Path, serve: TMake, source_of: TMake
) -> None:
    store = DuckLakeStore(tmp_path / "ducklake")
    sandbox = serve([event(n, at("03-01") + n) for n in range(20)], now=at("03-05"))
    for _ in range(4):
        source = source_of(sandbox, "actions_events", start=at("03-01"), end=at("03-02"))
        store.pipeline.run(source)

    def files() -> int:
        return len(list((store.folder / "files").rglob("events/*.parquet")))

    before, rows = files(), store.rows(EVENTS)
    (printed,) = (b for b in blocks("docs/destinations.md") if "ducklake:" in b.first_line)
    replacements = {
        "catalog.duckdb": str(store.catalog),
        "'files'": f"'{store.folder}/files/'",
        # In life what is a week old goes, here what is older than now.
        "7 days": "0 seconds",
        "1 day": "0 seconds",
    }
    text = printed.text
    for shown, here in replacements.items():
        assert shown in text
        text = text.replace(shown, here)
    with duckdb.connect(config=store.config) as connection:
        connection.execute(text)
        # What the first joined is unused only then.
        connection.execute("CHECKPOINT lake")
    assert store.rows(EVENTS) == rows
    assert (before, files()) == (8, 2)  # One of each is in the staging dataset.


def test_it_has_the_views(tmp_path: Path, serve: TMake, source_of: TMake) -> None:
    """DuckLake takes no comments on the columns of views."""
    store = DuckLakeStore(tmp_path / "ducklake")
    sandbox = serve([event(n, at("03-01") + n) for n in range(3)], now=at("03-05"))
    store.pipeline.run(source_of(sandbox, "actions_events"))
    for _ in range(2):  # The second time they are up to date.
        make(store.pipeline)
    with store.connect() as connection:
        assert connection.execute("SELECT count(*) FROM np6.messages").fetchall() == [(3,)]
