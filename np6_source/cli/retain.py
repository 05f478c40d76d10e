"""``np6-source retain``: removes the events that are older than they are kept."""

from __future__ import annotations

import argparse

from ..dataset_lock import to_read
from ..errors import SettingError
from ..loading import only_one
from ..upkeep.removals import Removal, out_of_reach, remove, to_remove
from ..windows import iso
from .configuration import check_names, configured_cutoff
from .coverage import coverage_of
from .destination import check_speaks_sql, open_pipeline
from .document import print_document
from .options import add_output_options, add_pipeline_options, configure_logging
from .outcome import DONE, FOUND, Output


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Remove the rows of events that were published before the cutoff: midnight, UTC, so long"
        " ago as retention says. Every load with retention does it by itself, once a day. Without"
        " --yes it says what would go, and changes nothing."
    )
    parser.epilog = (
        f"Exit status {DONE}: nothing is older, or it was removed. 2: no retention is configured."
        f" {FOUND}: something is older (without --yes). 4: nothing was loaded yet."
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--retention",
        metavar="SPAN",
        help="how long events are kept: 25 months, 400 days, 2 years; default: as configured."
        " Configure it too, else the next load brings what is older back",
    )
    what.add_argument("--yes", action="store_true", help="do it")
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    cutoff = configured_cutoff(options.retention)
    if cutoff is None:
        raise SettingError(
            "How long are events kept? Give --retention, or retention in [sources.np6] of"
            " config.toml, such as 25 months"
        )
    pipeline = open_pipeline(options)
    check_speaks_sql(pipeline, "retain")
    coverage_of(pipeline)
    if options.yes:
        with only_one(pipeline):
            removal = remove(pipeline, cutoff)
    else:
        with to_read(pipeline):
            removal = to_remove(pipeline, cutoff)
    status = FOUND if removal.rows and not options.yes else DONE
    if options.json:
        result = {"cutoff": iso(cutoff), "removed": options.yes, "rows": dict(removal.rows)}
        if options.yes:
            result["out_of_reach"] = out_of_reach(pipeline)
        print_document("retain", status, pipeline, result)
        return status
    _say(removal, options.yes, Output(quiet=options.quiet))
    if options.yes and removal.rows:
        Output(quiet=options.quiet).print(f"Out of reach: {out_of_reach(pipeline)}")
    return status


def _say(removal: Removal, is_done: bool, console: Output) -> None:
    if not removal.rows:
        console.print(f"Nothing is older than {iso(removal.cutoff)}.")
    for table, count in removal.rows.items():
        what = "removed" if is_done else "would be removed"
        console.print(f"{table}: {count:,} rows from before {iso(removal.cutoff)} {what}")
