"""The rows of the ledger that prove a window. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa

from ..events.spans import SpanCounts
from ..schema import LOAD_WINDOWS
from ..windows import to_datetime
from .session import TPurpose
from .window import LoadableWindow

PATHS_KEPT = 50
"""Payload paths without a column that a row names."""


def ledger_rows(
    resource: str,
    scope_label: str,
    loaded: LoadableWindow,
    purpose: TPurpose,
    load_id: str,
    classification: str = "",
    policy: str = "",
    key_digest: str | None = None,
    by_table: Mapping[str, int] | None = None,
    new: int | None = None,
) -> pa.Table:
    """The rows that prove a window: one for each of its spans that is counted apart.

    The first has the size and the duration of the response, so that both add up.

    Args:
        resource: The resource.
        scope_label: The id as the ledger stores it, empty for the account.
        loaded: The window that is complete, and what its response holds.
        purpose: What it was read for.
        load_id: The load package that commits the events and the rows.
        classification: The class of robots that was requested, if any.
        policy: The policy for personal data, as ``Privacy.recorded``.
        key_digest: A digest of the API's address and key.
        by_table: Rows of the response by table; the first row has them.
        new: Events that the destination lacked; None: that was not compared.
    """
    contents, response = loaded.contents, loaded.response
    rows = []
    for number, span in enumerate(loaded.spans):
        counts, is_first = contents.by_span.get(number, SpanCounts()), number == 0
        rows.append(
            {
                "resource": resource,
                "scope_id": scope_label,
                "classification": classification,
                "window_start": to_datetime(span.start),
                "window_end": to_datetime(span.end),
                "requested_at": to_datetime(response.requested_at),
                "event_count": counts.events,
                "byte_count": response.byte_count if is_first else 0,
                "duration_ms": response.duration_ms if is_first else 0,
                "request_id": response.request_id,
                "purpose": purpose,
                "distinct_count": counts.distinct,
                "outside_count": contents.outside if is_first else 0,
                "type_counts": _json(counts.types),
                "unmapped_paths": _json(_most_frequent(counts.unmapped)),
                "table_counts": _json((by_table or {}) if is_first else {}),
                "key_digest": key_digest,
                "new_count": new if is_first or new is None else 0,
                "_dlt_load_id": load_id,
                "policy": policy or None,
            }
        )
    return pa.Table.from_pylist(rows, schema=LOAD_WINDOWS.arrow_schema)


def _json(counts: Mapping[str, int]) -> str:
    return json.dumps(dict(sorted(counts.items())), ensure_ascii=False, separators=(",", ":"))


def _most_frequent(paths: Mapping[str, int]) -> dict[str, int]:
    most = sorted(paths.items(), key=lambda item: (-item[1], item[0]))
    return dict(most[:PATHS_KEPT])
