"""PyAirbyte with a low-code source, a declarative manifest, into its own DuckDB cache."""

from __future__ import annotations

import sys
from typing import Any

import airbyte
from airbyte.caches import DuckDBCache

url, key, start, end, database = sys.argv[1:]

MANIFEST: dict[str, Any] = {
    "version": "6.0.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["events"]},
    "streams": [
        {
            "type": "DeclarativeStream",
            "name": "events",
            "primary_key": ["id"],
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {
                    "type": "HttpRequester",
                    "url_base": url,
                    "path": "actions/events",
                    "http_method": "GET",
                    "authenticator": {
                        "type": "ApiKeyAuthenticator",
                        "api_token": "{{ config['api_key'] }}",
                        "inject_into": {
                            "type": "RequestOption",
                            "inject_into": "header",
                            "field_name": "X-Key",
                        },
                    },
                    "request_parameters": {
                        "start": "{{ config['start'] }}",
                        "end": "{{ config['end'] }}",
                        "sort": "asc",
                    },
                },
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": []},
                },
                "paginator": {"type": "NoPagination"},
            },
            "schema_loader": {
                "type": "InlineSchemaLoader",
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "type": {"type": ["null", "string"]},
                        "timestamp": {"type": ["null", "integer"]},
                        "identity": {"type": ["null", "object"]},
                        "source": {"type": ["null", "object"]},
                    },
                },
            },
        }
    ],
    "spec": {
        "type": "Spec",
        "connection_specification": {
            "type": "object",
            "required": ["api_key", "start", "end"],
            "properties": {
                "api_key": {"type": "string", "airbyte_secret": True},
                "start": {"type": "string"},
                "end": {"type": "string"},
            },
        },
    },
}

source = airbyte.get_source(
    "source-np6",
    config={"api_key": key, "start": start, "end": end},
    source_manifest=MANIFEST,
    streams=["events"],
)
cache = DuckDBCache(db_path=database, schema_name="np6")
source.read(cache=cache, write_strategy="merge")
