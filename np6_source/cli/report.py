"""What a load says when it ends: what is new, what is there now, what is missing and why."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.destinations.exceptions import (
    DatabaseException,
    DatabaseUndefinedRelation,
    DestinationConnectionError,
)
from dlt.extract import DltSource
from rich.table import Table

from ..alarms import duration
from ..dataset_lock import duckdb_file
from ..destinations import kind_of_destination
from ..dimensions import dimension_tables
from ..errors import listed
from ..loading import LoadReport
from ..recheck import RecheckReport
from ..recheck.lateness import Summary
from ..schema import EVENT_TABLES, EVENTS
from ..tables.in_sql import path_in_sql
from ..tables.naming import name_of
from ..windows import iso
from .document import Problem
from .outcome import DONE, FAILED, TRY_AGAIN_LATER, Output

COUNTS_AT_ONCE = frozenset(
    {"bigquery", "clickhouse", "duckdb", "ducklake", "motherduck", "snowflake"}
)
"""Destinations that know how many rows a table has; the others would read it whole."""

SAME_MOMENT_MS = 60_000
"""Resources of a run begin one after the other, and are complete up to their beginnings."""

IDS_SHOWN = 10
"""Ids that a group of failures names."""


@dataclass(frozen=True)
class Loaded:
    """What an invocation did, and what is there now.

    Attributes:
        written: Events written: new ones, and those of the overlap, which were there.
        rows: Rows of each table now; None where the destination would read them all to know.
        new: Events that were not there before; None likewise.
        complete_until: Up to where each resource is complete, milliseconds since the epoch.
        where: The dataset and where it is.
        resources: How many resources loaded anything.
        is_again: Everything was read again by a reload, into tables that had events.
    """

    written: int
    rows: Mapping[str, int] | None
    new: int | None
    complete_until: Mapping[str, int]
    where: str
    resources: int = 1
    is_again: bool = False


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one cause.

    Attributes:
        kind: The error's class.
        problem: What happened.
        advice: What to do.
        resources: The resources, by name: threads fail in any order.
        ids: The ids as they may be shown, in order.
        message: The error's own sentence, of the first.
    """

    kind: str
    problem: str
    advice: str
    resources: tuple[str, ...]
    ids: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        if len(self.resources) <= 1 and len(self.ids) <= 1:
            return f"{self.kind}: {self.message}"
        ids = ""
        if self.ids:
            ids = f" ({self.ids[0]})" if len(self.ids) == 1 else f" for {_some(self.ids, 'id')}"
        resources = _some(self.resources, "resource")
        return f"{self.kind}: {self.problem}{ids} in {resources}. {self.advice}"


def metrics_of(sources: Sequence[DltSource]) -> dict[str, dict[str, Any]]:
    """The metrics of all resources of all sources."""
    return {
        f"{name}{'' if number == 0 else f' {number}'}": dict(resource.custom_metrics)
        for number, source in enumerate(sources)
        for name, resource in source.selected_resources.items()
    }


def added(one: LoadReport, other: LoadReport) -> LoadReport:
    """Two invocations as one; backfills, which have no cursor."""
    return LoadReport(
        rows=one.rows + other.rows,
        windows=one.windows + other.windows,
        failures=[*one.failures, *other.failures],
        packages=one.packages + other.packages,
        seconds=one.seconds + other.seconds,
        stopped=one.stopped or other.stopped,
    )


def rows_now(pipeline: dlt.Pipeline) -> dict[str, int] | None:
    """Rows of each table of events or names.

    None where the destination would read them all, or cannot be asked, which is for the load to
    say.
    """
    try:
        return _counted(pipeline)
    except (DestinationConnectionError, DatabaseException):
        return None


def _counted(pipeline: dlt.Pipeline) -> dict[str, int] | None:
    if kind_of_destination(pipeline) not in COUNTS_AT_ONCE:
        return None
    file = duckdb_file(pipeline)
    if file is not None and not file.exists():
        return {}
    schema = _schema_of(pipeline)
    found: dict[str, int] = {}
    with pipeline.sql_client() as client:
        names = [table for table in dimension_tables() if name_of(table, schema) in schema.tables]
        for table in (*EVENT_TABLES, *names):
            name = path_in_sql(table, client, schema)
            try:
                rows = client.execute_sql(f"SELECT count(*) FROM {name}")
            except DatabaseUndefinedRelation:
                continue
            found[table.name] = int(rows[0][0]) if rows else 0
    return found


def _schema_of(pipeline: dlt.Pipeline) -> Schema:
    """The schema, which a pipeline has only once it has extracted: its first wait may be ended."""
    return pipeline.default_schema if pipeline.default_schema_name else Schema("np6")


