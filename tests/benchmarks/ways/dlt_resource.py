"""A dlt resource over ``response.json()``, with dlt's defaults: what a first version looks like."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import dlt
from dlt.sources.helpers import requests

url, key, start, end, database = sys.argv[1:]


@dlt.resource(name="events", primary_key="id", write_disposition="merge")
def events() -> Iterator[Any]:
    response = requests.get(
        f"{url}actions/events",
        params={"start": start, "end": end, "sort": "asc"},
        headers={"X-Key": key},
    )
    response.raise_for_status()
    yield response.json()


pipeline = dlt.pipeline(
    "benchmark",
    destination=dlt.destinations.duckdb(database),
    dataset_name="np6",
    pipelines_dir="pipelines",
)
pipeline.run(events())
