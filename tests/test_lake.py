"""``np6_source.lake``: each key once, and no table in which events would stand twice unsaid."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.lake import filesystem
from np6_source.open_tables import iceberg, maintenance
from np6_source.open_tables.merge import Merge, each_key_once
from np6_source.sandbox import Sandbox

ALL = "actions_events"
TMake = Callable[..., Any]

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("value", pa.string()),
    ]
)


def written(folder: Path, name: str, *rows: tuple[str, int, str | None]) -> str:
    columns = list(zip(*rows, strict=True)) or [[], [], []]
    path = folder / f"it's {name}.parquet"
    pq.write_table(pa.table([list(column) for column in columns], schema=SCHEMA), path)
    return str(path)


def rows_of(files: list[str]) -> list[tuple[str, str | None]]:
    return sorted(
        (row["id"], row["value"]) for file in files for row in pq.read_table(file).to_pylist()
    )


class TestEachKeyOnce:
    def test_the_row_that_comes_first_in_order_stays(self, tmp_path: Path) -> None:
        files = [
            written(tmp_path, "1", ("a", 1, "old"), ("b", 1, "only"), ("a", 2, "middle")),
            written(tmp_path, "2", ("a", 3, "new"), ("c", 1, None)),
        ]
        kept = each_key_once(files, ["id"], "at desc", tmp_path)
        assert rows_of(kept) == [("a", "new"), ("b", "only"), ("c", None)]
        assert [pq.read_schema(file) for file in kept] == [SCHEMA, SCHEMA]

    def test_files_without_repetition_stay_as_they_are(self, tmp_path: Path) -> None:
        files = [written(tmp_path, "1", ("a", 1, "")), written(tmp_path, "2")]
        assert each_key_once(files, ["id"], "at desc", tmp_path) == files

    def test_of_rows_of_one_moment_one_stays(self, tmp_path: Path) -> None:
        files = [written(tmp_path, "1", *[("a", 1, "x")] * 120_000, ("b", 1, "y"))]
        assert rows_of(each_key_once(files, ["id"], "at desc", tmp_path)) == [
            ("a", "x"),
            ("b", "y"),
        ]


class TestDestination:
    @pytest.fixture
    def sandbox(self, serve: TMake, event: TMake, at: Callable[[str], int]) -> Sandbox:
        sandbox: Sandbox = serve([event(1, at("03-01"))], now=at("03-02"))
        return sandbox

    def pipeline(self, folder: Path, destination: Any) -> dlt.Pipeline:
        return dlt.pipeline(
            "np6_test",
            destination=destination,
            dataset_name="np6",
            pipelines_dir=str(folder / "pipelines"),
        )

    @pytest.mark.parametrize("table_format", ["delta", "iceberg"])
    def test_dlt_s_own_is_refused_where_it_would_repeat_events(
        self, tmp_path: Path, sandbox: Sandbox, source_of: TMake, table_format: str
    ) -> None:
        own = dlt.destinations.filesystem(f"file://{tmp_path}/lake")
        with pytest.raises(PipelineStepFailed, match=r"destination='np6_source\.lake\.filesystem'"):
            self.pipeline(tmp_path, own).run(source_of(sandbox, ALL, table_format=table_format))
        assert sandbox.requests == []
        assert not (tmp_path / "lake" / "np6" / "events").exists()

    @pytest.mark.parametrize("destination", [dlt.destinations.filesystem, filesystem])
    def test_plain_files_are_loaded_with_one_warning(
        self,
        tmp_path: Path,
        sandbox: Sandbox,
        source_of: TMake,
        caplog: pytest.LogCaptureFixture,
        destination: Any,
    ) -> None:
        with caplog.at_level(logging.WARNING, "np6_source"):
            self.pipeline(tmp_path, destination(f"file://{tmp_path}/lake")).run(source_of(sandbox))
        warnings = [r.getMessage() for r in caplog.records if r.name.startswith("np6_source")]
        assert len([text for text in warnings if "np6_source.deduplication" in text]) == 1

    def test_its_name_is_enough_for_dlt(self, tmp_path: Path) -> None:
        pipeline = self.pipeline(tmp_path, "np6_source.lake.filesystem")
        assert isinstance(pipeline.destination, filesystem)
        assert pipeline.destination.destination_name == "filesystem"


@pytest.mark.destinations
class TestWhatIcebergRemembers:
    """Metadata and files that no reader needs any more go."""

    RUNS = 12

    def test_it_does_not_grow_with_the_number_of_loads(
        self,
        tmp_path: Path,
        serve: Any,
        event: Any,
        at: Any,
        source_of: TMake,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from pyiceberg.table import StaticTable

        monkeypatch.setattr(maintenance, "SNAPSHOTS_KEPT", 3)
        monkeypatch.setattr(maintenance, "KEPT_FOR", timedelta(0))
        kept_small = maintenance.ICEBERG_KEPT_SMALL
        monkeypatch.setitem(kept_small, "write.metadata.previous-versions-max", "3")
        sandbox = serve((event(n, at("03-01") + n) for n in range(20)), now=at("03-05"))
        span = {"start": at("03-01"), "end": at("03-02"), "table_format": "iceberg"}
        sizes = []
        for run in range(self.RUNS):
            pipeline = dlt.pipeline(
                f"np6_{run}",
                destination=filesystem(f"file://{tmp_path}/lake"),
                dataset_name="np6",
                pipelines_dir=str(tmp_path / "pipelines"),
            )
            pipeline.run(source_of(sandbox, ALL, **span))
            files = [f for f in (tmp_path / "lake/np6/events").rglob("*") if f.is_file()]
            sizes.append(len(files))
        versions = [f for f in files if f.name.endswith(".metadata.json")]
        assert len(versions) <= 1 + 3
        # Until then there are too few snapshots for any to go.
        assert max(sizes[8:]) <= max(sizes[4:8])
        newest = max(versions, key=lambda file: file.name)
        rows = StaticTable.from_metadata(str(newest)).scan().to_arrow()
        assert sorted(rows["id"].to_pylist()) == [f"event-{n:05d}" for n in range(20)]

    def test_columns_that_a_load_does_not_have_keep_their_values(self, tmp_path: Path) -> None:
        from pyiceberg.catalog.memory import InMemoryCatalog

        catalog = InMemoryCatalog("lake", warehouse=f"file://{tmp_path}/warehouse")
        catalog.create_namespace("np6")
        moment = datetime(2024, 3, 1, tzinfo=timezone.utc)
        there = pa.table(
            {"id": ["a", "b"], "requested_at": [moment, moment], "later": ["one", "two"]}
        )
        table = catalog.create_table("np6.events", there.schema)
        table.append(there)
        file = tmp_path / "rows.parquet"
        newer = moment + timedelta(minutes=1)
        pq.write_table(pa.table({"id": ["b", "c"], "requested_at": [newer, newer]}), file)
        iceberg.replace_rows(table, [str(file)], Merge(["id"], None, "requested_at"))
        rows = catalog.load_table("np6.events").scan().to_arrow().sort_by("id").to_pylist()
        assert [(row["id"], row["requested_at"], row["later"]) for row in rows] == [
            ("a", moment, "one"),
            ("b", newer, "two"),
            ("c", newer, None),
        ]

    def test_rows_that_were_merged_into_an_older_version_are_refused(self, tmp_path: Path) -> None:
        from pyiceberg.catalog.memory import InMemoryCatalog
        from pyiceberg.exceptions import CommitFailedException

        catalog = InMemoryCatalog("lake", warehouse=f"file://{tmp_path}/warehouse")
        catalog.create_namespace("np6")
        moment = datetime(2024, 3, 1, tzinfo=timezone.utc)
        rows = pa.table({"id": ["a", "b"], "requested_at": [moment, moment]})
        catalog.create_table(
            "np6.events",
            rows.schema,
            properties={
                # The weakest: pyiceberg itself would put the rows beside the others.
                "write.delete.isolation-level": "snapshot",
            },
        )
        file = tmp_path / "rows.parquet"
        pq.write_table(rows, file)
        one, other = (catalog.load_table("np6.events") for _ in range(2))
        iceberg.replace_rows(one, [str(file)], Merge(["id"], None, "requested_at"))
        with pytest.raises(CommitFailedException):
            iceberg.replace_rows(other, [str(file)], Merge(["id"], None, "requested_at"))
        assert catalog.load_table("np6.events").scan().to_arrow().num_rows == 2