def loaded(
    report: LoadReport,
    pipeline: dlt.Pipeline,
    before: Mapping[str, int] | None,
    is_reload: bool = False,
) -> Loaded:
    """What an invocation did.

    Args:
        report: Of ``loading.load``.
        pipeline: Where to.
        before: ``rows_now`` before it; None: not known.
        is_reload: Whether everything was read again. Rows may have gone, so the number of rows
            tells nothing of new ones.
    """
    rows = rows_now(pipeline)
    new = None
    is_again = is_reload and bool(before is None or before.get(EVENTS.name))
    if rows is not None and before is not None and not is_again:
        new = max(0, rows.get(EVENTS.name, 0) - before.get(EVENTS.name, 0))
    destination = pipeline.destination.destination_name if pipeline.destination else ""
    return Loaded(
        written=report.rows.get(name_of(EVENTS, _schema_of(pipeline)), 0),
        rows=rows,
        new=new,
        complete_until=dict(report.cursors),
        resources=sum(1 for count in report.windows.values() if count),
        is_again=is_again,
        where=f"{pipeline.dataset_name} of {_shown(duckdb_file(pipeline)) or destination}",
    )


def print_report(report: LoadReport, done: Loaded) -> None:
    """Prints what an invocation did: one line where nothing is new."""
    _print_load(report, done)
    for line in recheck_lines(report.recheck) if report.recheck else ():
        Output().print(line, markup=False)


def _print_load(report: LoadReport, done: Loaded) -> None:
    console = Output()
    complete = _complete(done.complete_until)
    windows = sum(report.windows.values())
    if not windows:
        nothing = f"Nothing was loaded into {done.where}"
        if report.stopped and not report.failures:
            console.print(f"{nothing}: it was stopped before. {complete}.".removesuffix(" ."))
        elif report.failures:
            console.print(f"{nothing}.")
        else:
            console.print(
                f"Nothing to do: what was asked for is loaded. {complete}.".removesuffix(" .")
            )
        return
    if done.new == 0 or (done.new is None and not done.written and not done.is_again):
        here = done.where
        if done.rows is not None:
            here = f"{done.rows.get(EVENTS.name, 0):,} events in {done.where}"
        read = [(report.rows.get(table.name, 0), table.name) for table in dimension_tables()]
        names = ", ".join(f"{count:,} {name}" for count, name in read if count and "__" not in name)
        console.print(
            f"No new events. {f'{complete}; ' if complete else ''}{here}. Names read: {names}."
            if names
            else f"Nothing new. {f'{complete}; ' if complete else ''}{here}."
        )
        return
    console.print(f"{events_of(done)}.")
    if done.rows and (done.new or done.is_again):
        rows = Table("table", "rows now")
        rows.columns[1].justify = "right"
        for table, count in done.rows.items():
            rows.add_row(table, f"{count:,}")
        console.print(rows)
    if complete:
        console.print(f"{complete}.")
    elif done.complete_until:
        resources = Table("resource", "complete up to")
        for name, until in sorted(done.complete_until.items()):
            resources.add_row(name, iso(until))
        console.print(resources)
    packages = _count(report.packages, "load package")
    console.print(f"{packages}, {_count(windows, 'window')}, {report.seconds:.1f} seconds.")


def events_of(done: Loaded) -> str:
    """How many events an invocation wrote, and where."""
    if done.is_again:
        again = min(done.written, (done.rows or {}).get(EVENTS.name, done.written))
        return f"{_count(again, 'event')} loaded again into {done.where}"
    if done.new is None:
        return f"{done.written:,} events written into {done.where}, new or read again"
    again = max(0, done.written - done.new)
    why = " in the overlap or through several resources" if done.resources > 1 else ""
    also = f", {again:,} read again{why}" if again else ""
    return f"{_count(done.new, 'new event')}{also}, in {done.where}"


