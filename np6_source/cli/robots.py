"""``np6-source robots``: marks the hits of robots among those that are loaded."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.extract import DltSource

from ..errors import SettingError
from ..ledger import TCoverage
from ..loading import LoadReport, load
from ..parameters import moment_ms
from ..robots import CLASSES, OPERATION, Unasked, classification_of, unasked
from ..schema import ROBOTS
from ..tables.in_sql import column_in_sql, path_in_sql
from ..tables.naming import name_of
from ..windows import SECOND, Window
from .configuration import check_names, contacts_are_stored, label_key
from .coverage import coverage_of
from .destination import looking, open_pipeline
from .document import Problem, print_document
from .for_analysts import ForAnalysts, add_analysts_options, for_analysts
from .options import (
    DATES,
    Names,
    add_address_option,
    add_output_options,
    add_pipeline_options,
    configure_logging,
    ending_between_windows,
    ids_of,
    make_source,
)
from .outcome import DONE, FAILED, SIGNALLED, NothingLoaded, Output
from .report import print_failures, problems, status_of

TOGETHER = 1_000
"""Contacts that are asked about in one run: each has its progress in dlt's state until it ends."""

UNSURE = (
    "The requests for classes of robots return hits that come without a class, or for every class:"
    " {count} are not marked."
)
UNSURE_ADVICE = (
    "Ask NP6 what the parameter means and how it is written (classification_parameter), then run"
    " this with --again."
)


@dataclass
class _Asked:
    """What came of all runs.

    Attributes:
        report: What ``loading.load`` has reported, added up.
        unsure: Marks that nothing proves.
    """

    report: LoadReport = field(default_factory=LoadReport)
    unsure: int = 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "A load by default does not say which hits robots made. This command looks up whose hits"
        f" are loaded, asks NP6 about all hits of these contacts ({OPERATION}) with each class of"
        " robots, and marks what comes back in events__robots. Contacts about whose hits NP6 was"
        " asked before are left out. It makes a request for each contact and class."
    )
    parser.epilog = (
        f"{DATES}\nExit status 0: NP6 was asked about everything. 1: something failed, or no mark"
        " is sure. 4: nothing is loaded here. 75: try again later. 130, 143: ended by a"
        " signal; what is complete is loaded, and the next call goes on there."
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--start",
        metavar="DATE",
        help="hits from this moment on; default: from the first that is loaded",
    )
    what.add_argument(
        "--end", metavar="DATE", help="hits before this moment; default: up to the last"
    )
    what.add_argument(
        "--action-ids",
        nargs="+",
        action="extend",
        metavar="ID",
        help="hits of these actions; default: of all",
    )
    what.add_argument(
        "--target-ids",
        nargs="+",
        action="extend",
        metavar="ID",
        help="ask about these contacts, whether or not hits of theirs are loaded; @FILE takes them"
        " from a file",
    )
    what.add_argument(
        "--classes",
        nargs="+",
        action=Names,
        metavar="NAME",
        default=list(CLASSES),
        help=f"classes of robots; default: {' '.join(CLASSES)}. With one class only, hits without"
        " a class are requested too",
    )
    what.add_argument("--again", action="store_true", help="ask about hits asked about before too")
    what.add_argument(
        "--plan", action="store_true", help="say how many requests it takes, and make none"
    )
    add_address_option(what)
    add_pipeline_options(parser)
    add_analysts_options(parser.add_argument_group("for analysts"))
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    if options.target_ids and options.action_ids:
        raise SettingError(
            "--target-ids and --action-ids contradict each other: contacts that are named are asked"
            " about all their hits"
        )
    classification = classification_of(options.classes)
    with looking(options) as pipeline:
        found = _to_ask(pipeline, options)
    request_count = len(found.contacts) * len(classification.split(","))
    console = Output(quiet=options.quiet or options.json)
    if found.without_contact:
        console.print(
            f"{found.without_contact:,} hits name no contact: NP6 cannot be asked about them."
        )
    if found.span is None:
        console.print("Nothing to ask: NP6 was asked about all these hits.")
    else:
        console.print(
            f"{len(found.contacts):,} contact{'s' * (len(found.contacts) != 1)},"
            f" {request_count:,} requests at least, for {found.span}."
        )
    if options.plan or found.span is None:
        if options.json:
            print_document("robots", DONE, result=_planned(found, request_count))
        return DONE
    return _ask(found, found.span, classification, options, console)


def _planned(found: Unasked, request_count: int) -> dict[str, Any]:
    return {
        "contacts": len(found.contacts),
        "hits": found.hit_count,
        "hits_without_contact": found.without_contact,
        "requests_at_least": request_count if found.span else 0,
        "span": str(found.span) if found.span else None,
    }


def _to_ask(pipeline: dlt.Pipeline, options: argparse.Namespace) -> Unasked:
    """Whom to ask about, and for which span."""
    has_sql = isinstance(pipeline.destination_client(), SqlJobClientBase)
    if not has_sql and not (options.target_ids and options.start and options.end):
        raise SettingError(
            "The destination holds files, which are not looked through: name the contacts to ask"
            " about, with --target-ids, --start and --end"
        )
    covered: TCoverage = coverage_of(pipeline) if has_sql else {}
    span = _span(options, covered)
    if options.target_ids:
        contacts = tuple(ids_of(options.target_ids, "--target-ids"))
        return Unasked(contacts, span, 0, 0)
    if not contacts_are_stored():
        raise SettingError(
            "pii: the tables do not have contacts' ids as NP6 knows them: name the contacts to ask"
            " about, with --target-ids"
        )
    action_ids = ids_of(options.action_ids, "--action-ids") if options.action_ids else ()
    known = {} if options.again else covered
    return unasked(pipeline, span, known, options.classes, action_ids, label_key())


