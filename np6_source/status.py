"""The status of a dataset: how far each resource has got, what came, what is wrong.

Everything comes from ``load_windows`` and dlt's own records; nothing is requested or changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.destinations.exceptions import DatabaseUndefinedRelation

from .alarms import LOOKS_BACK_MS, Alarm, Loaded, Unknown, alarms, loaded, types_of_week, unknown
from .extract.unknown_ids import UNKNOWN_IDS
from .ledger import TCoverage, covered_since, kept_since, of_scope_key, recent_windows
from .recheck import DEFAULT_DAYS, measured
from .recheck.lateness import Summary
from .schema import REJECTED_EVENTS
from .tables.in_sql import path_in_sql
from .views import TStanding, standing
from .windows import DAY, Window, to_ms


@dataclass(frozen=True)
class ResourceStatus:
    """How far a resource has got.

    Attributes:
        resource: The resource.
        start: Where its history begins, milliseconds since the epoch; of ids: the earliest.
        complete_until: Up to where it is loaded; of ids, and classes of robots: the least advanced.
        median_until: Of ids: the median; else the same.
        most_until: Of ids: the most advanced; else the same.
        gaps: Spans between start and end that no load covers, those of all ids together.
        ids: How many ids; 0 for the whole account.
        unknown_ids: Those of them that NP6 did not know at last.
        loaded: What came; None where the ledger's last weeks do not have the resource.
    """

    resource: str
    start: int | None
    complete_until: int | None
    median_until: int | None
    most_until: int | None
    gaps: int
    ids: int
    unknown_ids: int
    loaded: Loaded | None


@dataclass(frozen=True)
class LastRecheck:
    """What was read again at last.

    Attributes:
        at: When, milliseconds since the epoch.
        days: How many days, those of each resource and id.
        new: Events that the tables lacked, each once: of a day, as many as the resource had that
            had most, all its ids together. Where resources had different ones, at least so many.
    """

    at: int
    days: int
    new: int


@dataclass(frozen=True)
class Status:
    """The status of a dataset.

    Attributes:
        resources: By name.
        types: Events by type, of the requests of seven days.
        unknown: Types and payload paths that the contract does not know.
        rejected: Rows of ``rejected_events``.
        pending: Load packages that are extracted and not loaded, by their ids.
        views: Whether the views for analysts are as they should be.
        alarms: The alarms that are on, errors first.
        recheck: What was read again at last; None: nothing in 35 days.
        lateness: What all rechecks together say.
        removed_before: Events published before it are removed by age, milliseconds since the epoch;
            None: none are. No resource's start or gap lies before it.
    """

    resources: tuple[ResourceStatus, ...]
    types: Mapping[str, int]
    unknown: tuple[Unknown, ...]
    rejected: int
    pending: tuple[str, ...]
    views: TStanding
    alarms: tuple[Alarm, ...]
    recheck: LastRecheck | None
    lateness: Summary
    removed_before: int | None = None


def status(
    pipeline: dlt.Pipeline,
    covered: TCoverage,
    now: int,
    resources: Sequence[str] | None = None,
    pending: Iterable[str] = (),
    recheck_days: int = DEFAULT_DAYS,
    cutoff: int | None = None,
) -> Status:
    """The status of a dataset.

    Args:
        pipeline: A pipeline into the dataset whose schemas and state are those of the dataset.
        covered: What ``ledger.coverage`` says.
        now: Milliseconds since the epoch.
        resources: Just these; None: all.
        pending: Load packages of the pipeline that are not loaded.
        recheck_days: Up to which age days are read again.
        cutoff: From when events are kept, by the retention that is configured, milliseconds since
            the epoch; None: for ever.
    """
    removed_before = kept_since(pipeline, cutoff)
    whole, covered = covered, covered_since(covered, removed_before)
    # One of which all is removed has no gap; one that never had a window has.
    covered = {scope: spans for scope, spans in covered.items() if spans or not whole[scope]}
    windows = recent_windows(pipeline, LOOKS_BACK_MS)
    # Rules about one resource look at others, too.
    on = [a for a in alarms(windows, now) if resources is None or a.resource in resources]
    if resources is not None:
        covered = {scope: spans for scope, spans in covered.items() if scope[0] in resources}
        windows = windows.filter(pc.field("resource").isin(list(resources)))
    came = {one.resource: one for one in loaded(windows, now)}
    unknown_ids = _unknown_ids(pipeline)
    names = sorted({resource for resource, _ in covered})
    return Status(
        tuple(_of_resource(name, covered, came.get(name), unknown_ids) for name in names),
        types_of_week(windows, now),
        unknown(windows, now),
        _rejected(pipeline),
        tuple(pending),
        standing(pipeline),
        tuple(on),
        last_recheck(windows),
        measured(pipeline, pipeline.default_schema_name or "np6", recheck_days),
        removed_before,
    )


def last_recheck(windows: pa.Table) -> LastRecheck | None:
    """What the newest recheck in the ledger's rows has read; None: there is none.

    Args:
        windows: As for ``alarms``.
    """
    again = windows.filter(pc.field("purpose") == "recheck")
    if not again.num_rows:
        return None
    at = pc.max(again["requested_at"]).as_py()
    package = again.filter(pc.field("requested_at") == at)["_dlt_load_id"][0].as_py()
    rows = again.filter(pc.field("_dlt_load_id") == package).to_pylist()
    days = {
        (row["resource"], row["scope_id"], row["classification"], to_ms(row["window_start"]) // DAY)
        for row in rows
    }
    of_days: dict[int, Counter[str]] = {}
    for row in rows:
        of_day = of_days.setdefault(to_ms(row["window_start"]) // DAY, Counter())
        of_day[row["resource"]] += row["new_count"] or 0
    return LastRecheck(to_ms(at), len(days), sum(max(one.values()) for one in of_days.values()))


def _of_resource(
    name: str, covered: TCoverage, came: Loaded | None, unknown_ids: Mapping[str, int]
) -> ResourceStatus:
    spans: dict[str, list[Window]] = {
        scope_id: windows for (resource, scope_id), windows in covered.items() if resource == name
    }
    ends = sorted(windows[-1].end for windows in spans.values() if windows)
    return ResourceStatus(
        resource=name,
        start=min((windows[0].start for windows in spans.values() if windows), default=None),
        complete_until=ends[0] if ends else None,
        median_until=median_low(ends) if ends else None,
        most_until=ends[-1] if ends else None,
        # A scope without a window is one whose package was given up.
        gaps=sum(len(windows) - 1 if windows else 1 for windows in spans.values()),
        ids=len({scope_id for key in spans if (scope_id := of_scope_key(key)[0])}),
        unknown_ids=unknown_ids.get(name, 0),
        loaded=came,
    )


def _unknown_ids(pipeline: dlt.Pipeline) -> dict[str, int]:
    """How many ids of each resource NP6 did not know, as the state of the dataset says."""
    found: dict[str, int] = {}
    state: Any = pipeline.state
    for source in state.get("sources", {}).values():
        for name, resource in source.get("resources", {}).items():
            found[name] = found.get(name, 0) + len(resource.get(UNKNOWN_IDS, ()))
    return found


def _rejected(pipeline: dlt.Pipeline) -> int:
    with pipeline.sql_client() as client:
        table = path_in_sql(REJECTED_EVENTS, client, pipeline.default_schema)
        try:
            rows = client.execute_sql(f"SELECT COUNT(*) FROM {table}")
        except DatabaseUndefinedRelation:
            return 0
    return int(rows[0][0]) if rows else 0
