"""The state of a source, as dlt keeps it: where the progress of resources is, what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROGRESS, BACKFILLS = "places", "backfills"
"""Keys of the resource state: progress by scope, and that of unfinished backfills by range."""


def has_progress(source_state: Mapping[str, Any]) -> bool:
    """Whether a window of any resource was ever completed.

    Args:
        source_state: dlt's state of the source.
    """
    return any(
        state.get(PROGRESS) or any(state.get(BACKFILLS, {}).values())
        for state in source_state.get("resources", {}).values()
    )


def has_loaded(state: Mapping[str, Any]) -> bool:
    """Whether a window of a resource was ever completed for its cursor.

    A run in which every id is unknown leaves a cursor that never moved, and no progress.

    Args:
        state: dlt's state of the resource.
    """
    cursor = state.get("incremental", {}).get("timestamp", {})
    return bool(state.get(PROGRESS)) or cursor.get("last_value") != cursor.get("initial_value")


def earliest_start(source_state: Mapping[str, Any]) -> int | None:
    """Where the oldest history of a source begins, milliseconds since the epoch; None: nowhere.

    Args:
        source_state: dlt's state of the source.
    """
    states = source_state.get("resources", {}).values()
    starts = [one["start"] for state in states for one in state.get(PROGRESS, {}).values()]
    return min(starts, default=None)
