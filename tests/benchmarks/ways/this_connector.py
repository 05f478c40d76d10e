"""np6_source, default settings, its account-wide resource only: a backfill of a fixed range."""

from __future__ import annotations

import sys

import dlt

from np6_source import np6_source

url, key, start, end, database = sys.argv[1:]

pipeline = dlt.pipeline(
    "benchmark",
    destination=dlt.destinations.duckdb(database),
    dataset_name="np6",
    pipelines_dir="pipelines",
)
source = np6_source(key, base_url=url, start=start, end=end)
pipeline.run(source.with_resources("actions_events"))
