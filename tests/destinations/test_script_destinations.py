"""The script, with ``--destination`` and dlt's configuration in the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from np6_source.sandbox import Sandbox
from np6_source.schema import EVENTS, LOAD_WINDOWS
from tests.destinations.stores import Store

pytestmark = pytest.mark.destinations


def test_it_loads_and_goes_on(
    store: Store, command_line: Any, serve: Callable[..., Sandbox], event: Any, at: Any
) -> None:
    hour = 3_600_000
    sandbox = serve((event(n, at("03-01") + n * hour) for n in range(48)), now=at("03-02"))
    arguments = [
        "np6_to_duckdb",
        *("--destination", store.script_name, "--dataset", "np6"),
        *("--pipelines-dir", str(store.folder / "pipelines"), "--progress", "none"),
        *("--base-url", sandbox.url, "--start", "2024-03-01"),
    ]
    environment = {"SOURCES__NP6__API_KEY": sandbox.key, **store.environment}
    for now, count in (("03-02", 24), ("03-03T12:00", 48), ("03-03T13:00", 48)):
        sandbox.now = at(now)
        finished = command_line.run(*arguments, **environment)
        assert finished.returncode == 0, finished.stderr[-3000:]
        assert sandbox.key not in finished.stdout + finished.stderr
        ids = [row["id"] for row in store.rows(EVENTS)]
        assert ids == [f"event-{n:05d}" for n in range(count)]
    assert len(store.rows(LOAD_WINDOWS)) >= 3
