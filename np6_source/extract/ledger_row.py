"""The row of the ledger that proves a window. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

import pyarrow as pa

from ..schema import LOAD_WINDOWS
from ..windows import to_datetime
from .window import LoadableWindow

TPurpose = Literal["load", "backfill"]
"""What a response was read for."""

PATHS_KEPT = 50
"""Payload paths without a column that a row names."""


def ledger_row(
    resource: str,
    scope_label: str,
    loaded: LoadableWindow,
    purpose: TPurpose,
    load_id: str,
    classification: str = "",
    policy: str = "",
    key_digest: str | None = None,
    by_table: Mapping[str, int] | None = None,
) -> pa.Table:
    """The row that proves a window, with the columns of ``load_windows``.

    Args:
        resource: The resource.
        scope_label: The id as the ledger stores it, empty for the account.
        loaded: The window that is complete, and what its response holds.
        purpose: What it was read for.
        load_id: The load package that commits the events and the row.
        classification: The class of robots that was requested, if any.
        policy: The policy for personal data, as ``Privacy.recorded``.
        key_digest: A digest of the API's address and key.
        by_table: Rows of the response by table.
    """
    contents, facts, response = loaded.contents, loaded.facts, loaded.response
    row = {
        "resource": resource,
        "scope_id": scope_label,
        "classification": classification,
        "window_start": to_datetime(loaded.window.start),
        "window_end": to_datetime(loaded.window.end),
        "requested_at": to_datetime(response.requested_at),
        "event_count": contents.event_count,
        "byte_count": response.byte_count,
        "duration_ms": response.duration_ms,
        "request_id": response.request_id,
        "purpose": purpose,
        "distinct_count": facts.distinct_count,
        "outside_count": contents.outside,
        "type_counts": _json(facts.type_counts),
        "unmapped_paths": _json(_most_frequent(contents.unmapped)),
        "table_counts": _json(by_table or {}),
        "key_digest": key_digest,
        "_dlt_load_id": load_id,
        "policy": policy or None,
    }
    return pa.Table.from_pylist([row], schema=LOAD_WINDOWS.arrow_schema)


def _json(counts: Mapping[str, int]) -> str:
    return json.dumps(dict(sorted(counts.items())), ensure_ascii=False, separators=(",", ":"))


def _most_frequent(paths: Mapping[str, int]) -> dict[str, int]:
    most = sorted(paths.items(), key=lambda item: (-item[1], item[0]))
    return dict(most[:PATHS_KEPT])
