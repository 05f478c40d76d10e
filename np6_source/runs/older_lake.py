"""A lake that was put back from a backup, beside a newer working folder of dlt's.

In a database ``load_windows`` says what is loaded. Files are not asked, and dlt believes the state
of the working folder where that is newer than the lake's (dlt 1.31): what was loaded since the
backup would never be read again. A lake is known by the states that it keeps: where it lacks the
one that this pipeline has extracted last, the pipeline goes on from the lake's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dlt.destinations import filesystem

from ..bookkeeping.source_state import has_progress
from ..dlt_internals.stored_state import (
    TState,
    choose_stored_state,
    in_place_of_newer,
    is_stored,
    state_before_pending,
    with_sources,
)
from ..errors import SettingError

if TYPE_CHECKING:
    import dlt

logger = logging.getLogger(__name__)

OLDER = "The lake was put back from a backup since the last run extracted"
"""Why a package is given up."""


def go_back_with_lake(pipeline: dlt.Pipeline) -> None:
    """Makes a pipeline go on from its lake's state, where the lake is older than the pipeline.

    Nothing is asked before dlt itself reads the lake's state; calling it again is harmless.
    """
    choose_stored_state(pipeline, _of_lake)


def is_lake_older(pipeline: dlt.Pipeline) -> bool:
    """Whether the lake lacks what the pipeline goes on from; False for any other destination."""
    if not isinstance(pipeline.destination, filesystem):
        return False
    if not pipeline.config.restore_from_destination:
        return False  # Then the lake has no state of it.
    state = state_before_pending(pipeline)
    return _has_progress(state) and not is_stored(pipeline, state)


def refuse_older_lake(pipeline: dlt.Pipeline) -> None:
    """Refuses to load packages that go on from what the lake does not have.

    Their state would say that it is there. To be called with the dataset's lock.

    Raises:
        SettingError: The lake is older than the packages.
    """
    if is_lake_older(pipeline):
        raise SettingError(
            "The lake does not have what this pipeline has loaded before: it was put back from a"
            " backup. What is extracted goes on from there and would leave a gap; nothing of it is"
            " loaded. Run again: np6-source load gives it up and reads all of it; in a project of"
            " your own call pipeline.abort_packages() and pipeline.sync_destination() first."
        )


def _of_lake(pipeline: dlt.Pipeline, stored: TState | None) -> TState | None:
    """The state to go on from, in place of the lake's newest, which is ``stored``."""
    local = pipeline.state
    if stored is not None and stored["_state_version"] >= local["_state_version"]:
        return stored  # dlt takes it.
    # With a package pending, the load step decides: see ``refuse_older_lake``.
    if pipeline.has_pending_data or not is_lake_older(pipeline):
        return stored
    logger.warning(
        "The lake does not have what pipeline %s has loaded last: it was put back from a backup, or"
        " load packages were thrown away. The pipeline goes on from %s: what came after is read"
        " again. A span that was loaded by start and end since then is in no state: load it again.",
        pipeline.pipeline_name,
        "the beginning, as the lake has no state of it" if stored is None else "the lake's state",
    )
    if stored is None:
        others = {k: v for k, v in local.get("sources", {}).items() if not has_progress(v)}
        stored = with_sources(local, others)
    return in_place_of_newer(pipeline, stored)


def _has_progress(state: TState) -> bool:
    return any(map(has_progress, state.get("sources", {}).values()))
