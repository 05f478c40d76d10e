"""Many small requests to a slow API: what concurrency saves.

Every answer comes 200 ms late. Loaded are (a) a thousand windows of mixed sizes and (b) two
thousand ids with few events each, with np6_source's default concurrency, and one request after the
other. The latter is measured on a tenth, and what it takes beyond dlt's other steps is multiplied,
unless ``--full`` is given; the table says which it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from measuring import machine
from one_load import Task, load_alone
from prepared import BUILD
from table import as_text, say, say_checks
from targets import MOST_LOAD_JOBS, PARALLEL_TO_SEQUENTIAL, Check, at_most, exit_status

from np6_source.sandbox import Sandbox, generated_account

START = datetime(2025, 1, 6, tzinfo=timezone.utc)
SPAN = timedelta(days=50)
SAMPLED = 10
"""One part in so many is loaded one request after the other, unless it is loaded whole."""

HEADER = (
    "case",
    "requests",
    "events",
    "default: seconds",
    "extract",
    "one by one: seconds",
    "ratio",
    "load jobs",
    "",
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=200.0, help="milliseconds per answer")
    parser.add_argument("--windows", type=int, default=1_000)
    parser.add_argument("--ids", type=int, default=2_000)
    parser.add_argument("--concurrency", type=int, help="in place of np6_source's default")
    parser.add_argument("--full", action="store_true", help="everything one by one, too")
    parser.add_argument("--json", type=Path, default=BUILD / "latency.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and gives exit status 1 where a target is missed."""
    options = parse(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    cases = [_windows(options), _ids(options)]
    options.json.write_text(
        json.dumps({"machine": machine(), "latency": options.latency, "cases": cases}, indent=2)
        + "\n",
        "utf-8",
    )
    say(as_text(HEADER, map(_row, cases)))
    checks: list[Check] = []
    for case in cases:
        checks += [
            at_most(
                f"{case['name']}: less than {PARALLEL_TO_SEQUENTIAL:g} of the time one by one",
                case["ratio"],
                PARALLEL_TO_SEQUENTIAL,
                "{:.3f}",
            ),
            at_most(
                f"{case['name']}: a handful of load jobs ({MOST_LOAD_JOBS} at most)",
                case["default"]["load_jobs"],
                MOST_LOAD_JOBS,
                "{}",
            ),
        ]
    say_checks(checks)
    say(f"Results are in {options.json}.")
    return exit_status(checks)


def _windows(options: argparse.Namespace) -> dict[str, Any]:
    """Windows of one width over an account whose days and hours differ."""
    account = generated_account(60_000, start=START, end=START + SPAN)
    width = SPAN / options.windows
    with Sandbox(account, latency=options.latency) as sandbox:
        task = Task(
            sandbox.url,
            sandbox.key,
            "",
            "",
            source={
                "start": START.isoformat(),
                "end": (START + SPAN).isoformat(),
                "window": width.total_seconds(),
            },
            # Small answers would make the windows wider, and their number small.
            widest_window=width // timedelta(milliseconds=1),
        )
        sample = task
        if not options.full:
            end = START + width * (options.windows // SAMPLED)
            sample = replace(task, source={**task.source, "end": end.isoformat()})
        found = _case(f"{options.windows:,} windows", task, sample, sandbox, options.concurrency)
    account.close()
    return found


def _ids(options: argparse.Namespace) -> dict[str, Any]:
    """Contacts by id, each with a few events over weeks."""
    account = generated_account(contacts=options.ids, start=START, end=START + SPAN, actions=2)
    ids = account.example_ids("contact_id", options.ids)
    with Sandbox(account, latency=options.latency) as sandbox:
        task = Task(
            sandbox.url,
            sandbox.key,
            "",
            "",
            resources=("target_events",),
            source={
                "start": START.isoformat(),
                "end": (START + SPAN).isoformat(),
                "target_ids": ids,
            },
        )
        sample = task
        if not options.full:
            # Every tenth, so that the sample is a fair one.
            sample = replace(task, source={**task.source, "target_ids": ids[::SAMPLED]})
        found = _case(f"{len(ids):,} ids", task, sample, sandbox, options.concurrency)
    account.close()
    return found


def _case(
    name: str, task: Task, sample: Task, sandbox: Sandbox, concurrency: int | None
) -> dict[str, Any]:
    if concurrency is not None:
        task = replace(task, source={**task.source, "concurrency": concurrency})
    default, requests = _load(task, sandbox)
    sequential, sampled_requests = _load(
        replace(sample, source={**sample.source, "concurrency": 1}), sandbox
    )
    factor = requests / sampled_requests
    # Only the requests are many times as many; what dlt does afterwards is taken as it was.
    afterwards = default["seconds"] - default["steps"]["extract"]
    seconds = (
        sequential["seconds"]
        if sample is task
        else sequential["steps"]["extract"] * factor + afterwards
    )
    return {
        "name": name,
        "requests": requests,
        "default": default,
        "sequential": sequential,
        "sequential_factor": factor,
        "sequential_seconds": seconds,
        "ratio": default["seconds"] / seconds,
    }


def _load(task: Task, sandbox: Sandbox) -> tuple[dict[str, Any], int]:
    before = len(sandbox.requests)
    with tempfile.TemporaryDirectory(dir=BUILD.resolve(), prefix="latency-") as name:
        folder = Path(name)
        task = replace(
            task, database=str(folder / "account.duckdb"), pipelines_dir=str(folder / "pipelines")
        )
        told, _ = load_alone(task, folder)
    return told, len(sandbox.requests) - before


def _row(case: dict[str, Any]) -> list[str]:
    factor = case["sequential_factor"]
    return [
        case["name"],
        f"{case['requests']:,}",
        f"{case['default']['events']:,}",
        f"{case['default']['seconds']:.1f}",
        f"{case['default']['steps']['extract']:.1f}",
        f"{case['sequential_seconds']:.1f}",
        f"{case['ratio']:.3f}",
        f"{case['default']['load_jobs']}",
        f"one by one: a sample, times {factor:.1f}" if factor > 1.01 else "one by one: measured",
    ]


if __name__ == "__main__":
    sys.exit(main())
