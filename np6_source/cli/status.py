"""``np6-source status``: how far every resource has got, what came, and what is wrong."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dlt
from rich.table import Table

from ..alarms import duration
from ..errors import SettingError, did_you_mean
from ..recheck import DEFAULT_DAYS
from ..settings import recheck_of
from ..status import ResourceStatus, Status, status
from ..windows import SECOND, iso
from .alarms_of_load import FAIL_ON, problem_of
from .configuration import check_names, configured_cutoff
from .coverage import coverage_of
from .destination import check_speaks_sql, looking
from .document import account_in_state, print_document
from .for_analysts import for_analysts
from .options import add_names_option, add_output_options, add_pipeline_options, configure_logging
from .outcome import DONE, FOUND, Output
from .report import lateness_result
from .working_folder import pending_packages

UNKNOWN_SHOWN = 10
"""Types and payload paths that the contract does not know, as printed; ``--json`` has all."""


@dataclass(frozen=True)
class Published:
    """The copy for readers that the setting ``publish`` names.

    Attributes:
        file: Where it is.
        made: When, milliseconds since the epoch; None: it is not there.
    """

    file: Path
    made: int | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Say how far every resource has got, what came and what is wrong, from load_windows alone:"
        " no request is made, nothing is changed."
    )
    parser.epilog = (
        f"Exit status 0: no alarm, or none that --fail-on names. {FOUND}: an alarm. 4: nothing is"
        " loaded here. 75: another program has the DuckDB file open."
    )
    what = parser.add_argument_group("what")
    add_names_option(
        what,
        "--resources",
        "just these, and alarms about them; default: every resource in load_windows",
    )
    alarm = parser.add_argument_group("alarm")
    alarm.add_argument(
        "--fail-on",
        choices=tuple(FAIL_ON),
        default="error",
        help=f"alarms that end the command with status {FOUND} (%(default)s)",
    )
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    now = int(time.time() * SECOND)
    published = _published()
    with looking(options) as pipeline:
        check_speaks_sql(pipeline, "status")
        covered = coverage_of(pipeline)
        _check_resources(options.resources, sorted({name for name, _ in covered}))
        pending = pending_packages(options)
        found = status(
            pipeline,
            covered,
            now,
            resources=options.resources,
            pending=pending,
            recheck_days=_recheck_days(),
            cutoff=configured_cutoff(),
        )
        is_on = any(alarm.severity in FAIL_ON[options.fail_on] for alarm in found.alarms)
        exit_status = FOUND if is_on else DONE
        if options.json:
            problems = map(problem_of, found.alarms)
            account = account_in_state(pipeline)
            result = result_of(found, now, published)
            print_document("status", exit_status, pipeline, result, problems, account=account)
            return exit_status
    if not options.quiet:
        _print(found, now, published)
    elif is_on:
        for alarm in found.alarms:
            Output(stderr=True).print(str(alarm), markup=False)
    return exit_status


def result_of(found: Status, now: int, published: Published | None = None) -> dict[str, Any]:
    """The result of ``--json``."""
    return {
        "resources": [_of_resource(one, now) for one in found.resources],
        "types": dict(found.types),
        "unknown": [{**asdict(one), "first_seen": iso(one.first_seen)} for one in found.unknown],
        "rejected_events": found.rejected,
        "pending_packages": list(found.pending),
        "views": found.views,
        "published": {"file": str(published.file), "made": _iso(published.made)}
        if published
        else None,
        "removed_before": _iso(found.removed_before),
        "recheck": {
            "last": _iso(found.recheck.at) if found.recheck else None,
            "days": found.recheck.days if found.recheck else None,
            "new": found.recheck.new if found.recheck else None,
            "lateness": lateness_result(found.lateness),
        },
    }


def _recheck_days() -> int:
    """Up to which age days are read again, by dlt's configuration."""
    configured = recheck_of(dlt.config.get("sources.np6.recheck"), 1, None)
    return configured.days if configured else DEFAULT_DAYS


def _of_resource(one: ResourceStatus, now: int) -> dict[str, Any]:
    came = one.loaded
    return {
        "resource": one.resource,
        "ids": one.ids,
        "unknown_ids": one.unknown_ids,
        "start": _iso(one.start),
        "complete_until": _iso(one.complete_until),
        "median_until": _iso(one.median_until),
        "most_until": _iso(one.most_until),
        "lag_seconds": _lag(one, now),
        "gaps": one.gaps,
        "last_run": _iso(came.last_run) if came else None,
        "last_run_events": came.events if came else None,
        "last_run_bytes": came.bytes if came else None,
        "week_events": came.events_of_week if came else None,
        "week_bytes": came.bytes_of_week if came else None,
        "week_repeats": came.repeats_of_week if came else None,
    }


