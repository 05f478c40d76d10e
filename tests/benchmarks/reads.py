"""What reading costs: the ledger's proof, and views over everything; prints seconds as JSON.

Called by ``growth`` in a process of its own, with the DuckDB file and dlt's working folder.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

VIEWS = ("freshness", "activity_daily", "action_performance")


def main() -> None:
    """Reads, and prints what each took."""
    import dlt

    from np6_source import views
    from np6_source.cli.destination import duckdb
    from np6_source.ledger import coverage

    database, pipelines = sys.argv[1:]
    pipeline = dlt.pipeline(
        "benchmark",
        destination=duckdb(database),
        dataset_name="np6",
        pipelines_dir=pipelines,
    )
    views.make(pipeline)
    found = {"gaps": _seconds(lambda: coverage(pipeline))}
    with pipeline.sql_client() as client:
        for view in VIEWS:
            found[view] = _seconds(lambda view=view: client.execute_sql(f"SELECT * FROM {view}"))
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def _seconds(read: Callable[[], Any]) -> dict[str, float]:
    started, cpu = time.monotonic(), time.process_time()
    read()
    return {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu}


if __name__ == "__main__":
    main()