def grouped(failures: Sequence[Mapping[str, Any]]) -> list[FailureGroup]:
    """Failures of one kind and cause together."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for failure in map(_with_options, failures):
        groups[failure["kind"], failure["problem"], failure["advice"]].append(failure)
    return [
        FailureGroup(
            *cause,
            resources=tuple(sorted({one["resource"] for one in group})),
            ids=tuple(dict.fromkeys(one["id"] for one in group if one["id"])),
            message=group[0]["message"],
        )
        for cause, group in groups.items()
    ]


def print_failures(report: LoadReport | RecheckReport) -> None:
    """Prints what could not be loaded, to standard error, once per cause."""
    for group in grouped(report.failures):
        print(group, file=sys.stderr)


def problems(report: LoadReport | RecheckReport) -> list[Problem]:
    """What could not be loaded, one by one."""
    return [
        Problem(
            "error",
            failure["kind"],
            failure["problem"],
            failure["resource"],
            failure["id"] or None,
            failure["advice"],
        )
        for failure in map(_with_options, report.failures)
    ]


def _with_options(failure: Mapping[str, Any]) -> Mapping[str, Any]:
    """A failure whose advice names the commands' options in place of parameters in code."""
    advice = re.sub(r"\bstart=(\S+) and end=(\S+)", r"--start \1 --end \2", failure["advice"])
    return {
        **failure,
        "advice": advice,
        "message": failure["message"].replace(failure["advice"], advice),
    }


def recheck_lines(done: RecheckReport) -> Iterator[str]:
    """What a recheck did, in sentences."""
    if not done.planned:
        yield f"No day is due. Lateness: {done.lateness}."
        return
    same = done.events - done.loaded
    found = "as they were" if not done.loaded else f"{done.new:,} of them new"
    if done.changed:
        found += f", {done.changed:,} changed"
    yield (
        f"{_count(done.days, 'day')} read again, {_count(done.events, 'event')}, {found}:"
        f" {_count(done.requests, 'request')}, {done.byte_count / 1e6:,.1f} MB,"
        f" {done.seconds:.1f} seconds."
        if done.loaded or same
        else f"{_count(done.days, 'day')} read again, without events."
    )
    yield f"Lateness: {done.lateness}."
    if done.lateness.overlap is not None:
        yield (
            f"Nearly all of {_count(done.lateness.late_events, 'late event')} came within"
            f" {duration(done.lateness.overlap)}: with overlap = {done.lateness.overlap} the next"
            " load finds such."
        )
    if done.late_at_the_end:
        yield (
            f"{_count(done.late_at_the_end, 'event')} came so late that no step before the last"
            f' has found them: read days again for longer, recheck = "{_longer(done)}d".'
        )


def _longer(done: RecheckReport) -> int:
    return done.lateness.recommended or 2 * (done.lateness.none_later_than or 1)


def recheck_result(done: RecheckReport) -> dict[str, Any]:
    """What a recheck did, for ``--json``."""
    return {
        "days": done.days,
        "events": done.events,
        "new": done.new,
        "changed": done.changed,
        "fewer": done.fewer,
        "lost": done.lost,
        "late_at_the_end": done.late_at_the_end,
        "seconds": round(done.seconds, 1),
        "stopped": done.stopped,
        "lateness": lateness_result(done.lateness),
    }


def lateness_result(late: Summary) -> dict[str, Any]:
    """What rechecks say of lateness, for ``--json``."""
    return {
        "days": late.days,
        "late_events": late.late_events,
        "by_delay": late.by_bucket,
        "none_later_than_days": late.none_later_than,
        "days_that_tell": late.days_that_tell,
        "share_of_days_at_most": round(late.bound, 4),
        "told_within_days": late.told_within,
        "recommended_days": late.recommended,
        "recommended_overlap_seconds": late.overlap,
    }


def result_of(report: LoadReport, done: Loaded) -> dict[str, Any]:
    """The result of ``load --json``."""
    return {
        "events_new": done.new,
        "events_written": done.written,
        "rows": done.rows,
        "complete_until": {name: iso(ms) for name, ms in sorted(done.complete_until.items())},
        "windows": {
            name: count
            for name, count in sorted(report.windows.items())
            if not name.startswith("_dlt")
        },
        "packages": report.packages,
        "seconds": round(report.seconds, 1),
        "stopped": report.stopped,
        "recheck": recheck_result(report.recheck) if report.recheck else None,
    }


def status_of(report: LoadReport | RecheckReport) -> int:
    """The exit status: 0 where everything requested is loaded."""
    if any(failure["resume_at"] for failure in report.failures):
        return TRY_AGAIN_LATER
    return FAILED if report.failures else DONE


def _shown(file: Path | None) -> str:
    """A file below this folder without the folder."""
    if file is None:
        return ""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _complete(until: Mapping[str, int]) -> str:
    """One sentence where all resources are complete up to much the same moment."""
    if not until or max(until.values()) - min(until.values()) > SAME_MOMENT_MS:
        return ""
    return f"Complete up to {iso(min(until.values()))}"


def _some(names: Sequence[str], what: str) -> str:
    return f"{_count(len(names), what)} ({listed(names, IDS_SHOWN)})"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
