"""The rows of the ledger that prove a window."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from np6_source.api.client import ResponseFacts
from np6_source.errors import RequestContext
from np6_source.events.reader import ResponseContents
from np6_source.events.spans import SpanCounts
from np6_source.extract.facts import EventFacts
from np6_source.extract.ledger_row import PATHS_KEPT, ledger_rows
from np6_source.extract.spool import TableStash
from np6_source.extract.window import LoadableWindow
from np6_source.schema import LOAD_WINDOWS
from np6_source.windows import Window, to_ms


def test_it_says_what_was_read_and_what_came(tmp_path: Path) -> None:
    paths = Counter({f"$.new{number:03d}": 1 for number in range(PATHS_KEPT + 5)})
    paths["$.frequent"] = 9
    held = {
        0: SpanCounts(4, 3, Counter(hit=3, bounce=1), paths),
        2: SpanCounts(1, 1, Counter(hit=1)),
    }
    loaded = LoadableWindow(
        Window(1_000, 5_000),
        ResponseFacts(2_048, 7_000, 31, "request-1"),
        ResponseContents(event_count=5, outside=1, unmapped=paths, by_span=held),
        (Window(1_000, 2_000), Window(2_000, 3_000), Window(3_000, 5_000)),
        TableStash(tmp_path, "window"),
        (),
        EventFacts(),
        RequestContext("target_events", "sha256:1", ""),
    )
    table = ledger_rows(
        "target_events",
        "sha256:1",
        loaded,
        "backfill",
        "package",
        "mpp",
        "ip=drop",
        "digest",
        {"events": 6},
        new=2,
    )
    assert table.schema == LOAD_WINDOWS.arrow_schema
    row, empty, last = table.to_pylist()
    assert (empty["event_count"], empty["type_counts"], empty["byte_count"]) == (0, "{}", 0)
    assert (last["table_counts"], last["key_digest"]) == ("{}", "digest")
    assert (last["event_count"], last["outside_count"], last["duration_ms"]) == (1, 0, 0)
    assert {(one["request_id"], one["requested_at"]) for one in (row, empty, last)} == {
        (row["request_id"], row["requested_at"])
    }
    moments = [to_ms(row.pop(name)) for name in ("window_start", "window_end", "requested_at")]
    assert moments == [1_000, 2_000, 7_000]
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
        "type_counts": '{"bounce":1,"hit":3}',
        "table_counts": '{"events":6}',
        "key_digest": "digest",
        "new_count": 2,
        "_dlt_load_id": "package",
        "policy": "ip=drop",
    }
