"""dlt's declarative ``rest_api_source``: with dlt's defaults, with Parquet, or tuned.

Tuned: paginator and selector named, no gzip between dlt's steps, Parquet, larger buffers.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import dlt
from dlt.sources.rest_api import rest_api_source

url, key, start, end, database, how = sys.argv[1:]

endpoint: dict[str, Any] = {
    "path": "actions/events",
    "params": {"start": start, "end": end, "sort": "asc"},
}
if how == "tuned":
    endpoint |= {"data_selector": "$", "paginator": "single_page"}
    os.environ["DATA_WRITER__DISABLE_COMPRESSION"] = "true"
    os.environ["DATA_WRITER__BUFFER_MAX_ITEMS"] = "50000"

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
                "endpoint": endpoint,
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
options: dict[str, Any] = {} if how == "defaults" else {"loader_file_format": "parquet"}
pipeline.run(source, **options)
