"""What is said of a dataset, from the ledger's rows alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from np6_source.schema import LOAD_WINDOWS
from np6_source.status import last_recheck
from np6_source.windows import DAY, to_datetime
from tests.support import at

FIRST, LATER = at("03-01"), at("03-09")
ALL, REACTIONS = "actions_events", "actions_reactivities"


def read_again(resource: str, day: int, new: int, **values: Any) -> dict[str, Any]:
    return {
        "resource": resource,
        "scope_id": "",
        "classification": "",
        "window_start": to_datetime(FIRST + day * DAY),
        "window_end": to_datetime(FIRST + (day + 1) * DAY),
        "requested_at": to_datetime(LATER),
        "event_count": 100,
        "purpose": "recheck",
        "new_count": new,
        "_dlt_load_id": "2",
    } | values


def ledger(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=LOAD_WINDOWS.arrow_schema)


def test_an_event_that_two_resources_return_late_is_new_once() -> None:
    found = last_recheck(
        ledger(
            *(read_again(ALL, 0, 5), read_again(REACTIONS, 0, 3), read_again(ALL, 1, 2)),
            read_again("action_reactivities", 1, 4, scope_id="000PE4"),
            read_again("action_reactivities", 1, 1, scope_id="000PE5"),
            read_again(ALL, 2, 9, _dlt_load_id="1", requested_at=to_datetime(LATER - DAY)),
        )
    )
    assert found is not None
    assert (found.at, found.days, found.new) == (LATER, 5, 10)
    assert last_recheck(ledger(read_again(ALL, 0, 0, purpose="load"))) is None
