"""The one JSON object that ``--json`` prints, the same around the result of every command.

| key | |
|---|---|
| `command`, `version` | what ran |
| `exit_status` | see ``outcome`` |
| `at` | when it ended, ISO 8601, UTC |
| `pipeline`, `destination`, `dataset` | where to; null for commands that load and read nothing |
| `account` | a digest of the key and the API's address; else of those that have loaded |
| `requests`, `bytes` | responses that went into the tables, and their size uncompressed |
| `problems` | `severity`, `rule`, `resource`, `id`, `what`, `advice` of each |
| `result` | the command's own; null where it ended before |
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, ParamSpec

import dlt

from ..extract.account import ACCOUNT

DEFAULT_DESTINATION = "duckdb"

TSeverity = Literal["error", "warning"]

P = ParamSpec("P")


@dataclass(frozen=True)
class Problem:
    """Something to object to.

    Attributes:
        severity: ``error`` or ``warning``.
        rule: What was examined, or the kind of the error.
        resource: The resource, None where it concerns none in particular.
        id: The id as the ledger stores it, None likewise.
        what: What was found.
        advice: What to do about it.
    """

    severity: TSeverity
    rule: str
    what: str
    resource: str | None = None
    id: str | None = None
    advice: str | None = None


def installed_version() -> str:
    """The version of the package; of a copy, as ``dlt init`` makes it, that it is one."""
    try:
        return version("np6-source")
    except PackageNotFoundError:
        return "a copy, not installed"


def account_in_state(pipeline: dlt.Pipeline) -> str | None:
    """The digest of the key that has loaded a dataset, the first by order where there are several.

    Args:
        pipeline: The pipeline, in sync with its destination.
    """
    state: Any = pipeline.state
    for source in state.get("sources", {}).values():
        keys = source.get(ACCOUNT, {}).get("keys", ())
        if keys:
            return str(min(keys))
    return None


def document_of(
    command: str,
    exit_status: int,
    pipeline: dlt.Pipeline | argparse.Namespace | None = None,
    result: Mapping[str, Any] | None = None,
    problems: Iterable[Problem] = (),
    requests: int = 0,
    byte_count: int = 0,
    account: str | None = None,
) -> dict[str, Any]:
    """The object, as JSON values.

    Args:
        command: What ran.
        exit_status: See ``outcome``.
        pipeline: Where to; a command that ended before it had the pipeline gives its options.
        result: The command's own.
        problems: What there is to object to.
        requests: Responses that went into the tables.
        byte_count: Their size, uncompressed.
        account: A digest of the key and the API's address.
    """
    name, destination, dataset = _where(pipeline)
    return {
        "command": command,
        "version": installed_version(),
        "exit_status": exit_status,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "pipeline": name,
        "destination": destination,
        "dataset": dataset,
        "account": account,
        "requests": requests,
        "bytes": byte_count,
        "problems": [asdict(problem) for problem in problems],
        "result": result,
    }


def _printed(make: Callable[P, dict[str, Any]]) -> Callable[P, None]:
    """A function that prints what another returns, and takes the same arguments."""

    def print_it(*arguments: P.args, **named: P.kwargs) -> None:
        json.dump(make(*arguments, **named), sys.stdout, indent=2)
        sys.stdout.write("\n")

    return print_it


print_document = _printed(document_of)
"""Prints the object to standard output; for the arguments see ``document_of``."""


def _where(
    pipeline: dlt.Pipeline | argparse.Namespace | None,
) -> tuple[str | None, str | None, str | None]:
    """The names of a pipeline, its destination and its dataset."""
    if isinstance(pipeline, dlt.Pipeline):
        destination = pipeline.destination
        name = destination.destination_name if destination is not None else None
        return pipeline.pipeline_name, name, pipeline.dataset_name
    if pipeline is None or not hasattr(pipeline, "pipeline"):
        return None, None, None
    return pipeline.pipeline, pipeline.destination or DEFAULT_DESTINATION, pipeline.dataset
