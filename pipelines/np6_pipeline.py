"""Loads NP6 events: the shortest script, to start a project of one's own from.

The key is looked up as ``[sources.np6] api_key`` in ``.dlt/secrets.toml``; any other parameter of
``np6_source`` may stand in ``[sources.np6]`` of ``.dlt/config.toml``.
"""

from __future__ import annotations

import dlt

from np6_source import np6_source
from np6_source.loading import load


def load_events() -> None:
    """Loads what is new since the last call; raises where something could not be loaded."""
    pipeline = dlt.pipeline("np6_pipeline", destination="duckdb", dataset_name="np6")
    # Like pipeline.run(np6_source()), but deals first with what an interrupted call left behind.
    report = load(pipeline, np6_source)
    for table, rows in sorted(report.rows.items()):
        print(f"{table}: {rows} rows")


if __name__ == "__main__":
    load_events()
