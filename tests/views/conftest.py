"""The closing lines: how many cells of the views were compared with figures of plain Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlt
import pytest

from tests.support import PostgresDataset, Warehouse
from tests.views.reading import CELLS, DIFFERENT


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Adds up what the tests have recorded, and prints it where there is something."""
    totals = dict.fromkeys((CELLS, DIFFERENT), 0)
    comparisons = 0
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(report, "user_properties", ()):
                comparisons += name == CELLS
                if name in totals:
                    totals[name] += value
    if comparisons:
        terminalreporter.write_line(
            f"{totals[CELLS]:,} cells of views compared with figures computed in Python, in"
            f" {comparisons} comparisons of whole accounts: {totals[DIFFERENT]:,} differ."
        )


@pytest.fixture(params=["duckdb", "postgres"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> dlt.Pipeline:
    """A pipeline into DuckDB or PostgreSQL that has loaded nothing."""
    if request.param == "duckdb":
        return Warehouse(tmp_path).pipeline
    dataset: PostgresDataset = request.getfixturevalue("postgres_dataset")(
        f"np6_{abs(hash(request.node.nodeid)) % 10**8}"
    )
    return dataset.pipeline
