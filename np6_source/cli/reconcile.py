"""``np6-source reconcile``: compares what NP6 returns with what the tables have."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import dlt
from dlt.extract import DltSource
from rich.table import Table

from ..dataset_lock import to_read
from ..errors import SettingError, Stopped
from ..extract.selection import account_of, session_of
from ..ledger import covered_since, kept_since
from ..parameters import moment_ms
from ..recheck import RecheckReport, plan_recheck, recheck
from ..reconcile import (
    EVENTS_OPERATION,
    KINDS,
    REACTIONS_OPERATION,
    Difference,
    Reconciliation,
    reconcile,
)
from ..windows import DAY, SECOND, Window, gaps, iso
from . import report as reports
from .configuration import check_names
from .coverage import coverage_of
from .destination import check_file_is_there, check_speaks_sql, looking
from .document import Problem, print_document
from .options import (
    DATES,
    add_address_option,
    add_output_options,
    add_pipeline_options,
    configure_logging,
    ending_between_windows,
    given_address,
    make_source,
)
from .outcome import DONE, FOUND, SIGNALLED, Output
from .working_folder import pipelines_dir

SETTLED_AFTER = 26 * 3_600 * SECOND
"""How long ago a day must have ended to be compared, unless a span is given."""
DAYS = 7
"""Full days that are compared unless a span is given."""
PARTS_SHOWN = 3
"""Spans that were never loaded, of which a line names the bounds."""
SHOWN = 40
"""Differences that are printed; ``--json`` has all."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        f"Compare what {EVENTS_OPERATION} and {REACTIONS_OPERATION} return with the tables, event"
        " by event. What differs is requested once more before it is reported. Loads nothing, but"
        " with --fill."
    )
    parser.epilog = (
        f"{DATES}\nExit status 0: nothing differs. {FOUND}: something does. 1: something could not"
        " be read. 4: nothing is loaded here. 75: try again later."
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--start",
        metavar="DATE",
        help=f"default: the last {DAYS} full days that ended 26 hours ago",
    )
    what.add_argument("--end", metavar="DATE", help="exclusive; default: 26 hours ago")
    what.add_argument(
        "--without-reactivities",
        action="store_true",
        help=f"do not request {REACTIONS_OPERATION}, where the key is not permitted to",
    )
    add_address_option(what)
    parser.add_argument_group("act").add_argument(
        "--fill", action="store_true", help="load what the tables lack or hold with other values"
    )
    add_pipeline_options(parser)
    output = add_output_options(parser)
    output.add_argument("--ids", action="store_true", help="name the events, with --json")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    span = _span(options, int(time.time()) * SECOND)
    arguments: dict[str, Any] = {"on_error": "keep", **given_address(options)}

    def source() -> DltSource:
        return make_source([EVENTS_OPERATION, REACTIONS_OPERATION], **arguments)

    with (
        ending_between_windows() as signal_received,
        looking(options, waits=False, reads_only=False) as pipeline,
    ):
        check_speaks_sql(pipeline, "reconcile")
        check_file_is_there(pipeline)
        first = source()
        with to_read(pipeline):
            # Events that somebody has removed were loaded: --fill loads them again.
            covered = coverage_of(pipeline, still_there=False)
            cutoff = kept_since(pipeline, session_of(first).settings.cutoff)
        span = _from_the_beginning(span, covered_since(covered, cutoff), options)
        if cutoff is not None and cutoff > span.start:
            span = _kept(span, cutoff, options)
        unloaded = gaps(span, covered.get((EVENTS_OPERATION, ""), ()))
        try:
            found = reconcile(
                pipeline,
                first,
                span,
                with_reactivities=not options.without_reactivities,
                stop_when=signal_received,
            )
        except Stopped:
            return SIGNALLED + signal_received()
        filled = None
        if options.fill and found.missing_days:
            filled = _fill(pipeline, source, found, options)
        status = FOUND if found.differences else DONE
        if filled is not None:
            status = reports.status_of(filled) or (DONE if _is_whole(found, filled) else FOUND)
        if options.json:
            print_document(
                "reconcile",
                status,
                pipeline,
                _result(found, filled, options.ids),
                [
                    *(_problem(one, unloaded, span) for one in found.differences),
                    *(reports.problems(filled) if filled else ()),
                ],
                found.requests + (filled.requests if filled else 0),
                found.byte_count + (filled.byte_count if filled else 0),
                account_of(first),
            )
            return status
    if not options.quiet:
        _print(found)
        if unloaded:
            Output().print(_say_unloaded(unloaded, span), markup=False)
        if filled is not None:
            Output().print(
                f"Loaded: {filled.new:,} events that were missing, {filled.changed:,} others anew."
            )
        elif any(gaps(day, unloaded) for day in found.missing_days):
            Output().print(
                f"Load what {'else ' if unloaded else ''}is missing: np6-source reconcile"
                f" --start {iso(found.span.start)} --end {iso(found.span.end)} --fill",
                markup=False,
            )
    if filled is not None:
        reports.print_failures(filled)
    return status


