"""What a pipeline's last run could and could not load, read from dlt's trace."""

from __future__ import annotations

from typing import Any

import dlt

from ..errors import Incomplete


def resource_metrics(pipeline: dlt.Pipeline) -> list[tuple[str, dict[str, Any]]]:
    """The metrics of the resources of a pipeline's last run, by name.

    A name occurs twice where two sources have the resource.

    Args:
        pipeline: The pipeline, after its extract step.
    """
    trace = pipeline.last_trace
    extracted = trace.last_extract_info if trace else None
    return [
        (name, metrics.custom_metrics or {})
        for runs in (extracted.metrics.values() if extracted else ())
        for run in runs
        for name, metrics in run["resource_metrics"].items()
    ]


def failures(pipeline: dlt.Pipeline) -> list[dict[str, Any]]:
    """What a pipeline's last run could not load, see ``errors.failure_metrics``."""
    return [
        failure
        for _, metrics in resource_metrics(pipeline)
        for failure in metrics.get("failures", ())
    ]


def raise_if_incomplete(pipeline: dlt.Pipeline) -> None:
    """Makes a run with ``on_error="keep"`` fail if something was left out.

    A run that stopped early, at ``largest_load`` or because ``stop_when`` said so, has left
    something out.

    Args:
        pipeline: The pipeline, after its run.

    Raises:
        Incomplete: The pipeline's last run could not load everything; names all of it.
    """
    left_out = failures(pipeline)
    for _, metrics in resource_metrics(pipeline):
        left_out += metrics.get("incomplete", ())
    left_out += [
        {
            "kind": "Full",
            "message": f"{name}: the run stopped at largest_load; run it again to go on",
            "resume_at": None,
        }
        for name, metrics in resource_metrics(pipeline)
        if metrics.get("full") and not metrics.get("incomplete")
    ]
    if left_out:
        raise Incomplete(left_out)
