"""Fixtures of the commands' tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Warehouse


@pytest.fixture
def loaded(
    warehouse: Warehouse,
    serve: Callable[..., Any],
    event: Callable[..., Any],
    at: Callable[[str], int],
    source_of: Callable[..., Any],
) -> Warehouse:
    """A warehouse into which one event was loaded."""
    server = serve([event(1, at("03-01") + 1000)], now=at("03-02"))
    warehouse.run(source_of(server, "actions_events"))
    return warehouse
