"""A Singer tap on Meltano's SDK, piped into ``target-duckdb``, both with their defaults.

As is usual for Singer, tap and target are two processes with a pipe between them. The nested
objects arrive in the table as JSON: the target flattens nothing unless it is told to.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th


class EventsStream(RESTStream[None]):
    """Events of one window."""

    name = "events"
    path = "/actions/events"
    primary_keys = ("id",)
    records_jsonpath = "$[*]"
    schema = th.PropertiesList(
        th.Property("id", th.StringType, required=True),
        th.Property("type", th.StringType),
        th.Property("timestamp", th.IntegerType),
        th.Property("identity", th.ObjectType(additional_properties=True)),
        th.Property("source", th.ObjectType(additional_properties=True)),
    ).to_dict()

    @property
    def url_base(self) -> str:
        return str(self.config["base_url"])

    @property
    def http_headers(self) -> dict[str, str]:
        return {"X-Key": self.config["api_key"]}

    def get_url_params(self, context: Any, next_page_token: None) -> dict[str, Any]:
        return {"start": self.config["start"], "end": self.config["end"], "sort": "asc"}


class TapNp6(Tap):
    """The tap."""

    name = "tap-np6"
    config_jsonschema = th.PropertiesList(
        th.Property("base_url", th.StringType, required=True),
        th.Property("api_key", th.StringType, required=True, secret=True),
        th.Property("start", th.StringType, required=True),
        th.Property("end", th.StringType, required=True),
    ).to_dict()

    def discover_streams(self) -> list[EventsStream]:
        return [EventsStream(self)]


def main() -> int:
    """Writes both configurations and runs ``tap | target``."""
    url, key, start, end, database = sys.argv[1:]
    tap = {"base_url": url.rstrip("/"), "api_key": key, "start": start, "end": end}
    Path("tap.json").write_text(json.dumps(tap))
    target = {"path": database, "default_target_schema": "np6"}
    Path("target.json").write_text(json.dumps(target))
    target_duckdb = Path(sys.executable).with_name("target-duckdb")
    tap_process = subprocess.Popen(
        [sys.executable, __file__, "--config", "tap.json"], stdout=subprocess.PIPE
    )
    target_process = subprocess.Popen(
        [target_duckdb, "--config", "target.json"], stdin=tap_process.stdout
    )
    assert tap_process.stdout is not None
    tap_process.stdout.close()
    return target_process.wait() or tap_process.wait()


if __name__ == "__main__":
    if "--config" in sys.argv:
        TapNp6.cli()
    else:
        sys.exit(main())
