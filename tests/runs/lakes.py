"""A lake with a pipeline's working folder beside it, and a backup of the lake."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pyarrow.dataset as ds

from np6_source.lake import filesystem
from np6_source.loading import load
from np6_source.sandbox import Sandbox

ALL = "actions_events"
TMake = Callable[..., Any]


class Lake:
    """A lake with a pipeline's working folder, an account that grows, and a backup of the lake."""

    def __init__(self, folder: Path, sandbox: Sandbox, source_of: TMake, **options: Any) -> None:
        self.folder, self.sandbox, self.options = folder, sandbox, options
        self.files, self.backup = folder / "lake", folder / "backup"
        self.source_of = source_of

    def pipeline(self, name: str = "np6_test") -> dlt.Pipeline:
        """The pipeline, as a new process would find it."""
        return dlt.pipeline(
            name,
            destination=filesystem(f"file://{self.files}"),
            dataset_name="np6",
            pipelines_dir=str(self.folder / "pipelines"),
        )

    def source(self, **options: Any) -> Any:
        return self.source_of(self.sandbox, ALL, overlap=1, **self.options, **options)

    def run(self, name: str = "np6_test") -> None:
        """A run of dlt's, which extracts no more than has settled in the account."""
        self.pipeline(name).run(self.source())

    def load(self, **options: Any) -> None:
        """What ``np6-source load`` does."""
        report = load(
            self.pipeline(), lambda **more: self.source(on_error="keep", **more), **options
        )
        assert not report.failures

    def back_up(self) -> None:
        shutil.copytree(self.files, self.backup)

    def put_back(self) -> None:
        shutil.rmtree(self.files)
        shutil.copytree(self.backup, self.files)

    def ids(self) -> set[str]:
        """The events in the lake."""
        folder = self.files / "np6" / "events"
        if self.options.get("table_format") == "delta":
            import deltalake

            rows = deltalake.DeltaTable(str(folder)).to_pyarrow_table()
        elif self.options.get("table_format") == "iceberg":
            from pyiceberg.table import StaticTable

            newest = max((folder / "metadata").glob("*.metadata.json"))
            rows = StaticTable.from_metadata(str(newest)).scan().to_arrow()
        else:
            rows = ds.dataset(sorted(folder.glob("*.parquet"))).to_table()
        found: list[str] = rows["id"].to_pylist()
        assert "table_format" not in self.options or len(found) == len(set(found))
        return set(found)
