"""A resource's progress beside the destination's ledger, which is the truth about it. Pure.

The state runs ahead of the tables where a database was restored from a backup, a table was emptied,
or a load package was thrown away. Reading again is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..errors import EarlierStart, RequestContext, scope_name
from ..windows import Window, gaps, iso
from .progress import Progress, as_proven

logger = logging.getLogger(__name__)


def proven_progress(
    progress: Progress, windows: Sequence[Window] | None, resource: str, label: str
) -> Progress:
    """The progress as far as the destination proves it; warns where that is less.

    Args:
        progress: What the state says.
        windows: The scope's windows in the ledger, as few as possible. None: it has no row of the
            scope. Empty: only rows that prove nothing, as no event was seen so far.
        resource: Name of the resource.
        label: The id and class of robots, see ``ledger.scope_key``.
    """
    if windows is not None and not windows:
        # No event was seen so far, in the first hour: its history costs a few empty responses, and
        # an outage, or a key without rights, would have looked the same.
        return Progress(progress.start, progress.start)
    kept = as_proven(progress, windows or ())
    if kept != progress:
        logger.warning(
            "%s: the state says complete up to %s, the destination proves it up to %s only"
            " (load_windows): what came after is read again.",
            scope_name(resource, label),
            iso(progress.complete_until),
            iso(kept.complete_until),
        )
    return kept


def earlier_start(
    start: int | None,
    progress: Progress,
    windows: Sequence[Window] | None,
    resource: str,
    label: str,
) -> EarlierStart | None:
    """The failure of a start that lies before the first load's, and was never loaded.

    The settings of a schedule may keep their start, so what the ledger proves is no failure.

    Args:
        start: The start that is set, milliseconds since the epoch; None: none is.
        progress: The scope's progress.
        windows: As for ``proven_progress``; None where the destination has no ledger.
        resource: Name of the resource.
        label: As for ``proven_progress``.
    """
    if start is None or start >= progress.start:
        return None
    missing = Window(start, progress.start)
    if windows is not None and not gaps(missing, windows):
        return None
    return EarlierStart(
        RequestContext(resource, label, str(missing)),
        f"the start {iso(start)} lies before the first load's start, and a run continues where the"
        " last one ended",
        f"Load it with start={iso(start)} and end={iso(progress.start)}.",
    )