def _span(options: argparse.Namespace, now: int) -> Window:
    full = (now - SETTLED_AFTER) // DAY * DAY
    end = full if options.end is None else moment_ms(options.end, "--end")
    start = end - DAYS * DAY if options.start is None else moment_ms(options.start, "--start")
    if start >= end:
        raise SettingError(f"--start {iso(start)} must be before --end {iso(end)}")
    if end > now:
        raise SettingError(f"--end {iso(end)} lies in the future")
    return Window(start, end)


def _from_the_beginning(
    span: Window, covered: dict[tuple[str, str], list[Window]], options: argparse.Namespace
) -> Window:
    """The span, but not from before the first load, unless the start was given."""
    windows = covered.get((EVENTS_OPERATION, ""), [])
    if options.start is not None or not windows or windows[0].start <= span.start:
        return span
    if windows[0].start >= span.end:
        raise SettingError(
            f"Nothing from before {iso(span.end)} was loaded: give --start and --end"
        )
    return Window(windows[0].start, span.end)


def _kept(span: Window, cutoff: int, options: argparse.Namespace) -> Window:
    """The part of a span that retention keeps; the rest is reported.

    Raises:
        SettingError: It keeps nothing of it.
    """
    if span.end <= cutoff:
        raise SettingError(
            f"--end {iso(span.end)}: all of it lies before {iso(cutoff)}, and was or will be"
            " removed by retention: there is nothing to compare."
        )
    if not (options.json or options.quiet):
        Output().print(f"Before {iso(cutoff)}: removed by retention, not compared.")
    return Window(cutoff, span.end)


def _fill(
    pipeline: dlt.Pipeline,
    source: Callable[[], DltSource],
    found: Reconciliation,
    options: argparse.Namespace,
) -> RecheckReport:
    """Reads the days again that lack something, and loads what is missing."""
    first = source()
    names = [EVENTS_OPERATION]
    if not options.without_reactivities:
        names.append(REACTIONS_OPERATION)
    plans = []
    with to_read(pipeline):
        for day in found.missing_days:
            plans.append(plan_recheck(pipeline, first, resources=names, span=day))
    lock_in = pipelines_dir(options)
    reports_of = [
        recheck(pipeline, source, plan, accept_fewer=True, lock_in=lock_in) for plan in plans
    ]
    return RecheckReport(
        planned=sum(one.planned for one in reports_of),
        days=sum(one.days for one in reports_of),
        requests=sum(one.requests for one in reports_of),
        byte_count=sum(one.byte_count for one in reports_of),
        events=sum(one.events for one in reports_of),
        new=sum(one.new for one in reports_of),
        changed=sum(one.changed for one in reports_of),
        # That the tables have lost events is why they are loaded.
        failures=[
            failure
            for one in reports_of
            for failure in one.failures
            if failure["kind"] != "RowsMissing"
        ],
        lateness=reports_of[-1].lateness,
    )


