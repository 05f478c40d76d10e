"""Loads NP6 events into DuckDB, or any dlt destination: what a scheduler calls.

Goes on where the last call ended. Exit status: 0 when everything asked for is loaded, 75 when NP6
asks to come back later (or another call is running), 2 for unusable options, 143 or 130 after
SIGTERM or Ctrl-C, 1 for anything else. Whatever the status, what was loaded is complete and
correct, and the next call goes on from there.
"""

from __future__ import annotations

import argparse
import os
import sys

import dlt
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.cli.options import (
    FAILED,
    TRY_AGAIN_LATER,
    UNUSABLE,
    add_id_options,
    add_pipeline_options,
    configure_logging,
    ending_between_windows,
    exit_status,
    given_ids,
    make_source,
    open_pipeline,
    print_report,
)
from np6_source.errors import Np6Error, SettingError
from np6_source.loading import AlreadyRunning, load


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description="Load NP6 events, incrementally.",
        epilog="Exit status 0: everything asked for is loaded. 75: try again later.",
    )
    what = parser.add_argument_group("what")
    what.add_argument("--start", help="first moment of a first load; default: 30 days ago")
    what.add_argument(
        "--end",
        help="moment to load up to. With --start: a backfill of just this range, beside the"
        " schedule's cursor",
    )
    what.add_argument(
        "--resources",
        nargs="+",
        metavar="NAME",
        help="just these resources; default: actions_events, actions_reactivities, and those"
        " whose ids are given",
    )
    what.add_argument("--base-url", help="root of the API; default: NP6's production server")
    what.add_argument(
        "--reload",
        action="store_true",
        help="drop the tables and forget how far every resource got, then load from --start",
    )
    what.add_argument(
        "--checkpoint",
        type=int,
        default=1_000_000,
        metavar="EVENTS",
        help="commit a load package after so many events (%(default)s)",
    )
    add_id_options(parser)
    add_pipeline_options(parser)
    parser.add_argument(
        "--progress",
        choices=("log", "none", "tqdm", "enlighten", "alive_progress"),
        default="log",
        help="how dlt shows its progress (%(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the load; gives the exit status."""
    options = parse(arguments)
    configure_logging()
    # The script ends between windows by itself; dlt would drop what is complete (dlt 1.31).
    os.environ["RUNTIME__INTERCEPT_SIGNALS"] = "false"
    source_options = {"largest_load": options.checkpoint, "on_error": "keep", **given_ids(options)}
    # What is not given is left to dlt's configuration; None would be taken as given.
    for name in ("start", "end", "base_url"):
        if getattr(options, name) is not None:
            source_options[name] = getattr(options, name)
    progress = (
        dlt.progress.log(5, sys.stderr, dump_system_stats=False)
        if options.progress == "log"
        else None
        if options.progress == "none"
        else options.progress
    )
    with ending_between_windows() as signal_received:
        source_options["stop_when"] = signal_received
        try:
            make_source(options.resources, **source_options)
            pipeline = open_pipeline(options, progress)
            report = load(
                pipeline,
                lambda: make_source(options.resources, **source_options),
                signal_received,
                reload=options.reload,
            )
        except AlreadyRunning as error:
            print(error, file=sys.stderr)
            return TRY_AGAIN_LATER
        except Np6Error as error:
            print(error, file=sys.stderr)
            return UNUSABLE if isinstance(error, SettingError) else FAILED
        except PipelineStepFailed as error:
            print(error, file=sys.stderr)
            print(
                "Nothing of this step was committed; the next call goes on from the last"
                " committed package.",
                file=sys.stderr,
            )
            return FAILED
        print_report(report, pipeline)
        return 128 + signal_received() if report.stopped else exit_status(report)


if __name__ == "__main__":
    sys.exit(main())
