"""What erasing and masking do beside the tables: files of loads, and the copy for readers."""

from __future__ import annotations

import argparse
from pathlib import Path

import dlt

from ..dlt_internals.packages import forget_package
from ..dlt_internals.pipelines import forget_trace
from ..extract.spool import spool_folder
from ..persons.copies import SPOOL
from ..views.publishing import publish
from .for_analysts import SECTION


def add_forgetting_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options for what is left of values that went: old blocks, and the readers' copy."""
    group.add_argument(
        "--rewrite",
        action="store_true",
        help="PostgreSQL: VACUUM FULL the tables, which locks each. DuckDB's file is always written"
        " anew",
    )
    group.add_argument(
        "--publish",
        metavar="FILE",
        help="then copy the DuckDB file to FILE, for readers; default: as configured",
    )


def forget_files(pipeline: dlt.Pipeline) -> None:
    """Removes what earlier loads have left in the pipeline's folder, and responses elsewhere."""
    for load_id in pipeline.list_completed_load_packages():
        forget_package(pipeline, load_id)
    forget_trace(pipeline)
    configured = dlt.config.get(f"{SECTION}.spool_dir", str)
    for folder in {Path(pipeline.working_dir), *([Path(configured)] if configured else [])}:
        if (folder / SPOOL).is_dir():
            with spool_folder(folder / SPOOL):
                pass  # Removes those of killed runs.


def published_again(pipeline: dlt.Pipeline, target: Path | None) -> Path | None:
    """Makes the copy for readers anew; returns it, None where there is none.

    Raises:
        PublishingFailed: It could not be made: the one before has what was there before.
    """
    if target is not None:
        publish(pipeline, target)
    return target
