"""A schedule of tiny loads into a Delta or Iceberg table, as quick as loads can be.

The load step's own job merges each load's file; extraction, which adds nothing to a table, is left
out. Times are far in the past: a run every quarter of an hour, ten of whose events were there.
"""

from __future__ import annotations

import random
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.destinations.job_impl import ReferenceFollowupJobRequest

from np6_source import np6_source
from np6_source.lake import filesystem
from np6_source.sandbox import Sandbox, account_from_events
from np6_source.schema import EVENTS
from tests.support import at, event

NEW, AGAIN = 20, 10
"""Events of a load that are new, and that were in one of the ten loads before."""

DLT_S_RETRIES = 5


class _NoSemaphore:
    def release(self) -> None:
        """Nobody waits."""


@dataclass
class Schedule:
    """Loads into one table, one after the other.

    Attributes:
        kind: ``delta`` or ``iceberg``.
        folder: Where the lake and dlt's working files are.
        destination: dlt's destination; None: a folder of its own.
        name: The pipeline.
        seed: What the events are made from.
        expected: When each event was requested last.
    """

    kind: str
    folder: Path
    destination: Callable[[], Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = "schedule"
    seed: int = 1
    expected: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._recent: list[dict[str, Any]] = []
        self._now = datetime(2024, 3, 2, tzinfo=timezone.utc)

    @property
    def table(self) -> Path:
        """The table's folder, where it is in a local one."""
        return self.folder / "lake" / "np6" / "events"

    @cached_property
    def pipeline(self) -> dlt.Pipeline:
        make = self.destination or (
            lambda: filesystem(f"file://{self.folder}/lake", **self.options)
        )
        return dlt.pipeline(
            self.name,
            destination=make(),
            dataset_name="np6",
            pipelines_dir=str(self.folder / "pipelines"),
        )

    def begin(self) -> None:
        """Tells the pipeline of the tables; the first load makes its own."""
        with Sandbox(account_from_events([event(1, at("03-01"))]), now=at("03-05")) as sandbox:
            source = np6_source(
                sandbox.key,
                base_url=sandbox.url,
                start=at("03-01"),
                end=at("03-02"),
                table_format=self.kind,
            )
            self.pipeline.extract(source.with_resources("actions_events"))

    def run(self, count: int, after_each: Callable[[int], None] = lambda run: None) -> None:
        """Loads, a number of times."""
        for run in range(1, count + 1):
            self.load(self.rows())
            after_each(run)

    def forget(self) -> None:
        """The next load has none of the events that were there."""
        self._recent = []

    def rows(self) -> pa.Table:
        """The rows of the next load."""
        self._now += timedelta(minutes=15)
        requested_at = self._now + timedelta(minutes=1)
        made = [
            {
                "id": str(uuid.UUID(int=self._random.getrandbits(128))),
                "type": "activation",
                "timestamp": self._now,
                "agency": "DEMO",
                "customer": "028",
                "channel": "email",
                "action_id": "000AA1",
                "message_id": str(uuid.UUID(int=self._random.getrandbits(128))),
                "recipient": f"person{self._random.randrange(10_000)}@example.com",
            }
            for _ in range(NEW)
        ]
        again = self._random.sample(self._recent, min(AGAIN, len(self._recent)))
        rows = [row | {"requested_at": requested_at} for row in (*again, *made)]
        self._recent = [*self._recent, *made][-10 * NEW :]
        self.expected |= {row["id"]: requested_at for row in rows}
        schema = EVENTS.arrow_schema
        return pa.table(
            {name: [row.get(name) for row in rows] for name in schema.names}, schema=schema
        )

    def load(self, rows: pa.Table) -> None:
        """Has the load step's job merge rows; dlt tries one that was refused five times again."""
        pipeline = self.pipeline
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder) / f"events.{uuid.uuid4().hex[:10]}.0.parquet"
            pq.write_table(rows, file)
            reference = ReferenceFollowupJobRequest(file.name, [str(file)]).new_file_path()
            for _ in range(1 + DLT_S_RETRIES):
                with pipeline.destination_client() as client:
                    table: Any = client.prepare_load_table("events")
                    job: Any = client.create_load_job(table, reference, "1")
                    job.set_run_vars("1", pipeline.default_schema, table)
                    job.run_managed(client, _NoSemaphore())
                if job.state() == "completed":
                    break
            else:
                raise RuntimeError("The load failed.") from job.exception()
            Path(reference).unlink()

    def opened(self) -> Any:
        """The table, as its library opens it."""
        with self.pipeline.destination_client() as client:
            return client.load_open_table(self.kind, "events")  # type: ignore[attr-defined]

    def live_files(self) -> int:
        """Data files that a reader opens."""
        table = self.opened()
        if self.kind == "delta":
            return len(table.file_uris())
        return len(list(table.scan().plan_files()))

    def stored(self) -> dict[str, datetime]:
        """When each event was requested last, as a reader sees it."""
        return as_stored(self.opened())


def as_stored(table: Any) -> dict[str, datetime]:
    """When each event of a schedule was requested last; fails where one is there twice."""
    rows = table.to_pyarrow_table() if hasattr(table, "file_uris") else table.scan().to_arrow()
    found = rows.select(["id", "requested_at"]).to_pylist()
    kept = {row["id"]: row["requested_at"] for row in found}
    assert len(found) == len(kept)
    return kept


def files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """A table's data files, and those of its metadata."""
    found = [file for file in folder.rglob("*") if file.is_file()]
    metadata = [f for f in found if {"metadata", "_delta_log"} & set(f.relative_to(folder).parts)]
    return [file for file in found if file not in metadata], metadata
