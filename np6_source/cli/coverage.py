"""What the ledger proves, for commands: none of them makes a file by looking."""

from __future__ import annotations

import dlt

from ..ledger import coverage
from ..windows import Window
from .destination import check_there, shown_dataset
from .outcome import NothingLoaded


def coverage_of(
    pipeline: dlt.Pipeline, still_there: bool = True
) -> dict[tuple[str, str], list[Window]]:
    """The ledger's coverage; makes no file by looking.

    Args:
        pipeline: Where the ledger is.
        still_there: See ``ledger.coverage``; False is quicker.

    Raises:
        NothingLoaded: The database, the dataset or the ledger is not there, or the ledger is empty.
    """
    check_there(pipeline)
    pipeline.sync_destination()
    covered = coverage(pipeline, still_there=still_there)
    if not covered:
        raise NothingLoaded(
            f"Nothing is loaded here: no load into {shown_dataset(pipeline)} was completed."
        )
    return covered
