"""What the schedulers' own dlt helpers need around ``pipeline.run``: Airflow's, Dagster's.

A scheduler names the span of time that a run loads. The run is stateless: the same span gives the
same rows, whenever and however often it is loaded. ``parts.load_part`` is the same in one call, for
schedulers that have no dlt helper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dlt
from dlt.common.destination.reference import TDestinationReferenceArg
from dlt.extract import DltSource

from .endpoints import ENDPOINTS
from .runs.isolation import isolated_pipeline, without_state
from .runs.last_run import raise_if_incomplete

__all__ = [
    "passing_pipeline",
    "raise_if_incomplete",
    "resource_groups",
    "temporary_pipeline",
    "without_state",
]


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


@contextmanager
def temporary_pipeline(
    name: str, destination: TDestinationReferenceArg, dataset_name: str
) -> Iterator[dlt.Pipeline]:
    """A pipeline ``without_state`` for one run; any number of them may run at once.

    Its working folder and its staging dataset are its own, and removed after the run.
    """
    with isolated_pipeline(name, destination, dataset_name) as pipeline:
        yield pipeline


passing_pipeline = temporary_pipeline
"""Its earlier name."""
