"""What the guest tests share: an account with an event per hour over two days."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import SettingError
from np6_source.sandbox import Sandbox
from np6_source.windows import SECOND, Window, gaps

ALL = "actions_events"
HOUR = 3600 * SECOND
EVERY_ID = [f"event-{n:05d}" for n in range(48)]

TMake = Callable[..., Any]
TAt = Callable[[str], int]


@pytest.fixture
def sandbox(serve: TMake, event: TMake, at: TAt) -> Sandbox:
    sandbox: Sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(48)), now=at("03-03"))
    return sandbox


def refusal(run: Callable[[], Any]) -> str:
    """The sentence with which a run is refused; nothing was left behind to be loaded."""
    with pytest.raises(PipelineStepFailed) as raised:
        run()
    assert raised.value.step == "extract"
    cause: BaseException | None = raised.value
    while cause is not None and not isinstance(cause, SettingError):
        cause = cause.__cause__
    assert isinstance(cause, SettingError), raised.value
    return str(cause)


def unproven(warehouse: Any, asked: Window, resource: str = ALL) -> list[Window]:
    """What of a span the ledger does not prove."""
    return gaps(asked, warehouse.windows(resource))


def keys_twice(rows: Iterable[dict[str, Any]], *key: str) -> list[Any]:
    """Keys that stand in more than one row."""
    seen: set[Any] = set()
    twice = []
    for row in rows:
        values = tuple(row[name] for name in key)
        if values in seen:
            twice.append(values)
        seen.add(values)
    return twice
