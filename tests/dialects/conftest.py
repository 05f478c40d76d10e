"""Load packages for destinations that are not there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.dialects.offline import DIALECTS, Offline, sandboxes, source_of
from tests.views.reading import CELLS, DIFFERENT


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Adds up how many cells ClickHouse's views were compared in, and prints it."""
    found = [
        dict(report.user_properties)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        if CELLS in dict(getattr(report, "user_properties", ()))
    ]
    if found:
        cells, different = (sum(one[name] for one in found) for name in (CELLS, DIFFERENT))
        terminalreporter.write_line(
            f"{cells:,} cells of views on ClickHouse compared with DuckDB's, over {len(found)}"
            f" accounts: {different:,} differ."
        )


@pytest.fixture(scope="session")
def offline_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Offline]:
    """Gives the pipeline of a destination with two packages, made once."""
    made: dict[str, Offline] = {}

    def offline(name: str) -> Offline:
        if name not in made:
            made[name] = Offline(DIALECTS[name], tmp_path_factory.mktemp(name))
            with ExitStack() as stack:
                for sandbox in sandboxes():
                    made[name].extract(source_of(stack.enter_context(sandbox)))
        return made[name]

    return offline


@pytest.fixture(params=sorted(DIALECTS))
def offline(request: pytest.FixtureRequest, offline_for: Callable[[str], Offline]) -> Offline:
    """The same for each destination."""
    return offline_for(request.param)