def _is_whole(found: Reconciliation, filled: RecheckReport) -> bool:
    """Whether all that was found is loaded. What only one of the operations returns stays so."""
    loadable = [one for one in found.differences if one.kind in ("missing", "differs")]
    is_loaded = filled.new + filled.changed >= sum(one.count for one in loadable)
    return is_loaded and len(loadable) == len(found.differences)


def _print(found: Reconciliation) -> None:
    console = Output()
    title = f"{iso(found.span.start)[:10]} to {iso(found.span.end)[:10]}"
    table = Table(
        title, "", "", "events", "reactivities", "destination", "", box=None, pad_edge=False
    )
    for column in (3, 4, 5):
        table.columns[column].justify = "right"
    for one in found.differences[:SHOWN]:
        table.add_row(
            one.action_id or "no action",
            one.day,
            one.type or "no type",
            f"{one.events:,}",
            "" if one.reactivities is None else f"{one.reactivities:,}",
            f"{one.destination:,}",
            f"{one.count:,} {_SHORT[one.kind]}",
        )
    others = "all others" if found.differences else "all"
    table.add_row(
        f"{others} ({found.equal_cells:,} cells)",
        "",
        "",
        f"{found.equal_events:,}",
        f"{found.equal_reactivities:,}",
        f"{found.equal_events:,}",
        "equal",
    )
    console.print_table(table)
    if len(found.differences) > SHOWN:
        console.print(f"and {len(found.differences) - SHOWN:,} more differences: --json has all")
    if found.of_robots:
        console.print(
            f"{found.of_robots:,} hits of robots are in the tables besides, as they should be"
        )


_SHORT = {
    "missing": "missing",
    "only_events": "only in events",
    "only_reactivities": "only in reactivities",
    "gone": "gone",
    "differs": "different",
}


def _say_unloaded(unloaded: Sequence[Window], span: Window) -> str:
    """Which part of the span no load covers: a day that was never loaded is not read again."""
    parts = ", ".join(f"{iso(one.start)} to {iso(one.end)}" for one in unloaded[:PARTS_SHOWN])
    more = len(unloaded) - PARTS_SHOWN
    parts += f" and {more:,} more spans" if more > 0 else ""
    return f"Never loaded: {parts}. Load it: {_gaps_command(span)}"


def _gaps_command(span: Window) -> str:
    return (
        f"np6-source gaps --start {iso(span.start)} --end {iso(span.end)}"
        f" --resources {EVENTS_OPERATION} --fill"
    )


def _advice(one: Difference, unloaded: Sequence[Window], span: Window) -> str:
    if one.kind not in ("missing", "differs"):
        return "Ask NP6."
    start = moment_ms(one.day, "day")
    of_day = gaps(Window(start, start + DAY), unloaded)
    if of_day == [Window(start, start + DAY)]:
        return "np6-source reconcile --fill loads them."
    never = f"{_gaps_command(span)} loads what was never loaded"
    return f"{never}, np6-source reconcile --fill the rest." if of_day else f"{never}."


def _problem(one: Difference, unloaded: Sequence[Window], span: Window) -> Problem:
    return Problem(
        "error" if one.kind == "missing" else "warning",
        one.kind,
        f"{one.count:,} {one.type} events of action {one.action_id or 'none'} on {one.day}:"
        f" {KINDS[one.kind]}",
        None,
        None,
        _advice(one, unloaded, span),
    )


def _result(found: Reconciliation, filled: RecheckReport | None, with_ids: bool) -> dict[str, Any]:
    return {
        "start": iso(found.span.start),
        "end": iso(found.span.end),
        "differences": [
            {
                "day": one.day,
                "action_id": one.action_id,
                "type": one.type,
                "events": one.events,
                "reactivities": one.reactivities,
                "destination": one.destination,
                "kind": one.kind,
                "count": one.count,
                **({"ids": list(one.ids)} if with_ids else {}),
            }
            for one in found.differences
        ],
        "equal": {
            "cells": found.equal_cells,
            "events": found.equal_events,
            "reactivities": found.equal_reactivities,
        },
        "of_robots": found.of_robots,
        "filled": None if filled is None else {"new": filled.new, "changed": filled.changed},
    }
