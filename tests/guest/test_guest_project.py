"""What a dlt project does with a pipeline: reads it, names it, watches it, keeps its schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.common.destination.exceptions import DestinationIncompatibleLoaderFileFormatException

from np6_source.ledger import coverage, missing
from np6_source.loading import load
from np6_source.sandbox import Sandbox, sample_account
from np6_source.schema import TABLES
from np6_source.windows import Window
from tests.guest.conftest import ALL, EVERY_ID, HOUR, TAt, TMake, keys_twice, refusal

SAMPLES = {"start": "2021-02-23", "end": "2021-06-15", "window": 86_400 * 365}
MIXTURES = (ALL, "actions_reactivities")


@pytest.fixture
def samples(warehouse: Any, serve: TMake, source_of: TMake) -> dlt.Pipeline:
    pipeline: dlt.Pipeline = warehouse.run(source_of(serve(sample_account()), *MIXTURES, **SAMPLES))
    return pipeline


class TestDataset:
    """``pipeline.dataset()``, without ibis."""

    def test_tables_are_read(self, samples: dlt.Pipeline) -> None:
        dataset = samples.dataset()
        assert {table.name for table in TABLES} <= set(dataset.tables)
        assert len(dataset.events.fetchall()) == 9
        assert len(dataset["events"].select("id", "type").limit(3).fetchall()) == 3
        assert dict(dataset.row_counts().fetchall())["events"] == 9

    def test_children_join_their_events(self, samples: dlt.Pipeline) -> None:
        rows = samples.dataset()(
            "SELECT e.id, h.link_type FROM events AS e JOIN events__hits AS h ON h.event_id = e.id"
        ).fetchall()
        assert rows
        assert all(link for _, link in rows)

    def test_references_are_followed(self, samples: dlt.Pipeline) -> None:
        dataset = samples.dataset()
        joined = dataset.events__hits.join("events").fetchall()
        assert len(joined) == len(dataset.events__hits.fetchall()) > 0


@pytest.mark.parametrize(
    "naming", ["direct", "sql_cs_v1", "sql_ci_v1", "duck_case", "tests.guest.shouting"]
)
def test_under_another_naming_convention(
    warehouse: Any,
    serve: TMake,
    event: TMake,
    source_of: TMake,
    at: TAt,
    monkeypatch: pytest.MonkeyPatch,
    naming: str,
) -> None:
    monkeypatch.setenv("SCHEMA__NAMING", naming)
    sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(48)), now=at("03-02"))
    warehouse.run(source_of(sandbox, ALL))
    sandbox.now = at("03-03")
    report = load(warehouse.pipeline, lambda: source_of(sandbox, ALL, on_error="keep"))
    assert warehouse.query("SELECT count(*), count(DISTINCT id) FROM np6.events") == [(48, 48)]
    assert report.cursors[ALL] > at("03-02T23:00")
    assert sum(report.rows.values()) > 0
    assert missing(Window(at("03-01"), at("03-02T23:00")), coverage(warehouse.pipeline)) == []


class TestLoaderFileFormat:
    """``run(loader_file_format=...)``."""

    @pytest.mark.parametrize("file_format", ["parquet", "insert_values"])
    def test_what_keeps_the_values_loads(
        self, new_warehouse: TMake, serve: TMake, source_of: TMake, file_format: Any
    ) -> None:
        sandbox = serve(sample_account())
        contents = []
        for options in ({}, {"loader_file_format": file_format}):
            place = new_warehouse(f"w{len(contents)}")
            place.run(source_of(sandbox, *MIXTURES, **SAMPLES), **options)
            contents.append(place.contents())
        assert contents[0] == contents[1]
        assert keys_twice(contents[1]["events"], "id") == []

    @pytest.mark.parametrize("file_format", ["jsonl", "model"])
    def test_what_spoils_them_is_refused(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake, file_format: Any
    ) -> None:
        message = refusal(
            lambda: warehouse.run(source_of(sandbox, ALL), loader_file_format=file_format)
        )
        assert f"loader_file_format={file_format!r} cannot be used with duckdb" in message
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == EVERY_ID

    def test_what_the_destination_does_not_take_is_refused_by_dlt(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        with pytest.raises(DestinationIncompatibleLoaderFileFormatException):
            warehouse.run(source_of(sandbox, ALL), loader_file_format="csv")
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == EVERY_ID


def test_schemas_are_exported_and_imported(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt, tmp_path: Path
) -> None:
    def run(now: str) -> dlt.Pipeline:
        sandbox.now = at(now)
        pipeline = dlt.pipeline(
            warehouse.name,
            destination=dlt.destinations.duckdb(str(warehouse.database)),
            dataset_name="np6",
            pipelines_dir=str(warehouse.pipelines_dir),
            import_schema_path=str(tmp_path / "import"),
            export_schema_path=str(tmp_path / "export"),
        )
        pipeline.run(source_of(sandbox, ALL))
        return pipeline

    run("03-02")
    exported = tmp_path / "export" / "np6.schema.yaml"
    assert "events__hits:" in exported.read_text()
    imported = tmp_path / "import" / "np6.schema.yaml"
    text = imported.read_text() if imported.exists() else exported.read_text()
    imported.parent.mkdir(exist_ok=True)
    imported.write_text(text.replace("tables:\n", "tables:\n  notes:\n    columns: {}\n", 1))
    pipeline = run("03-03")
    assert "notes" in pipeline.default_schema.tables
    assert warehouse.ids() == EVERY_ID


@pytest.mark.parametrize("progress", ["log", dlt.progress.log(0.01)])
def test_progress_is_shown(
    warehouse: Any,
    sandbox: Sandbox,
    source_of: TMake,
    progress: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = dlt.pipeline(
        "np6_watched",
        destination=dlt.destinations.duckdb(str(warehouse.database)),
        dataset_name="np6",
        pipelines_dir=str(warehouse.pipelines_dir),
        progress=progress,
    )
    pipeline.run(source_of(sandbox, ALL))
    assert "events" in "".join(capsys.readouterr())
    assert warehouse.ids() == EVERY_ID


def test_an_attached_pipeline_goes_on(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
) -> None:
    sandbox.now = at("03-02")
    warehouse.run(source_of(sandbox, ALL))
    sandbox.now = at("03-03")
    pipeline = dlt.attach(
        warehouse.name,
        pipelines_dir=str(warehouse.pipelines_dir),
        destination=dlt.destinations.duckdb(str(warehouse.database)),
    )
    sandbox.requests.clear()
    pipeline.run(source_of(sandbox, ALL))
    assert warehouse.ids() == EVERY_ID
    assert min(request.query["start"] for request in sandbox.requests) > "2024-03-01T23:00:00Z"


def test_the_source_s_state_is_readable_and_the_host_s_own_stays(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    source = source_of(sandbox, ALL)

    def remember(table: Any) -> Any:
        dlt.current.source_state()["of the host"] = "kept"
        return table

    source.resources[ALL].add_map(remember)
    warehouse.run(source)
    for _ in range(2):
        warehouse.run(source_of(sandbox, ALL))
        with warehouse.pipeline.managed_state():
            state = source_of(sandbox, ALL).state
            assert state["of the host"] == "kept"
            assert set(state["resources"][ALL]) == {"incremental", "places", "witness"}


def test_a_resource_can_be_deselected(warehouse: Any, sandbox: Sandbox, source_of: TMake) -> None:
    source = source_of(sandbox)
    source.actions_reactivities.selected = False
    source.resources["display_events_activations"].selected = True
    warehouse.run(source)
    assert {row["resource"] for row in warehouse.rows("load_windows")} == {
        ALL,
        "display_events_activations",
    }


def test_a_single_resource_can_be_run(warehouse: Any, sandbox: Sandbox, source_of: TMake) -> None:
    warehouse.run(source_of(sandbox).actions_events)
    warehouse.run(source_of(sandbox, ALL))
    assert warehouse.ids() == EVERY_ID


def test_rows_can_be_looked_at_without_loading_them(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    pipeline = warehouse.pipeline
    tables = list(source_of(sandbox, ALL))
    assert sum(table.num_rows for table in tables if "unmapped" in table.column_names) == 48
    assert pipeline.state.get("sources", {}) == {}


def test_dev_mode_starts_anew_in_a_dataset_of_its_own(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    for _ in range(2):
        pipeline = dlt.pipeline(
            "np6_dev",
            destination=dlt.destinations.duckdb(str(warehouse.database)),
            dataset_name="np6",
            pipelines_dir=str(warehouse.pipelines_dir),
            dev_mode=True,
        )
        sandbox.requests.clear()
        pipeline.run(source_of(sandbox, ALL))
        assert pipeline.dataset_name.startswith("np6_2")
        assert min(request.query["start"] for request in sandbox.requests) == "2024-03-01T00:00:00Z"
        with pipeline.sql_client() as client:
            assert client.execute_sql("SELECT count(*) FROM events") == [(48,)]


def test_a_resource_of_the_host_s_can_be_made_of_the_tables(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    @dlt.resource(write_disposition="replace")
    def recipients() -> Any:
        for table in source_of(sandbox).resources[ALL]:
            if "recipient" in table.column_names:
                yield [{"recipient": value} for value in set(table["recipient"].to_pylist())]

    warehouse.run(recipients())
    assert warehouse.query("SELECT count(DISTINCT recipient) FROM np6.recipients") == [(7,)]


def test_a_dataset_with_the_name_of_its_file_is_refused(
    sandbox: Sandbox, source_of: TMake, tmp_path: Path
) -> None:
    pipeline = dlt.pipeline(
        "np6",
        destination=dlt.destinations.duckdb(str(tmp_path / "np6.duckdb")),
        dataset_name="np6",
        pipelines_dir=str(tmp_path),
    )
    message = refusal(lambda: pipeline.run(source_of(sandbox, ALL)))
    assert "file np6.duckdb and the dataset 'np6' need different names" in message
