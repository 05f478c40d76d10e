"""What the ledger proves, for commands: none of them makes a file by looking."""

from __future__ import annotations

import dlt

from ..ledger import coverage
from ..upkeep.changed_tables import check_tables, saying_what_changed
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
        NothingLoaded: The database or the dataset is not there, or the ledger is empty.
        TableMissing: A table that loads have filled, or a column of one, is gone.
        TypeChanged: A column has another type than it was made with.
    """
    check_there(pipeline)
    pipeline.sync_destination()
    with saying_what_changed(pipeline):
        covered = coverage(pipeline, still_there=still_there)
    if not covered:
        check_tables(pipeline, changes=False)
        raise NothingLoaded(
            f"Nothing is loaded here: no load into {shown_dataset(pipeline)} was completed."
        )
    return covered
