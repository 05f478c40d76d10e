"""What the schedulers' own dlt helpers need around ``pipeline.run``: Airflow's, Dagster's.

A scheduler names the span of time that a run loads. The run is stateless: the same span gives the
same rows, whenever and however often it is loaded. ``parts.load_part`` is the same in one call, for
schedulers that have no dlt helper.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dlt
from dlt.common.destination.reference import TDestinationReferenceArg
from dlt.extract import DltSource

from .dataset_lock import TTurn, in_database_or_file
from .endpoints import ENDPOINTS
from .errors import Incomplete
from .parts import leaving_nothing, with_own_staging


def resource_groups(source: DltSource) -> dict[str, tuple[str, ...]]:
    """The selected resources in groups that make good tasks, by a name for each.

    Each account-wide resource is a group of its own; resources over the same kind of id are one,
    named like the argument that gives the ids.
    """
    kinds: Mapping[str, Any] = {endpoint.name: endpoint.ids for endpoint in ENDPOINTS}
    groups: dict[str, tuple[str, ...]] = {}
    for name in source.selected_resources:
        kind = kinds.get(name)
        group = kind if isinstance(kind, str) else name
        groups[group] = (*groups.get(group, ()), name)
    return groups


def without_state(pipeline: dlt.Pipeline, turn: TTurn = in_database_or_file) -> dlt.Pipeline:
    """Makes a pipeline fit for runs whose span of time is given from outside.

    No state is read from the destination or written to it.

    Args:
        pipeline: The pipeline; it is changed.
        turn: Waits until its runs may load into the dataset, see ``turns``. Callers of dlt's
            ``run`` would load without.

    Returns:
        The same pipeline.
    """
    # As an argument of dlt.pipeline() it is not heeded (dlt 1.31).
    pipeline.config.restore_from_destination = False
    load = pipeline.load

    def load_in_turn(*arguments: Any, **options: Any) -> Any:
        with turn(pipeline):
            return load(*arguments, **options)

    pipeline.load = load_in_turn  # type: ignore[method-assign]
    return pipeline


@contextmanager
def passing_pipeline(
    name: str, destination: TDestinationReferenceArg, dataset_name: str
) -> Iterator[dlt.Pipeline]:
    """A pipeline ``without_state`` for one run, of which any number may be going on at once.

    Its working folder and its staging dataset are its own, and gone behind it.
    """
    with tempfile.TemporaryDirectory(prefix=f"{name}_") as folder:
        pipeline = dlt.pipeline(
            name,
            destination=with_own_staging(destination),
            dataset_name=dataset_name,
            pipelines_dir=folder,
        )
        yield without_state(pipeline, leaving_nothing(in_database_or_file))


def raise_if_incomplete(pipeline: dlt.Pipeline) -> None:
    """Makes a run with ``on_error="keep"`` fail if something was left out.

    Raises:
        Incomplete: The pipeline's last run could not load everything; names all of it.
    """
    trace = pipeline.last_trace
    extracted = trace.last_extract_info if trace else None
    failures = [
        failure
        for runs in (extracted.metrics.values() if extracted else ())
        for run in runs
        for metrics in run["resource_metrics"].values()
        for failure in (metrics.custom_metrics or {}).get("failures", ())
    ]
    if failures:
        raise Incomplete(failures)
