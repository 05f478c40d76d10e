"""What a scheduled run costs that finds nothing new.

Measured are whole processes, interleaved: the script a scheduler calls, on a pipeline that has
caught up; ``pipeline.run(np6_source(...))`` alone; and, to compare with, ``import dlt`` and a run
of an empty resource.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from measuring import machine, run_measured
from one_load import LoadFailed
from prepared import BUILD
from table import as_text, say, say_checks
from targets import IDLE_RUN_SECONDS, at_most, exit_status

from np6_source.sandbox import Sandbox, generated_account

SCRIPT = Path("pipelines/np6_to_duckdb.py")

EMPTY = """
import dlt
pipeline = dlt.pipeline("empty", destination=dlt.destinations.duckdb("empty.duckdb"),
    dataset_name="np6", pipelines_dir="pipelines")
pipeline.run(dlt.resource([], name="events"))
"""
PLUGGED_IN = """
import dlt
from np6_source import np6_source
pipeline = dlt.pipeline("plugged_in", destination=dlt.destinations.duckdb("plugged_in.duckdb"),
    dataset_name="np6", pipelines_dir="pipelines")
pipeline.run(np6_source())
"""

EMPTY_RUN, PLUGGED_IN_RUN, SCRIPT_RUN = "empty dlt pipeline", "pipeline.run", "scheduled script"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, default=BUILD / "startup.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and gives exit status 1 where the target is missed."""
    options = parse(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    script = SCRIPT.resolve()
    now = datetime.now(timezone.utc)
    account = generated_account(2_000, start=now - timedelta(days=20), end=now - timedelta(days=2))
    seconds: dict[str, list[float]] = {EMPTY_RUN: [], PLUGGED_IN_RUN: [], SCRIPT_RUN: []}
    with (
        tempfile.TemporaryDirectory(dir=BUILD.resolve(), prefix="startup-") as name,
        Sandbox(account) as sandbox,
    ):
        commands = {
            EMPTY_RUN: ["-c", EMPTY],
            PLUGGED_IN_RUN: ["-c", PLUGGED_IN],
            SCRIPT_RUN: [
                *(str(script), "--base-url", sandbox.url, "--progress", "none"),
                *("--pipelines-dir", "pipelines", "--duckdb-file", "script.duckdb"),
            ],
        }
        environment = {
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "DLT_DATA_DIR": name,
            "SOURCES__NP6__API_KEY": sandbox.key,
            "SOURCES__NP6__BASE_URL": sandbox.url,
        }
        for repeat in range(options.repeats + 1):
            for kind, command in commands.items():
                cost = run_measured([sys.executable, *command], Path(name), environment)
                if cost.status:
                    raise LoadFailed(f"{kind}: {cost.output[-2000:]}")
                # The first round loads what there is, and fills the caches.
                if repeat:
                    seconds[kind].append(cost.seconds)
    account.close()
    found: dict[str, Any] = {"machine": machine(), "seconds": seconds}
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    more = {
        kind: statistics.median(
            run - empty for run, empty in zip(runs, seconds[EMPTY_RUN], strict=True)
        )
        for kind, runs in seconds.items()
    }
    header = ("a run that finds nothing new", "seconds", "from - to", "more than empty", "")
    rows = [
        [
            kind,
            f"{statistics.median(runs):.2f}",
            f"{min(runs):.2f} - {max(runs):.2f}",
            f"{more[kind]:.2f}",
            "",
        ]
        for kind, runs in seconds.items()
    ]
    say(as_text(header, rows))
    checks = [
        at_most(
            f"{kind}: under {IDLE_RUN_SECONDS:g} s more than an empty dlt pipeline",
            more[kind],
            IDLE_RUN_SECONDS,
        )
        for kind in (PLUGGED_IN_RUN, SCRIPT_RUN)
    ]
    say_checks(checks)
    say(f"Medians of {options.repeats} interleaved rounds. Results are in {options.json}.")
    return exit_status(checks)


if __name__ == "__main__":
    sys.exit(main())
