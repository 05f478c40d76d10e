"""The row of the ledger that proves a window."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from np6_source.api.client import ResponseFacts
from np6_source.errors import RequestContext
from np6_source.events.reader import ResponseContents
from np6_source.extract.facts import EventFacts
from np6_source.extract.ledger_row import PATHS_KEPT, ledger_row
from np6_source.extract.spool import TableStash
from np6_source.extract.window import LoadableWindow
from np6_source.schema import LOAD_WINDOWS
from np6_source.windows import Window, to_ms


def test_it_says_what_was_read_and_what_came(tmp_path: Path) -> None:
    paths = Counter({f"$.new{number:03d}": 1 for number in range(PATHS_KEPT + 5)})
    paths["$.frequent"] = 9
    loaded = LoadableWindow(
        Window(1_000, 5_000),
        ResponseFacts(2_048, 7_000, 31, "request-1"),
        ResponseContents(event_count=4, outside=1, unmapped=paths),
        TableStash(tmp_path, "window"),
        (),
        EventFacts(type_counts=Counter(hit=3, bounce=2), distinct_count=3),
        RequestContext("target_events", "sha256:1", ""),
    )
    table = ledger_row("target_events", "sha256:1", loaded, "backfill", "package", "mpp", "ip=drop")
    assert table.schema == LOAD_WINDOWS.arrow_schema
    (row,) = table.to_pylist()
    moments = [to_ms(row.pop(name)) for name in ("window_start", "window_end", "requested_at")]
    assert moments == [1_000, 5_000, 7_000]
    unmapped = json.loads(row.pop("unmapped_paths"))
    assert len(unmapped) == PATHS_KEPT
    assert unmapped["$.frequent"] == 9
    assert row == {
        "resource": "target_events",
        "scope_id": "sha256:1",
        "classification": "mpp",
        "event_count": 4,
        "byte_count": 2_048,
        "duration_ms": 31,
        "request_id": "request-1",
        "purpose": "backfill",
        "distinct_count": 3,
        "outside_count": 1,
        "type_counts": '{"bounce":2,"hit":3}',
        "_dlt_load_id": "package",
        "policy": "ip=drop",
    }
