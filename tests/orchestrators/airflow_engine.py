"""Runs DAGs with Airflow's own ``dag.test()``, one after the other, in a process of its own.

A line of JSON comes in for each run, one goes out: Airflow's start takes longer than most runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from datetime import datetime
from typing import Any


def run(dag_id: str, logical_date: str | None, conf: Any, dags: str) -> dict[str, Any]:
    """One DAG run: its state and its tasks'."""
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(dags, bundle_path=dags, bundle_name="dags-folder")
    if bag.import_errors:
        return {"state": "import error", "errors": list(bag.import_errors.values()), "tasks": {}}
    moment = datetime.fromisoformat(logical_date) if logical_date else None
    dag_run = bag.dags[dag_id].test(logical_date=moment, run_conf=conf)
    return {
        "state": dag_run.state,
        "tasks": {
            f"{task.task_id}[{task.map_index}]" if task.map_index >= 0 else task.task_id: {
                "state": task.state,
                "tries": task.try_number,
                "label": task.rendered_map_index,
            }
            for task in dag_run.get_task_instances()
        },
    }


def main() -> None:
    """Answers until its input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    with contextlib.redirect_stdout(sys.stderr):
        os.dup2(sys.stderr.fileno(), 1)
        for line in sys.stdin:
            command = json.loads(line)
            before = dict(os.environ)
            os.environ.update(command.pop("environment"))
            try:
                answer = run(**command)
            finally:
                os.environ.clear()
                os.environ.update(before)
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
