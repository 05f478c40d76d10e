"""``np6-source recheck``: reads days again for events that became visible late."""

from __future__ import annotations

import argparse
import time
from typing import Any

import dlt
from dlt.extract import DltSource
from rich.table import Table

from ..dataset_lock import to_read
from ..errors import SettingError
from ..extract.selection import account_of
from ..parameters import moment_ms
from ..recheck import DEFAULT_DAYS, RecheckPlan, plan_recheck, recheck
from ..windows import SECOND, Window, iso
from . import report as reports
from .configuration import check_names
from .coverage import coverage_of
from .destination import check_file_is_there, check_speaks_sql, looking
from .document import print_document
from .options import (
    DATES,
    add_address_option,
    add_id_options,
    add_names_option,
    add_output_options,
    add_pipeline_options,
    check_resources,
    configure_logging,
    ending_between_windows,
    given_address,
    given_ids,
    make_source,
)
from .outcome import DONE, SIGNALLED, Output
from .working_folder import pipelines_dir

DAYS_SHOWN = 40
"""Days that ``--dry-run`` lists; ``--json`` lists all."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Read days again when they are 1, 2, 4, 8 … days old, and load what the tables lack or hold"
        " with other values. Which days are due follows from load_windows. No cursor moves. A"
        " schedule does it by itself with recheck in [sources.np6] of dlt's configuration."
    )
    parser.epilog = (
        f"{DATES}\nExit status 0: all days that were due are read. 1: one could not be read, has"
        " fewer events than before, or the tables have lost some. 4: nothing is loaded here."
        " 75: try again later."
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--days",
        type=int,
        metavar="N",
        help=f"up to which age; default: recheck of the configuration, or {DEFAULT_DAYS}",
    )
    what.add_argument(
        "--all-days", action="store_true", help="every one of the last N days, due or not"
    )
    what.add_argument("--start", metavar="DATE", help="with --end: just this span, due or not")
    what.add_argument("--end", metavar="DATE", help="exclusive")
    add_names_option(
        what,
        "--resources",
        "just these; default: recheck_resources, or those over the whole account",
    )
    add_address_option(what)
    act = parser.add_argument_group("act")
    act.add_argument(
        "--dry-run", action="store_true", help="say which days and how many requests; ask nothing"
    )
    act.add_argument(
        "--accept-fewer",
        action="store_true",
        help="take days that have fewer events than before: NP6 has removed some for good",
    )
    add_id_options(parser)
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    span = _span(options)
    if options.resources:
        check_resources(options.resources)
    if options.days is not None and not 1 <= options.days <= 366:
        raise SettingError(f"--days {options.days} must be from 1 to 366")
    arguments: dict[str, Any] = {
        "on_error": "keep",
        **given_ids(options),
        **given_address(options),
    }

    def source() -> DltSource:
        made = make_source(**arguments)
        return made.with_resources(*options.resources) if options.resources else made

    with (
        ending_between_windows() as signal_received,
        looking(options, waits=False, reads_only=False) as pipeline,
    ):
        check_speaks_sql(pipeline, "recheck")
        check_file_is_there(pipeline)
        first = source()
        with to_read(pipeline):
            coverage_of(pipeline)
            plan = plan_recheck(
                pipeline,
                first,
                days=options.days,
                resources=options.resources,
                all_days=options.all_days,
                span=span,
            )
        if options.dry_run:
            return _say_plan(plan, options, pipeline)
        done = recheck(
            pipeline,
            source,
            plan,
            accept_fewer=options.accept_fewer,
            stop_when=signal_received,
            lock_in=pipelines_dir(options),
        )
        status = SIGNALLED + signal_received() if done.stopped else reports.status_of(done)
        if options.json:
            print_document(
                "recheck",
                status,
                pipeline,
                {"dry_run": False, "planned": _planned(plan), **reports.recheck_result(done)},
                reports.problems(done),
                done.requests,
                done.byte_count,
                account_of(first),
            )
            return status
    if not options.quiet:
        for line in reports.recheck_lines(done):
            Output().print(line, markup=False)
    reports.print_failures(done)
    return status


def _span(options: argparse.Namespace) -> Window | None:
    if options.start is None and options.end is None:
        return None
    if options.all_days:
        raise SettingError("--all-days and --start contradict each other: leave one out")
    if options.start is None:
        raise SettingError("--end needs --start")
    start = moment_ms(options.start, "--start")
    end = int(time.time()) * SECOND if options.end is None else moment_ms(options.end, "--end")
    if start >= end:
        raise SettingError(f"--start {options.start} must be before --end {options.end}")
    return Window(start, end)


def _say_plan(plan: RecheckPlan, options: argparse.Namespace, pipeline: dlt.Pipeline) -> int:
    if options.json:
        print_document("recheck", DONE, pipeline, {"dry_run": True, "planned": _planned(plan)})
        return DONE
    console = Output(quiet=options.quiet)
    if not plan.planned:
        console.print("No day is due.")
        return DONE
    table = Table("resource", "id", "day", "age", "why", "events", "requests")
    for column in (3, 5, 6):
        table.columns[column].justify = "right"
    for resource, scope, day in plan.planned[:DAYS_SHOWN]:
        events = "not known" if day.before is None else f"{day.before:,}"
        requests = f"{len(day.windows):,}"
        table.add_row(resource, scope, day.date, f"{day.age} d", day.reason, events, requests)
    console.print(table)
    if len(plan.planned) > DAYS_SHOWN:
        console.print(f"and {len(plan.planned) - DAYS_SHOWN:,} more days")
    console.print(
        f"{plan.requests:,} requests, about {plan.byte_count / 1e6:,.1f} MB. Nothing was requested."
    )
    return DONE


def _planned(plan: RecheckPlan) -> list[dict[str, Any]]:
    return [
        {
            "resource": resource,
            "id": scope or None,
            "start": iso(day.day.start),
            "end": iso(day.day.end),
            "age_days": day.age,
            "reason": day.reason,
            "events_before": day.before,
            "requests": len(day.windows),
            "bytes": day.byte_count,
        }
        for resource, scope, day in plan.planned
    ]
