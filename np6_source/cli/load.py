"""``np6-source load``: loads NP6 events into DuckDB, or any dlt destination.

Goes on where the last call ended. Whatever the exit status, what was loaded is complete and
correct, and the next call goes on from there.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

import dlt
from dlt.extract import DltSource

from ..alarms import Alarm
from ..bookkeeping.known_starts import known_start
from ..dataset_lock import DatasetBusy, duckdb_file, in_database_or_file, patience, to_read
from ..endpoints import ENDPOINTS, Endpoint
from ..errors import SettingError
from ..extract.selection import account_of, selected_operations, session_of
from ..loading import LoadReport, load
from ..parameters import at_least_one, moment_ms
from ..settings import check_end
from ..upkeep.changed_tables import saying_what_changed
from ..upkeep.reloading import Reload, plan_reload
from ..windows import SECOND, iso
from . import progress, report
from .alarms_of_load import FAIL_ON, alarms_of_load, problem_of
from .configuration import check_names
from .destination import open_pipeline
from .document import print_document
from .for_analysts import add_analysts_options, for_analysts
from .options import (
    CHECKPOINT,
    DATES,
    RESOURCES,
    Parser,
    add_address_option,
    add_id_options,
    add_names_option,
    add_output_options,
    add_pipeline_options,
    configure_logging,
    ending_between_windows,
    given_ids,
    make_source,
)
from .outcome import DONE, FOUND, SIGNALLED, Output
from .outcome import run as run_command

logger = logging.getLogger(__name__)

NEVER_SET = moment_ms("2024-01-01", "a clock")
"""A clock before this, when there was no such package, was reset and not set since."""

PROGRESS_BARS = ("tqdm", "enlighten", "alive_progress")
"""dlt's progress bars, each a package of that name."""
EPILOG = f"""\
{RESOURCES}

{DATES}

Exit status 0: everything asked for is loaded. 1: something failed. 2: an option or setting cannot \
be used. 3: an alarm that --fail-on names. 75: try again later. 130, 143: ended by a signal. What \
is complete is loaded whatever it is."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = "Load NP6 events, incrementally."
    parser.epilog = EPILOG
    what = parser.add_argument_group("what")
    what.add_argument(
        "--start",
        metavar="DATE",
        help="first moment of a first load, inclusive; default: 30 days ago",
    )
    what.add_argument(
        "--end",
        metavar="DATE",
        help="moment to load up to, exclusive. With --start: a backfill of just this range, beside"
        " the schedule's cursor",
    )
    add_names_option(
        what,
        "--resources",
        "just these resources, side by side or with commas between; default: those whose ids"
        " are given, else actions_events and actions_reactivities",
    )
    add_names_option(
        what,
        "--dimensions",
        "names for ids as well: actions, categories, campaigns, …; all: those of the whole"
        " account, and by id those whose ids are given",
    )
    what.add_argument(
        "--account",
        metavar="TEXT",
        help="text for the column account of the names' tables, where several accounts share a"
        " dataset",
    )
    what.add_argument(
        "--retention",
        metavar="SPAN",
        help="how long events are kept: 25 months, 400 days, 2 years; what is older is not asked"
        " for, and removed after the load, once a day",
    )
    add_address_option(what)
    what.add_argument(
        "--reload",
        action="store_true",
        help="read everything again, from the earliest start that is known or from --start, then"
        " remove the rows that were not read again; lists what goes and asks",
    )
    what.add_argument(
        "--yes", action="store_true", help="do not ask before a reload: for schedulers"
    )
    what.add_argument(
        "--checkpoint",
        type=int,
        default=CHECKPOINT,
        metavar="EVENTS",
        help=f"commit a load package after so many events ({CHECKPOINT:,})",
    )
    add_id_options(parser)
    add_pipeline_options(parser)
    add_analysts_options(parser.add_argument_group("for analysts"))
    parser.add_argument_group("alarm").add_argument(
        "--fail-on",
        choices=tuple(FAIL_ON),
        default="never",
        help=f"alarms about what was loaded that end the command with status {FOUND} (%(default)s);"
        " they are printed in any case",
    )
    add_output_options(parser).add_argument(
        "--progress",
        choices=("log", "none", *PROGRESS_BARS),
        default="log",
        help="lines on stderr, nothing, or one of dlt's bars (%(default)s)",
    )


def parse(arguments: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The options of a command line that has no other command."""
    parser = Parser(prog=prog)
    add_options(parser)
    options: argparse.Namespace = parser.parse_args(arguments)
    return options


