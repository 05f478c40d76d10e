"""What erasing and masking do beside the tables: files of loads, and the copy for readers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dlt

from ..dataset_lock import duckdb_file
from ..destinations import kind_of_destination
from ..dlt_internals.packages import forget_package
from ..dlt_internals.pipelines import forget_trace
from ..extract.spool import spool_folder
from ..persons.copies import SPOOL
from ..persons.dataset import NotHere, check_destination
from ..temporary_folder import remove_abandoned_folders
from ..views.publishing import publish
from .coverage import coverage_of
from .document import Problem
from .for_analysts import SECTION
from .outcome import DONE, FAILED, FOUND

SHOWN = 50
"""Files that a message names at most."""


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


def check_has_persons(
    pipeline: dlt.Pipeline, holding: Callable[[dlt.Pipeline], Sequence[str]] = lambda _: ()
) -> None:
    """Refuses a dataset in which nobody can be looked for; makes no file by looking.

    Args:
        pipeline: The pipeline.
        holding: The files that hold the person, of files that are only read.

    Raises:
        NotHere: The destination is none in which persons are found; files that hold the person are
            named.
        NothingLoaded: Nothing is loaded here.
    """
    is_files = kind_of_destination(pipeline) == "filesystem"
    if is_files:
        pipeline.sync_destination()
    try:
        check_destination(pipeline, or_delta=True)
    except NotHere as refusal:
        files = holding(pipeline) if is_files else ()
        if not files:
            raise
        shown = ", ".join(files[:SHOWN])
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        raise NotHere(
            f"{refusal} Files that hold the person ({len(files)}): {shown}{more}."
        ) from None
    if not is_files:
        coverage_of(pipeline)


def forget_files(pipeline: dlt.Pipeline) -> None:
    """Removes what earlier loads have left in the pipeline's folder, and responses elsewhere.

    So it does with temporary folders of commands that were killed.
    """
    for load_id in pipeline.list_completed_load_packages():
        forget_package(pipeline, load_id)
    forget_trace(pipeline)
    configured = dlt.config.get(f"{SECTION}.spool_dir", str)
    for folder in {Path(pipeline.working_dir), *([Path(configured)] if configured else [])}:
        if (folder / SPOOL).is_dir():
            with spool_folder(folder / SPOOL):
                pass  # Removes those of killed runs.
    remove_abandoned_folders()


def published_again(pipeline: dlt.Pipeline, target: Path | None) -> Path | None:
    """Makes the copy for readers anew; returns it, None where there is none.

    Raises:
        PublishingFailed: It could not be made: the one before has what was there before.
    """
    if target is not None:
        publish(pipeline, target)
    return target


@dataclass(frozen=True)
class Remainder:
    """Where values that went may still be.

    Attributes:
        found_afterwards: Columns of the tables in which they still are.
        copies: Copies of the dataset that were made earlier.
        out_of_reach: What the destination keeps by itself, in words.
    """

    found_afterwards: Sequence[str] = ()
    copies: Sequence[str] = ()
    out_of_reach: Sequence[str] = ()

    def exit_status(self, pipeline: dlt.Pipeline) -> int:
        """The exit status of a command after which this is left."""
        if self.found_afterwards:
            return FAILED
        # A DuckDB file that was written anew has nothing of them any more.
        return FOUND if self.copies or duckdb_file(pipeline) is None else DONE

    def as_json(self) -> dict[str, list[str]]:
        """Its keys in the result of a command."""
        return {
            "found_afterwards": list(self.found_afterwards),
            "copies": list(self.copies),
            "out_of_reach": list(self.out_of_reach),
        }

    def problems(self) -> list[Problem]:
        """What a command has to object to."""
        return [
            Problem("error" if rule == "found_afterwards" else "warning", rule, what)
            for rule, found in self.as_json().items()
            for what in found
        ]

    def lines(self, found: str, copy: str) -> list[str]:
        """Lines for people.

        Args:
            found: What to say before a column in which they still are.
            copy: What to say before a copy.
        """
        return [
            *(f"{found} {name}" for name in self.found_afterwards),
            *(f"{copy} {what}" for what in self.copies),
            *(f"Out of reach: {what}" for what in self.out_of_reach),
        ]


NOTHING_LEFT = Remainder()
