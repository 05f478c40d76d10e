"""One answer of any size: does memory stay?

The sandbox makes the answer while it sends it, in this process; np6_source loads it into DuckDB in
a process of its own, whose memory is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
from measuring import MB, machine
from one_load import Task, load_alone
from prepared import BUILD, END, PROJECT, START, iso
from table import as_text, say, say_checks
from targets import ANSWER_MEMORY_BYTES, ANSWER_MEMORY_GROWTH, Check, at_most, exit_status

from np6_source.sandbox import Sandbox, mass_mailing_account

BYTES_PER_HIT = 1_080
"""Size of a hit with its comma, nearly."""

HEADER = ("answer GB", "events", "seconds", "extract", "normalize", "load", "peak MB", "")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.1, 1.0])
    parser.add_argument("--full", action="store_true", help="an answer of 4 GB, too")
    parser.add_argument("--json", type=Path, default=BUILD / "memory.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and gives exit status 1 where a target is missed."""
    options = parse(arguments)
    # As `make run` does: with the project's configuration, which bounds DuckDB's memory.
    os.environ["DLT_PROJECT_DIR"] = str(PROJECT)
    BUILD.mkdir(parents=True, exist_ok=True)
    sizes = [*options.gigabytes, *([4.0] if options.full else [])]
    runs = [_measured(size) for size in sizes]
    options.json.write_text(
        json.dumps({"machine": machine(), "runs": runs}, indent=2) + "\n", "utf-8"
    )
    say(as_text(HEADER, map(_row, runs)))
    checks: list[Check] = [
        at_most(
            f"{run['answer_bytes'] / 1e9:.1f} GB: peak memory below 1 GiB",
            run["peak_bytes"] / MB,
            ANSWER_MEMORY_BYTES / MB,
            "{:.0f} MB",
        )
        for run in runs
    ]
    if len(runs) > 1:
        growth = runs[-1]["peak_bytes"] / runs[-2]["peak_bytes"]
        text = f"peak of the largest at most {ANSWER_MEMORY_GROWTH:g} times that of the one before"
        checks.append(at_most(text, growth, ANSWER_MEMORY_GROWTH))
    say_checks(checks)
    say(f"Results are in {options.json}.")
    return exit_status(checks)


def _measured(gigabytes: float) -> dict[str, Any]:
    """Loads one answer of about so many gigabytes.

    Raises:
        AssertionError: The table does not hold every event exactly once.
    """
    hits = int(gigabytes * 1e9 / BYTES_PER_HIT)
    account = mass_mailing_account(hits, start=START, end=END, stored=False)
    with (
        tempfile.TemporaryDirectory(dir=BUILD.resolve(), prefix="memory-") as name,
        Sandbox(account, gzip=False) as sandbox,
    ):
        folder = Path(name)
        database = folder / "account.duckdb"
        task = Task(
            sandbox.url,
            sandbox.key,
            str(database),
            str(folder / "pipelines"),
            source={"start": iso(START), "end": iso(END)},
        )
        told, cost = load_alone(task, folder)
        answers = [request for request in sandbox.requests if request.status == 200]
        with duckdb.connect(str(database), read_only=True) as connection:
            counts = connection.execute(
                "SELECT count(*), count(DISTINCT id) FROM np6.events"
            ).fetchone()
        assert counts == (hits, hits), f"{counts} rows and ids in place of {hits:,}"
        assert len(answers) == 1, f"{len(answers)} answers in place of one"
    account.close()
    return {
        **told,
        "answer_bytes": answers[0].byte_count,
        "peak_bytes": cost.memory_bytes,
        "cpu_seconds": cost.cpu_seconds,
    }


def _row(run: dict[str, Any]) -> list[str]:
    return [
        f"{run['answer_bytes'] / 1e9:.2f}",
        f"{run['events']:,}",
        f"{run['seconds']:.1f}",
        *(f"{run['steps'][step]:.1f}" for step in ("extract", "normalize", "load")),
        f"{run['peak_bytes'] / MB:.0f}",
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