def main(arguments: list[str] | None = None) -> int:
    """What a script of this command's own calls; returns the exit status."""
    return run_command(run, parse(arguments))


def run(options: argparse.Namespace) -> int:
    """Runs the load; returns the exit status."""
    configure_logging(options)
    check_names()
    at_least_one(options.checkpoint, "--checkpoint")
    progress_bar = _progress_bar(options)
    analysts = for_analysts(options)
    if options.reload and options.end is not None:
        raise SettingError(
            "--reload and --end contradict each other: everything would go, and only what is before"
            " --end would come back"
        )
    arguments = _arguments(options)
    sources: list[DltSource] = []

    def next_source(**smaller: Any) -> DltSource:
        sources.append(make_source(options.resources, **(arguments | smaller)))
        return sources[-1]

    with ending_between_windows() as signal_received, ExitStack() as stack:
        arguments["stop_when"] = signal_received
        # Refuses what cannot be used before anything starts.
        _warn_of_classification(make_source(options.resources, **arguments))
        now = _now_ms()
        if options.start is not None and moment_ms(options.start, "start") > now:
            return _nothing_to_do(options, f"start={options.start} lies in the future")
        pipeline = open_pipeline(options, progress_bar)
        analysts.check(pipeline)
        if (file := duckdb_file(pipeline)) is not None and not file.exists():
            _check_end_of_first_load(make_source(options.resources, **arguments), pipeline)
        before = report.rows_now(pipeline)
        if options.reload and not options.yes:
            source = make_source(options.resources, **arguments)
            try:
                planned = _planned_reload(pipeline, source, options.start, signal_received)
            except DatasetBusy:
                if signal_received():
                    return SIGNALLED + signal_received()
                raise
            _ask(planned)
        if _shows_lines(options):
            stack.enter_context(progress.shown(lambda: report.metrics_of(sources[-1:])))
        done = load(
            pipeline,
            next_source,
            signal_received,
            reload=options.reload,
            views=analysts.views,
            materialize=analysts.materialize,
            message_key=analysts.message_key,
            reload_start=options.start,
        )
    analysts.make_copy(pipeline)
    status = SIGNALLED + signal_received() if done.stopped else report.status_of(done)
    what = report.loaded(done, pipeline, before, options.reload)
    # Before it has caught up, the ledger says what the report says.
    has_caught_up = not done.stopped and not done.failures
    on = alarms_of_load(pipeline) if has_caught_up else ()
    if status == DONE and any(a.severity in FAIL_ON[options.fail_on] for a in on):
        status = FOUND
    if options.json:
        print_document(
            "load",
            status,
            pipeline,
            report.result_of(done, what),
            [*report.problems(done), *map(problem_of, on)],
            sum(done.windows.values()),
            sum(one.get("bytes", 0) for one in report.metrics_of(sources).values()),
            account_of(sources[-1]) if sources else None,
        )
    else:
        _print_outcome(done, what, on, options.quiet)
    return status