def _span(options: argparse.Namespace, covered: TCoverage) -> Window:
    """The requested period; where it is open, within what the ledger covers.

    Raises:
        NothingLoaded: The period is open, and the ledger covers nothing.
        SettingError: It ends before it begins.
    """
    windows = [window for found in covered.values() for window in found]
    if not windows and None in (options.start, options.end):
        raise NothingLoaded("Nothing is loaded here: every load was given up.")
    start = (
        min(window.start for window in windows)
        if options.start is None
        else moment_ms(options.start, "--start")
    )
    end = (
        max(window.end for window in windows)
        if options.end is None
        else moment_ms(options.end, "--end")
    )
    if start >= end:
        raise SettingError(
            f"--start {options.start} and --end {options.end} leave no hits that are loaded"
        )
    return Window(start, end)


def _ask(
    found: Unasked,
    span: Window,
    classification: str,
    options: argparse.Namespace,
    console: Output,
) -> int:
    analysts = for_analysts(options)
    pipeline = open_pipeline(options)
    analysts.check(pipeline)
    arguments = {
        "start": span.start,
        "end": span.end,
        # One request for each contact and class, unless the server or the memory wants smaller.
        "window": (span.end - span.start) / SECOND,
        "classification": classification,
        "on_error": "keep",
        **({"base_url": options.base_url} if options.base_url else {}),
    }
    before = _marks(pipeline)
    with ending_between_windows() as signal_received:
        arguments["stop_when"] = signal_received
        asked = _run(pipeline, found.contacts, arguments, signal_received, analysts)
    analysts.make_copy(pipeline)
    after = _marks(pipeline)
    status = status_of(asked.report)
    if asked.report.stopped:
        status = SIGNALLED + signal_received()
    elif asked.unsure and status == DONE:
        status = FAILED
    unsure = UNSURE.format(count=f"{asked.unsure:,}")
    if options.json:
        result = {
            **_planned(found, len(found.contacts) * len(classification.split(","))),
            "marks": None if after is None else dict(sorted(after.items())),
            "marks_new": None if after is None or before is None else (after - before).total(),
            "marks_unsure": asked.unsure,
        }
        noted = problems(asked.report)
        if asked.unsure:
            noted.append(Problem("error", "robots", unsure, OPERATION, None, UNSURE_ADVICE))
        print_document("robots", status, pipeline, result, noted)
        return status
    if before is None or after is None:
        written = asked.report.rows[name_of(ROBOTS, pipeline.default_schema)]
        console.print(f"{written:,} hits marked as robots', new or again.")
    else:
        by_class = ", ".join(f"{name} {count:,}" for name, count in sorted(after.items()))
        console.print(
            f"{(after - before).total():,} hits newly marked as robots', {after.total():,} in all"
            f"{f' ({by_class})' if by_class else ''}."
        )
    print_failures(asked.report)
    if asked.unsure:
        print(f"{unsure} {UNSURE_ADVICE}", file=sys.stderr)
    return status


def _run(
    pipeline: dlt.Pipeline,
    contacts: Sequence[str],
    arguments: dict[str, Any],
    stop_when: Any,
    analysts: ForAnalysts,
) -> _Asked:
    asked = _Asked()
    for part in _in_parts(contacts):
        sources: list[DltSource] = []

        def next_source(
            part: Sequence[str] = part, sources: list[DltSource] = sources, **smaller: Any
        ) -> DltSource:
            options = arguments | smaller
            sources.append(make_source([OPERATION], target_ids=list(part), **options))
            return sources[-1]

        done = load(
            pipeline,
            next_source,
            stop_when,
            views=analysts.views,
            materialize=analysts.materialize,
            message_key=analysts.message_key,
        )
        asked.report.rows += done.rows
        asked.report.failures += done.failures
        asked.report.stopped = done.stopped
        asked.unsure += sum(
            source.resources[OPERATION].custom_metrics.get("unsure_robots", 0) for source in sources
        )
        if done.stopped or any(failure["resume_at"] for failure in done.failures):
            break
    return asked


def _in_parts(contacts: Sequence[str]) -> Iterator[Sequence[str]]:
    for position in range(0, len(contacts), TOGETHER):
        yield contacts[position : position + TOGETHER]


def _marks(pipeline: dlt.Pipeline) -> Counter[str] | None:
    """Marks by class, as they are in the destination; None where it holds files."""
    if not isinstance(pipeline.destination_client(), SqlJobClientBase):
        return None
    pipeline.sync_destination()
    schema = pipeline.default_schema
    with pipeline.sql_client() as client:
        table = path_in_sql(ROBOTS, client, schema)
        column = column_in_sql("robot_class", client, schema)
        try:
            rows = client.execute_sql(f"SELECT {column}, COUNT(*) FROM {table} GROUP BY {column}")
        except DatabaseUndefinedRelation:  # No load by this version yet.
            return Counter()
    return Counter({str(name): int(count) for name, count in rows or ()})
