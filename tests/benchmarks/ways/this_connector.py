"""np6_source, default settings, its account-wide resource only: a backfill of a fixed range.

With the destination that the script uses, and its limits, or with dlt's own.
"""

from __future__ import annotations

import sys

import dlt

from np6_source import np6_source

url, key, start, end, database, destination = sys.argv[1:]

if destination == "own":
    # A module of its own, so that older versions of the package can be measured too.
    from np6_source.cli.destination import duckdb
else:
    from dlt.destinations import duckdb
pipeline = dlt.pipeline(
    "benchmark",
    destination=duckdb(database),
    dataset_name="np6",
    pipelines_dir="pipelines",
)
source = np6_source(key, base_url=url, start=start, end=end)
pipeline.run(source.with_resources("actions_events"))