def _arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What ``np6_source`` is called with, but for the resources."""
    arguments: dict[str, Any] = {
        "largest_load": options.checkpoint,
        "on_error": "keep",
        **given_ids(options),
    }
    # What is not given is left to dlt's configuration; None would be taken as given.
    for name in ("start", "end", "base_url", "account", "retention"):
        if getattr(options, name) is not None:
            arguments[name] = getattr(options, name)
    if options.dimensions:
        arguments["dimensions"] = ",".join(options.dimensions)
    return arguments


def _planned_reload(
    pipeline: dlt.Pipeline, source: DltSource, start: str | None, stop_when: Callable[[], int]
) -> Reload:
    """What a reload would read again and remove.

    Raises:
        DatasetBusy: Others kept the dataset for too long, or a signal has ended the wait.
        TypeChanged: A column has another type than it was made with.
    """
    in_turn = partial(in_database_or_file, wait=patience(stop_when))
    with to_read(pipeline, in_turn), saying_what_changed(pipeline):
        pipeline.sync_destination()
        return plan_reload(pipeline, source, start, session_of(source).settings.cutoff)


def _print_outcome(done: LoadReport, what: report.Loaded, on: Iterable[Alarm], quiet: bool) -> None:
    # First: "Nothing new." would be read as if all was well.
    report.print_failures(done)
    if not quiet:
        report.print_report(done, what)
        for table, count in done.removed.items():
            Output().print(f"Removed by retention: {count:,} rows of {table}.")
    for alarm in on:
        if alarm.severity == "error" or not quiet:
            print(f"{alarm.severity}: {alarm}", file=sys.stderr)


def _nothing_to_do(options: argparse.Namespace, why: str) -> int:
    if options.json:
        print_document("load", DONE, options, result={"nothing_to_do": why})
    elif not options.quiet:
        Output().print(f"Nothing to do: {why}.")
    return DONE


def _warn_of_classification(source: DltSource) -> None:
    """Says where classes of robots are configured, and nothing that is loaded asks for them."""
    takes_it = {endpoint.name for endpoint in ENDPOINTS if endpoint.takes_classification}
    configured: Any = dlt.config.get("sources.np6.classification")
    if configured and not takes_it & set(source.selected_resources):
        logger.warning(
            "classification=%s changes nothing: no selected resource takes it; these do: %s",
            configured,
            ", ".join(sorted(takes_it)),
        )


def _check_end_of_first_load(source: DltSource, pipeline: dlt.Pipeline) -> None:
    """Refuses an end before the first moment, before a DuckDB file is made.

    Raises:
        SettingError: See ``settings.check_end``, which extraction asks of any other load.
    """
    settings = session_of(source).settings
    events = [one.row.name for one in selected_operations(source) if isinstance(one.row, Endpoint)]
    if settings.is_backfill or not events:
        return
    begins = settings.beginning(_now_ms())
    before = known_start(pipeline, source.name) if settings.start is None else None
    check_end(settings.end, begins if before is None else min(begins, before), events[0])


def _now_ms() -> int:
    """This machine's clock.

    Raises:
        SettingError: It was never set: nothing that depends on it can be told.
    """
    now = int(time.time() * SECOND)
    if now < NEVER_SET:
        raise SettingError(
            f"this machine's clock says {iso(now)}: set it. Nothing was requested or changed"
        )
    return now


def _shows_lines(options: argparse.Namespace) -> bool:
    return options.progress == "log" and not options.quiet and not options.json


def _ask(planned: Reload) -> None:
    """Says what a reload does and asks whether to begin; an empty dataset is not worth a question.

    Raises:
        SettingError: The reply is not yes, or there is nobody to ask.
    """
    if not planned.spans and not any(planned.rows.values()):
        return
    print(planned, file=sys.stderr)
    try:
        answer = input("Reload? [y/N] ") if sys.stdin and sys.stdin.isatty() else None
    except EOFError:
        answer = None
    if answer is None:
        raise SettingError("Nobody can be asked here: give --yes to reload. Nothing was changed.")
    if answer.strip().lower() not in ("y", "yes"):
        raise SettingError("Not reloaded; nothing was changed.")


def _progress_bar(options: argparse.Namespace) -> str | None:
    """A progress bar of dlt's, where one is requested."""
    if options.progress in ("none", "log") or options.quiet or options.json:
        return None
    there = [name for name in PROGRESS_BARS if importlib.util.find_spec(name) is not None]
    if options.progress not in there:
        raise SettingError(
            f"--progress {options.progress}: the package is not installed; what can be shown is"
            f" {', '.join(['log', 'none', *there])}"
        )
    return str(options.progress)
