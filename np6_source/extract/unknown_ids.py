"""Ids that NP6 does not know (404), in how many runs in a row and since when. Pure, over the state.

An id that stays unknown is requested once a day only; it is a failure of every run meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from ..errors import NotFound, RequestContext
from ..windows import DAY

UNKNOWN_IDS = "unknown_ids"
"""Key of the resource state: by label, ``runs`` in a row and when it was last ``asked_at``."""

RUNS_UNKNOWN = 3
"""Runs on end after which an unknown id is requested once a day only."""


def not_due(state: MutableMapping[str, Any], labels: Iterable[str], now: int) -> frozenset[str]:
    """The ids that this run leaves out.

    Args:
        state: dlt's state of the resource.
        labels: The ids of the run, as they are stored.
        now: When the run began, milliseconds since the epoch.
    """
    unknown = state.get(UNKNOWN_IDS, {})
    return frozenset(
        label
        for label in labels
        if label in unknown
        and unknown[label]["runs"] >= RUNS_UNKNOWN
        and now - unknown[label]["asked_at"] < DAY
    )


def note_unknown(state: MutableMapping[str, Any], label: str, now: int) -> None:
    """Counts a run in which NP6 did not know an id; once, however often the run asked for it.

    Args:
        state: As for ``not_due``.
        label: The id, as it is stored.
        now: As for ``not_due``.
    """
    before = state.get(UNKNOWN_IDS, {}).get(label, {})
    if before.get("asked_at") != now:
        entry = {"runs": before.get("runs", 0) + 1, "asked_at": now}
        state.setdefault(UNKNOWN_IDS, {})[label] = entry


def note_known(state: MutableMapping[str, Any], label: str) -> None:
    """Forgets that an id was unknown."""
    state.get(UNKNOWN_IDS, {}).pop(label, None)


def not_requested(resource: str, label: str) -> NotFound:
    """The failure of an id that is left out: no run that leaves one out is complete."""
    return NotFound(
        RequestContext(resource, label, "all"),
        f"NP6 did not know this id in {RUNS_UNKNOWN} runs in a row; it is requested once a day",
        "Check the id, or stop giving it; what was loaded of it stays.",
    )
