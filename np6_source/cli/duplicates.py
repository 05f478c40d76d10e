"""``np6-source duplicates``: removes earlier versions of events that are in the tables twice."""

from __future__ import annotations

import argparse

from ..dataset_lock import to_read
from ..loading import only_one
from ..upkeep.moved_events import SETTING, count_moved, remove_moved
from .configuration import check_names
from .coverage import coverage_of
from .destination import check_speaks_sql, open_pipeline
from .document import print_document
from .options import add_output_options, add_pipeline_options, configure_logging
from .outcome import DONE, FOUND, Output


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        f"Where {SETTING} is set, an event that NP6 gives another timestamp is in the tables twice."
        " Of each event the version requested last stays. Without --yes it says how many there are,"
        " and changes nothing."
    )
    parser.epilog = (
        f"Exit status {DONE}: no event is there twice, or the earlier versions were removed."
        f" {FOUND}: some are (without --yes). 4: nothing was loaded yet."
    )
    parser.add_argument("--yes", action="store_true", help="do it")
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    pipeline = open_pipeline(options)
    check_speaks_sql(pipeline, "duplicates")
    coverage_of(pipeline)
    with to_read(pipeline):
        found = count_moved(pipeline)
    removed = {}
    if found and options.yes:
        with only_one(pipeline):
            removed = dict(remove_moved(pipeline))
    status = FOUND if found and not options.yes else DONE
    if options.json:
        print_document("duplicates", status, pipeline, {"events": found, "removed": removed})
        return status
    console = Output(quiet=options.quiet)
    if not found:
        console.print("No event is in the tables twice.")
    elif not options.yes:
        events = "1 event is" if found == 1 else f"{found:,} events are"
        console.print(f"{events} in the tables twice. Remove earlier versions with --yes.")
    for table, count in removed.items():
        console.print(f"{table}: {count:,} rows of earlier versions removed")
    return status
