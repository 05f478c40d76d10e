"""What the tests of reading share: events, and the rows that a response makes of them."""

from __future__ import annotations

import copy
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from np6_source.events.reader import EventReader, ResponseContents
from np6_source.events.rows import Origin
from np6_source.sandbox import documented_samples
from np6_source.windows import Window

SAMPLES: dict[str, dict[str, Any]] = documented_samples()
"""The documented samples of the reference, as they are."""

EVERYTHING = Window(-62_135_596_800_000, 253_402_300_800_000)
REQUESTED = 1_700_000_000_000
BIG = 10**30

Rows = dict[str, list[dict[str, Any]]]


def utc(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)


def rows_of(
    reader: EventReader,
    spool: Path,
    payload: str | bytes | list[Any],
    window: Window = EVERYTHING,
    contents: ResponseContents | None = None,
    **options: Any,
) -> Rows:
    """All rows of an answer, by table."""
    file = spool / "answer.json"
    if isinstance(payload, list):
        payload = json.dumps(payload, ensure_ascii=False)
    file.write_bytes(payload.encode() if isinstance(payload, str) else payload)
    found: Rows = {}
    how = {name: options.pop(name) for name in ("histogram", "keep_bad_events") if name in options}
    origin = Origin(window, REQUESTED, **options)
    batches = reader.read(file, origin, contents or ResponseContents(), **how)
    for tables in batches:
        for name, table in tables.items():
            assert table.num_rows
            found.setdefault(name, []).extend(table.to_pylist())
    return found


def sorted_rows(rows: Rows) -> dict[str, list[str]]:
    return {name: sorted(map(repr, table)) for name, table in rows.items()}


def event(sample: str = "hit.redirection", **changes: Any) -> dict[str, Any]:
    """A sample with changes; ``a__b`` names the value at a.b, None there removes nothing."""
    result = copy.deepcopy(SAMPLES[sample])
    for name, value in changes.items():
        *parents, key = name.split("__")
        node = result
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key] = value
    return result


def of_event(row: dict[str, Any]) -> dict[str, Any]:
    """A row's values without those that are NULL."""
    return {name: value for name, value in row.items() if value is not None}


def unmapped_of(reader: EventReader, spool: Path, *payload: Any) -> list[Any]:
    """What is left over of each event, read between events that are clean."""
    clean = event(id="clean")
    text = json.dumps([clean, *payload, clean], ensure_ascii=False)
    first, *rows, last = rows_of(reader, spool, text)["events"]
    assert first["unmapped"] is last["unmapped"] is None
    return [json.loads(row["unmapped"]) if row["unmapped"] else None for row in rows]
