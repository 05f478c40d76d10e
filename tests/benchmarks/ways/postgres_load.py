"""The same hits into PostgreSQL: by this connector, or as a plain resource with dlt's defaults."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import dlt
import requests

from np6_source import np6_source

url, key, start, end, server, how = sys.argv[1:]

pipeline = dlt.pipeline(
    how,
    destination=dlt.destinations.postgres(server),
    dataset_name=f"by_{how}",
    pipelines_dir="pipelines",
)


@dlt.resource(name="events", primary_key="id", write_disposition="merge")
def plain() -> Iterator[Any]:
    """The response's events, as they are."""
    response = requests.get(
        f"{url}actions/events",
        params={"start": start, "end": end, "sort": "asc"},
        headers={"X-Key": key},
        timeout=60,
    )
    response.raise_for_status()
    yield response.json()


if how == "dlt_defaults":
    pipeline.run(plain())
else:
    source = np6_source(key, base_url=url, start=start, end=end)
    pipeline.run(source.with_resources("actions_events"))
