"""The commands that only look, as tools of dlt's MCP servers.

Each runs its command in a process of its own, with ``--json``: a server speaks MCP over its
standard output, and holds no DuckDB file open. Nothing here loads, writes or erases.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from ..dlt_internals.mcp import Feature, TAsks, TReads

LONGEST = 1_800
"""Seconds that a command may take."""


def np6_status(pipeline_name: str, destination: str = "duckdb", dataset: str = "np6") -> TReads:
    """How far every NP6 resource is loaded, what came, and what is wrong. Makes no request to NP6.

    Args:
        pipeline_name: Name of the dlt pipeline, such as np6_to_duckdb.
        destination: dlt destination.
        dataset: Dataset or schema.
    """
    return _document("status", *_where(pipeline_name, destination, dataset))


def np6_gaps(
    pipeline_name: str,
    start: str,
    end: str,
    destination: str = "duckdb",
    dataset: str = "np6",
) -> TReads:
    """Which spans of time were never loaded from NP6. Loads nothing.

    Args:
        pipeline_name: Name of the dlt pipeline, such as np6_to_duckdb.
        start: From when on, an ISO date in UTC.
        end: Up to when.
        destination: dlt destination.
        dataset: Dataset or schema.
    """
    where = _where(pipeline_name, destination, dataset)
    return _document("gaps", *where, f"--start={start}", f"--end={end}")


def np6_check(pipeline_name: str, destination: str = "duckdb", dataset: str = "np6") -> TAsks:
    """Whether a load from NP6 would succeed: key, network, permissions, destination. Loads nothing.

    Args:
        pipeline_name: Name of the dlt pipeline, such as np6_to_duckdb.
        destination: dlt destination.
        dataset: Dataset or schema.
    """
    return _document("check", *_where(pipeline_name, destination, dataset))


def np6_plan(pipeline_name: str, start: str, end: str | None = None) -> TAsks:
    """How many NP6 events a period has and what loading it takes, as ranges. Loads nothing.

    Args:
        pipeline_name: Name of a dlt pipeline; NP6 alone is asked, whatever was loaded.
        start: From when on, an ISO date in UTC.
        end: Up to when; None: now.
    """
    return _document("plan", f"--start={start}", *_given("--end", end))


def np6_reconcile(
    pipeline_name: str,
    start: str | None = None,
    end: str | None = None,
    destination: str = "duckdb",
    dataset: str = "np6",
) -> TAsks:
    """Compares what NP6 returns with what the tables have, event by event. Loads nothing.

    Args:
        pipeline_name: Name of the dlt pipeline, such as np6_to_duckdb.
        start: From when on, an ISO date in UTC; None: a week before the end.
        end: Up to when; None: the last full day that ended 26 hours ago.
        destination: dlt destination.
        dataset: Dataset or schema.
    """
    where = _where(pipeline_name, destination, dataset)
    return _document("reconcile", *where, *_given("--start", start), *_given("--end", end))


FEATURE = Feature("np6", (np6_status, np6_gaps, np6_check, np6_plan, np6_reconcile))
"""What dlt's MCP servers are given."""


def _where(pipeline_name: str, destination: str, dataset: str) -> list[str]:
    # With "=": a name that begins with a hyphen is no option.
    return [f"--pipeline={pipeline_name}", f"--destination={destination}", f"--dataset={dataset}"]


def _given(option: str, value: str | None) -> list[str]:
    return [] if value is None else [f"{option}={value}"]


def _document(command: str, *options: str) -> dict[str, Any]:
    """What ``--json`` of a command prints.

    Raises:
        RuntimeError: It printed none; says what it did.
    """
    arguments = [sys.executable, "-m", "np6_source", command, "--json", *options]
    ended = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST
    )
    try:
        document: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        said = ended.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise RuntimeError(
            f"np6-source {command} ended with {ended.returncode} and said: {said[0]}"
        ) from None
    return document
