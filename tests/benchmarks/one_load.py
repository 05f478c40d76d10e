"""One load of np6_source in a process of its own; prints what it took as JSON.

Called by the benchmarks beside this file, with one argument: a file that holds ``Task`` as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from measuring import Cost, run_measured
from prepared import PROJECT


@dataclass(frozen=True)
class Task:
    """What to load.

    Attributes:
        url: Root of the API.
        key: Its key.
        database: The DuckDB file.
        pipelines_dir: dlt's working folder.
        resources: The resources to select.
        source: Further arguments of ``np6_source``.
        widest_window: Largest width of a window in milliseconds, where windows should not widen
            as they would by themselves.
    """

    url: str
    key: str
    database: str
    pipelines_dir: str
    resources: tuple[str, ...] = ("actions_events",)
    source: dict[str, Any] = field(default_factory=dict)
    widest_window: int | None = None


class LoadFailed(Exception):
    """The process failed; the message is what it said last."""


def load_alone(task: Task, folder: Path, timeout: float = 7200.0) -> tuple[dict[str, Any], Cost]:
    """Runs a task in a process of its own.

    Args:
        task: What to load.
        folder: Where the process runs.
        timeout: Seconds after which it is killed.

    Returns:
        What ``main`` prints, and what the process cost.

    Raises:
        LoadFailed: It failed.
    """
    file = folder / "task.json"
    file.write_text(json.dumps(asdict(task)), "utf-8")
    command = [sys.executable, str(Path(__file__).resolve()), str(file)]
    environment = {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DLT_DATA_DIR": str(folder),
        # As `make run` does: with the project's configuration.
        "DLT_PROJECT_DIR": str(PROJECT),
    }
    cost = run_measured(command, folder, environment, timeout)
    lines = cost.output.strip().splitlines() or ["it said nothing"]
    if cost.status:
        raise LoadFailed("\n".join(lines[-15:]))
    return json.loads(lines[-1]), cost


def main() -> None:
    """Loads, and prints seconds per step, load jobs, windows, and the size of the state."""
    import dlt

    from np6_source import np6_source
    from np6_source.cli.destination import duckdb
    from np6_source.extract import resource as extracting
    from np6_source.loading import load

    task = Task(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    if task.widest_window is not None:
        extracting.Pace = partial(extracting.Pace, widest=task.widest_window)  # type: ignore
    pipeline = dlt.pipeline(
        "benchmark",
        # The script's, which bounds DuckDB's memory.
        destination=duckdb(task.database),
        dataset_name="np6",
        pipelines_dir=task.pipelines_dir,
    )
    source = np6_source(task.key, base_url=task.url, **task.source)
    source = source.with_resources(*task.resources)
    started = time.monotonic()
    load(pipeline, lambda: source)
    seconds = time.monotonic() - started
    steps = {
        step.step: (step.finished_at - step.started_at).total_seconds()
        for step in pipeline.last_trace.steps
        if step.finished_at is not None
    }
    info = pipeline.last_trace.last_load_info
    jobs = [
        job
        for package in info.load_packages
        for jobs in package.jobs.values()
        for job in jobs
        if job.job_file_info.file_format in ("parquet", "insert_values", "jsonl")
    ]
    found = {
        "seconds": seconds,
        "steps": steps,
        "load_jobs": len(jobs),
        "packages": len(info.load_packages),
        "windows": sum(
            resource.custom_metrics.get("windows", 0)
            for resource in source.selected_resources.values()
        ),
        "events": sum(
            resource.custom_metrics.get("events", 0)
            for resource in source.selected_resources.values()
        ),
        "known": sum(
            resource.custom_metrics.get("known", 0)
            for resource in source.selected_resources.values()
        ),
        "state_bytes": len(json.dumps(pipeline.state, default=str)),
    }
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