def _published() -> Published | None:
    """The copy for readers, by dlt's configuration."""
    file = for_analysts(argparse.Namespace()).publish
    if file is None:
        return None
    return Published(file, int(file.stat().st_mtime * SECOND) if file.exists() else None)


def _print(found: Status, now: int, published: Published | None) -> None:
    console = Output()
    names = ("resource", "complete up to", "lag", "gaps", "last run", "events", "7 days", "ids")
    table = Table(*names, box=None, pad_edge=False)
    for column in (2, 3, 5, 6):
        table.columns[column].justify = "right"
    for one in found.resources:
        came, lag = one.loaded, _lag(one, now)
        table.add_row(
            one.resource,
            iso(one.complete_until // SECOND * SECOND) if one.complete_until else "nothing",
            duration(lag) if lag is not None else "",
            f"{one.gaps:,}",
            _to_minute(came.last_run) if came else "over 35 days ago",
            f"{came.events:,}" if came else "",
            f"{came.events_of_week:,}" if came else "",
            _ids(one),
        )
    console.print_table(table)
    for name, text in _lines(found, published):
        console.print(f"{name:<12}{text}", markup=False)


def _lines(found: Status, published: Published | None) -> Iterator[tuple[str, str]]:
    """The lines below the table."""
    if found.types:
        types = (f"{name or 'none'} {count:,}" for name, count in found.types.items())
        yield "types", f"{', '.join(types)} in 7 days, once for each resource"
    for one in found.unknown[:UNKNOWN_SHOWN]:
        shown = json.dumps(one.name, ensure_ascii=False)
        since = iso(one.first_seen)[:10]
        yield "unknown", f"{one.kind} {shown} ({one.events:,}, since {since}) in {one.resource}"
    if len(found.unknown) > UNKNOWN_SHOWN:
        yield "unknown", f"and {len(found.unknown) - UNKNOWN_SHOWN:,} more: --json has all"
    if found.rejected:
        yield "rejected", f"{found.rejected:,} events could not be taken: see rejected_events"
    repeats = sum(one.loaded.repeats_of_week or 0 for one in found.resources if one.loaded)
    if repeats:
        yield "repeats", f"{repeats:,} events came twice in a response in 7 days; tables have one"
    if found.recheck:
        last = found.recheck
        yield (
            "recheck",
            f"last {_to_minute(last.at)}, {last.days:,} days, {last.new:,} new; {found.lateness}",
        )
    if found.removed_before is not None:
        yield "retention", f"before {iso(found.removed_before)[:10]}: removed by retention"
    for package in found.pending:
        yield "pending", f"load package {package} is not loaded: the next np6-source load does it"
    yield "views", f"{found.views}{_VIEWS_ADVICE.get(found.views, '')}"
    if published is not None and published.made is not None:
        yield "published", f"{published.file}, made {_to_minute(published.made)}"
    elif published is not None:
        yield "published", f"{published.file} is not there: the next load makes it"
    if not found.alarms:
        yield "alarms", "none"
    for alarm in found.alarms:
        yield alarm.severity, str(alarm)


_VIEWS_ADVICE = {
    "not made": ": make them with np6-source views",
    "not up to date": ": the next load makes them, or np6-source views",
}


def _ids(one: ResourceStatus) -> str:
    if not one.ids:
        return ""
    unknown = f" ({one.unknown_ids:,} not known to NP6)" if one.unknown_ids else ""
    return f"{one.ids:,}{unknown}"


def _lag(one: ResourceStatus, now: int) -> int | None:
    """Seconds since the moment up to which the resource is loaded."""
    if one.complete_until is None:
        return None
    return max(0, now - one.complete_until) // SECOND


def _iso(moment: int | None) -> str | None:
    return None if moment is None else iso(moment)


def _to_minute(moment: int) -> str:
    return f"{iso(moment)[:16]}Z"


def _check_resources(asked: list[str] | None, there: list[str]) -> None:
    """Refuses a resource that was never loaded.

    Raises:
        SettingError: Names the nearest.
    """
    for name in asked or ():
        if name not in there:
            raise SettingError(
                f"--resources {name}: nothing of it is in load_windows{did_you_mean(name, there)}."
                f" There are {', '.join(there)}"
            )
