"""A long backfill as many independent parts, for any number of workers on any number of machines.

``plan_parts`` cuts a range of time, and ids, into parts; ``load_part`` loads one. A part knows
nothing of the others and leaves only its rows: parts may run at once, in any order, and more than
once; a part that was killed is simply loaded again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dlt.common.destination.reference import TDestinationReferenceArg
from dlt.extract import DltSource

from . import np6_source, parameters
from .dataset_lock import TTurn
from .endpoints import ENDPOINTS, Endpoint
from .errors import Incomplete, SettingError
from .extract.chosen_actions import ChosenActions
from .extract.selection import read_for
from .loading import LoadReport, load
from .parameters import TMoment
from .runs.isolation import isolated_pipeline, with_own_staging
from .windows import iso, to_datetime, to_ms

__all__ = ["Part", "PartIncomplete", "load_part", "plan_parts", "with_own_staging"]


class PartIncomplete(Incomplete):
    """Something of a part could not be loaded; the rest was. Load the part again.

    Attributes:
        report: What was done, and in ``failures`` what was not.
    """

    def __init__(self, part: Part, report: LoadReport) -> None:
        super().__init__(report.failures, f"{part.name} is not complete")
        self.args = (part, report)  # What pickle calls the class with.
        self.report = report


@dataclass(frozen=True)
class Part:
    """A piece of a backfill that can be loaded by itself.

    Attributes:
        start: First moment, UTC.
        end: First moment after it, UTC.
        ids: Ids by the argument of ``np6_source`` that takes them (``action_ids``). Empty: the
            part is about the whole account.
        resources: Names of the resources. None: those that ``np6_source`` selects by itself, with
            these ids or without.
    """

    start: datetime
    end: datetime
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resources: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            moment = parameters.moment_ms(getattr(self, name), name)
            object.__setattr__(self, name, to_datetime(moment))
        if self.start >= self.end:
            raise SettingError(f"A part's start={self.start} must be before its end={self.end}")
        if chosen := ChosenActions.parse(self.ids.get("action_ids")):
            raise SettingError(
                f"A part needs the ids themselves, action_ids={str(chosen)!r} would be another list"
                " on each worker: load the table actions, and give the ids you mean."
            )
        checked = {name: parameters.ids(values, name) for name, values in self.ids.items()}
        object.__setattr__(self, "ids", {name: found for name, found in checked.items() if found})
        if self.resources is not None:
            if not self.resources:
                raise SettingError("resources=() is empty: there would be nothing to load")
            object.__setattr__(self, "resources", tuple(self.resources))

    @property
    def name(self) -> str:
        """A short name, always the same for the same part: ``a-z``, ``0-9``, ``_``; no id in it."""
        days = f"{self.start:%Y%m%d}_{self.end:%Y%m%d}"
        content = json.dumps(self.to_json(), sort_keys=True)
        return f"part_{days}_{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def to_json(self) -> dict[str, Any]:
        """The part as JSON values. Holds the ids as they are, addresses among them."""
        return {
            "start": iso(to_ms(self.start)),
            "end": iso(to_ms(self.end)),
            "ids": {name: list(values) for name, values in self.ids.items()},
            "resources": None if self.resources is None else list(self.resources),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Part:
        """The part from the JSON values of ``to_json``."""
        return cls(values["start"], values["end"], values["ids"], values["resources"])


def plan_parts(
    start: TMoment,
    end: TMoment,
    width: timedelta | float | None = None,
    ids: Mapping[str, Sequence[str | int]] | None = None,
    ids_per_part: int = 100,
    resources: Sequence[str] | None = None,
    endpoints: Sequence[Endpoint] = (),
) -> list[Part]:
    """Cuts a backfill into parts that cover it exactly and do not overlap.

    Args:
        start: First moment to load.
        end: Moment to load up to, exclusive.
        width: Length of a part's range of time, a timedelta or seconds; the last may be shorter.
            None: the whole range.
        ids: Ids by the argument of ``np6_source`` that takes them. None: the whole account.
        ids_per_part: How many ids a part has, at most.
        resources: Names of the resources. None: those that ``np6_source`` selects by itself, with
            these ids or without.
        endpoints: Further operations, as given to ``np6_source``.

    Returns:
        The parts in order of time, then of ids. Each is about the account or about one kind of
        id. The same arguments give the same parts.

    Raises:
        SettingError: An argument cannot be used, or there would be nothing to load.
    """
    first, after = parameters.moment_ms(start, "start"), parameters.moment_ms(end, "end")
    if first >= after:
        raise SettingError(f"start={start!r} must be before end={end!r}")
    step = after - first if width is None else parameters.span_ms(width, "width", least=1)
    size = parameters.at_least_one(ids_per_part, "ids_per_part")
    kinds = _kinds(resources, ids or {}, (*ENDPOINTS, *endpoints))
    groups: list[tuple[dict[str, tuple[str, ...]], tuple[str, ...] | None]] = []
    for kind, names in kinds.items():
        if kind is None:
            groups.append(({}, names))
            continue
        values = parameters.ids((ids or {})[kind], kind)
        groups.extend(
            ({kind: values[position : position + size]}, names)
            for position in range(0, len(values), size)
        )
    return [
        Part(to_datetime(position), to_datetime(min(position + step, after)), group, names)
        for position in range(first, after, step)
        for group, names in groups
    ]


def _kinds(
    resources: Sequence[str] | None,
    ids: Mapping[str, Sequence[str | int]],
    endpoints: Sequence[Endpoint],
) -> dict[str | None, tuple[str, ...] | None]:
    """Names of resources by the kind of id they take, None: they are about the whole account."""
    known = {endpoint.name: endpoint.ids for endpoint in endpoints}
    takers = {kind for kind in known.values() if isinstance(kind, str)}
    for kind in ids:
        if kind not in takers:
            raise SettingError(f"There is no argument ids={kind!r}: {', '.join(sorted(takers))}")
    for kind, values in ids.items():
        if not parameters.ids(values, kind):
            raise SettingError(f"ids={{{kind!r}: []}} is empty: there would be nothing to load")
    if resources is None:
        return dict.fromkeys(ids) if ids else {None: None}
    if not resources:
        raise SettingError("resources=[] is empty: there would be nothing to load")
    by_kind: dict[str | None, tuple[str, ...]] = {}
    for name in dict.fromkeys(resources):
        if name not in known:
            raise SettingError(f"There is no resource {name!r}; give further ones as endpoints")
        taken = known[name]
        taker = taken if isinstance(taken, str) else None
        if taker is not None and taker not in ids:
            raise SettingError(f"{name} loads by id: give ids={{{taker!r}: [...]}}")
        by_kind[taker] = (*by_kind.get(taker, ()), name)
    if unused := [kind for kind in ids if kind not in by_kind]:
        raise SettingError(f"No resource in {list(resources)} takes {', '.join(unused)}")
    return {**by_kind}


def load_part(
    part: Part,
    destination: TDestinationReferenceArg,
    dataset_name: str = "np6",
    *,
    workers: int = 1,
    pipelines_dir: str | Path | None = None,
    turn: TTurn | None = None,
    make_source: Callable[..., DltSource] = np6_source,
    **source_options: Any,
) -> LoadReport:
    """Loads one part; stateless.

    No cursor is read or moved. The pipeline, its working folder and its staging dataset are the
    attempt's own: workers that merge into one dataset through one staging dataset lose rows (dlt
    1.31, issue 4297).

    Args:
        part: What to load.
        destination: A dlt destination: a name that dlt's configuration knows more about, or an
            instance such as ``dlt.destinations.postgres(...)``.
        dataset_name: The dataset that all parts load into.
        workers: How many workers share the account's rate limit; each takes its share of
            ``concurrency`` and ``requests_per_minute``.
        pipelines_dir: Folder for working files. None: a temporary one.
        turn: Waits until this process may load into the dataset and keeps others from it, for a
            lock of your own. None: the one of PostgreSQL, or a file beside a DuckDB file; other
            destinations have none, see ``docs/scale.md``.
        make_source: Gives the source; a clone of ``np6_source``, say.
        source_options: Further arguments of ``np6_source``, except what the part says.

    Returns:
        What was done.

    Raises:
        PartIncomplete: Something could not be loaded; the rest was.
        PipelineStepFailed: A step of dlt's failed.
        SettingError: An argument cannot be used.
    """
    if source_options.get("table_format") == "iceberg" and turn is None:
        raise SettingError(
            "Iceberg tables cannot be merged into by several processes at once: rows would be lost"
            " or be in the table twice. Take table_format='delta', or give a lock (turn=...)."
        )
    names = part.resources
    if names is None and part.ids:
        known = (*ENDPOINTS, *source_options.get("endpoints", ()))
        names = tuple(one.name for one in known if one.ids in part.ids and one.selected)
    options = source_options | dict(part.ids)
    options |= {"start": part.start, "end": part.end, "workers": workers, "on_error": "keep"}

    def source(**smaller: Any) -> DltSource:
        made = read_for(make_source(**(options | smaller)), "part")
        return made if names is None else made.with_resources(*names)

    with isolated_pipeline(
        f"np6_{part.name}", destination, dataset_name, turn, pipelines_dir
    ) as pipeline:
        report = load(pipeline, source)
    if report.failures:
        raise PartIncomplete(part, report)
    return report
