"""dlt's declarative ``rest_api_source``, with dlt's defaults, or in another loader file format."""

from __future__ import annotations

import sys
from typing import Any

import dlt
from dlt.sources.rest_api import rest_api_source

url, key, start, end, database, *loader_file_format = sys.argv[1:]

source = rest_api_source(
    {
        "client": {
            "base_url": url,
            "auth": {"type": "api_key", "name": "X-Key", "api_key": key, "location": "header"},
        },
        "resources": [
            {
                "name": "events",
                "primary_key": "id",
                "write_disposition": "merge",
                "endpoint": {
                    "path": "actions/events",
                    "params": {"start": start, "end": end, "sort": "asc"},
                    "data_selector": "$",
                    "paginator": "single_page",
                },
            }
        ],
    }
)
pipeline = dlt.pipeline(
    "benchmark",
    destination=dlt.destinations.duckdb(database),
    dataset_name="np6",
    pipelines_dir="pipelines",
)
options: dict[str, Any] = {}
if loader_file_format:
    options["loader_file_format"] = loader_file_format[0]
pipeline.run(source, **options)
