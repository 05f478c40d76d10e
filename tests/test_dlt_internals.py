"""What dlt does not promise: an upgrade of dlt is a review of the module and a run of these."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dlt
import pytest
import tomlkit
from dlt.common.configuration.container import Container
from dlt.common.configuration.resolve import inject_section
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.destination.client import HasFollowupJobs
from dlt.common.pipeline import PipelineContext
from dlt.common.runtime import signals
from dlt.common.storages.load_package import ParsedLoadJobFileName
from dlt.common.storages.schema_storage import SchemaStorage
from dlt.destinations.impl.postgres.configuration import PostgresClientConfiguration
from dlt.extract import DltResource
from dlt.load.configuration import LoaderConfiguration
from dlt.pipeline.exceptions import PipelineStepFailed
from packaging.requirements import Requirement

from np6_source.__main__ import main
from np6_source.dlt_internals.configuration import (
    DEFAULT_STAGING_LAYOUT,
    STAGING_LAYOUT,
    configured_staging_layout,
    fails_with_its_jobs,
    given_staging_layout,
    where_configured,
    with_database,
    with_staging_layout,
    working_folder,
)
from np6_source.dlt_internals.destinations import (
    configuration_of,
    has_sql,
    resolved_copy,
    what_is_resolved,
)
from np6_source.dlt_internals.jobs import file_of_later_job, has_parquet, sql_job
from np6_source.dlt_internals.packages import (
    Refresh,
    begun_packages,
    current_load_id,
    current_refresh,
    forget_package,
    note_windows,
    pending_packages,
    windows_of_pending,
)
from np6_source.dlt_internals.pipelines import (
    active_pipeline,
    around_load_step,
    before_each_commit,
    do_not_restore,
    has_one_dataset,
    is_stop_requested,
    keeping_rows_out_of_errors,
    read_schemas_once,
    set_around_load_step,
    state_on_disk,
)
from np6_source.dlt_internals.resources import (
    DLTS_OWN_HINTS,
    MERGE_OPTIONS,
    HandedOn,
    captured_by,
    contract_of_table,
    cursor_of,
    extracted_resources,
    has_variant,
    hints_of,
    hints_of_table,
    is_limit_reached,
    last_of_its_windows,
    transformers_of,
)
from np6_source.runs.last_run import resource_metrics
from tests.support import ROOT, CommandLine, Warehouse


def test_dlt_is_admitted_up_to_the_minor_release_that_is_tested() -> None:
    project = tomlkit.parse((ROOT / "pyproject.toml").read_text("utf-8")).unwrap()["project"]
    (admitted,) = (
        found.specifier
        for found in map(Requirement, project["dependencies"])
        if found.name == "dlt"
    )
    (tested,) = re.findall(
        r"^dlt==(\d+)\.(\d+)\.\d+$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE
    )
    major, minor = map(int, tested)
    assert admitted.contains(f"{major}.{minor}.99")
    assert not admitted.contains(f"{major}.{minor + 1}.0")


class TestWhereConfigured:
    def test_a_value_is_found_under_its_sections_only(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__SOME_FIELD", " a value ")
        found = where_configured("some_field", "a value", "sources", "np6")
        assert found == "the environment variable SOURCES__NP6__SOME_FIELD"
        assert where_configured("some_field", "a value", "sources") is None
        assert where_configured("some_field", "a value") is None
        assert where_configured("some_field", "another", "sources", "np6") is None

    def test_a_value_of_the_active_pipeline_alone_is_found(
        self, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert warehouse.pipeline.pipeline_name == "np6_test"
        monkeypatch.setenv("NP6_TEST__SOURCES__NP6__SOME_FIELD", "a value")
        found = where_configured("some_field", "a value", "sources", "np6")
        assert found == "the environment variable NP6_TEST__SOURCES__NP6__SOME_FIELD"


def test_a_signal_that_dlt_has_received_is_seen() -> None:
    assert not is_stop_requested()
    with signals.intercepted_signals():
        signal.raise_signal(signal.SIGTERM)
        assert is_stop_requested()
    assert not is_stop_requested()


def test_a_package_is_pending_from_its_extraction_to_its_load(warehouse: Warehouse) -> None:
    pipeline = warehouse.pipeline
    folder = Path(pipeline.working_dir)
    assert pending_packages(folder / "nowhere") == pending_packages(folder) == []
    pipeline.extract([{"id": 1}], table_name="somebody_elses")
    extracted = pending_packages(folder)
    assert extracted == pipeline.list_extracted_load_packages() != []
    pipeline.normalize()
    assert pending_packages(folder) == pipeline.list_normalized_load_packages() == extracted
    pipeline.load()
    assert pending_packages(folder) == []


def test_the_state_is_read_from_the_folder(
    warehouse: Warehouse, serve: Any, source_of: Any, event: Any, at: Any
) -> None:
    folder = warehouse.pipelines_dir / warehouse.name
    assert state_on_disk(folder) == {}
    sandbox = serve([event(1, at("03-01T10:00"))], now=at("03-02"))
    pipeline = warehouse.run(source_of(sandbox, "actions_events"))
    assert state_on_disk(folder)["sources"] == pipeline.state["sources"]


@pytest.mark.parametrize("opened_by", ["a run of dlt's", "a command"])
def test_a_schema_that_was_half_written_by_a_killed_process_is_none(
    warehouse: Warehouse,
    serve: Any,
    source_of: Any,
    event: Any,
    at: Any,
    command_line: CommandLine,
    opened_by: str,
) -> None:
    """dlt renames the file only when it is whole; of no name of such a file it may hear."""
    sandbox = serve([event(1, at("03-01T10:00"))], now=at("03-02"))
    warehouse.run(source_of(sandbox, "actions_events"))
    schemas = warehouse.pipelines_dir / warehouse.name / "schemas"
    (schemas / "afd14feb399c9a11").write_text('{"version')

    if opened_by == "a command":
        assert main(["status", "--fail-on", "never", *command_line.where(warehouse)]) == 0
        assert state_on_disk(schemas.parent)["schema_names"] == ["np6"]
    warehouse.run(source_of(sandbox, "actions_events"))

    assert warehouse.pipeline.schema_names == ["np6"]
    assert {file.name for file in schemas.iterdir()} == {"np6.schema.json", "afd14feb399c9a11"}


def test_what_a_resource_was_made_of_survives_its_copies(raw_server: Any, source_of: Any) -> None:
    source = source_of(raw_server(), "actions_events", "actions")
    assert {"endpoint", "scope_ids", "session"} <= set(
        captured_by(source.resources["actions_events"])
    )
    assert {"dimension", "scope_ids", "session"} <= set(captured_by(source.resources["actions"]))


class TestDestinations:
    def test_the_configuration_is_the_one_of_the_pipelines_clients(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A value for one pipeline goes before that for all, whichever pipeline was made last."""
        monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "all.duckdb"))
        own = str(tmp_path / "own.duckdb")
        monkeypatch.setenv("ONE__DESTINATION__DUCKDB__CREDENTIALS", own)
        one, _other = (
            dlt.pipeline(name, destination="duckdb", pipelines_dir=str(tmp_path))
            for name in ("one", "other")
        )

        assert configuration_of(one).credentials.database == own
        client: Any = one.destination_client()
        assert client.config.credentials.database == own

    def test_databases_are_told_from_files(self) -> None:
        assert has_sql(dlt.destinations.duckdb())
        assert not has_sql(dlt.destinations.filesystem("file:///nowhere"))

    @pytest.mark.parametrize("pipeline_name", [None, "one"])
    def test_what_a_resolution_depends_on_tells_two_apart(
        self, tmp_path: Path, pipeline_name: str | None
    ) -> None:
        def of(destination: Any, dataset: str, partial: bool = False) -> object:
            initial = destination.spec()
            initial.dataset_name = dataset
            return what_is_resolved(destination, initial, partial)

        file = dlt.destinations.duckdb(str(tmp_path / "a.duckdb"))
        with inject_section(ConfigSectionContext(pipeline_name=pipeline_name)):
            assert of(file, "one") == of(file, "one")
            different = [
                of(file, "one"),
                of(file, "another"),
                of(file, "one", True),
                of(with_staging_layout(file, "%s_mine"), "one"),
                of(with_database(file, str(tmp_path / "b.duckdb")), "one"),
            ]
        different.append(of(file, "one") if pipeline_name else None)
        assert len(set(different)) == len(different)

    def test_copies_of_a_configuration_share_no_connection(self, tmp_path: Path) -> None:
        file = str(tmp_path / "a.duckdb")
        pipeline = dlt.pipeline(
            "copies", destination=dlt.destinations.duckdb(file), pipelines_dir=str(tmp_path)
        )
        known = configuration_of(pipeline)
        one, other = resolved_copy(known), resolved_copy(known)
        assert one == other == known
        assert one.credentials.database == file
        pools = {id(config.credentials.conn_pool) for config in (known, one, other)}
        assert len(pools) == 3


class TestResources:
    @pytest.fixture
    def rows(self) -> DltResource:
        resource: DltResource = dlt.resource(
            [[{"id": 1}], [{"id": 2}], [{"id": 3}]], name="rows", primary_key="id"
        )
        return resource

    def test_its_hints_are_known_and_those_of_a_table_by_its_variant(
        self, rows: DltResource
    ) -> None:
        rows.apply_hints(
            table_name="other",
            create_table_variant=True,
            columns={"extra": {"data_type": "text"}},
            additional_table_hints={"x-of-an-adapter": 1},
        )
        rows.apply_hints(table_name="strict", create_table_variant=True, schema_contract="freeze")
        whole, other = hints_of(rows), hints_of_table(rows, "other")
        assert whole is not None
        assert whole["columns"]["id"]["primary_key"]
        assert has_variant(rows, "other")
        assert not has_variant(rows, "not_declared")
        assert contract_of_table(rows, "strict") == "freeze"
        assert contract_of_table(rows, "not_declared") is None
        assert other["columns"]["extra"]["data_type"] == "text"
        assert other["x-of-an-adapter"] == 1

    def test_hints_by_a_function_of_the_row_are_told_apart(self, rows: DltResource) -> None:
        rows.apply_hints(table_name=lambda row: str(row["id"]))
        assert hints_of(rows) is None

    def test_every_hint_of_dlts_own_that_looks_like_an_adapters_is_known(
        self, rows: DltResource
    ) -> None:
        options = {"strategy": "delete-insert", "destination_scope": "id > 1"}
        assert set(options) <= set(MERGE_OPTIONS)
        rows.apply_hints(write_disposition={"disposition": "merge", **options})
        hints = hints_of(rows)
        assert hints is not None
        found = {name for name in hints if name.startswith("x-")}
        assert {MERGE_OPTIONS[option] for option in options} <= found <= DLTS_OWN_HINTS

    @pytest.mark.parametrize(("limit", "passed"), [(0, []), (2, [1, 2]), (9, [1, 2, 3])])
    def test_a_batch_tells_when_it_has_passed_the_limit_and_not_before(
        self, warehouse: Warehouse, limit: int, passed: list[int]
    ) -> None:
        told: list[int] = []

        @dlt.resource(name="rows")
        def read() -> Iterator[Any]:
            for number in (1, 2, 3):
                yield last_of_its_windows([{"id": number}], "rows", partial(told.append, number))

        pipeline = warehouse.pipeline
        pipeline.extract(read().add_step(HandedOn()).add_limit(limit))
        assert told == passed

    def test_a_limit_is_seen_when_the_generator_is_closed(self, warehouse: Warehouse) -> None:
        seen: list[bool] = []

        @dlt.resource(name="rows")
        def read() -> Iterator[Any]:
            resource = dlt.current.resource()
            try:
                for number in (1, 2, 3):
                    yield {"id": number}
            finally:
                seen.append(is_limit_reached(resource))

        warehouse.run(read().add_limit(2))
        warehouse.run(read())
        assert seen == [True, False]

    def test_transformers_of_a_resource_are_seen_while_it_is_extracted(
        self, warehouse: Warehouse
    ) -> None:
        seen: list[Any] = []

        @dlt.source(name="seeing")
        def source() -> Any:
            @dlt.resource(name="rows", selected=False)
            def read() -> Iterator[Any]:
                seen.append((transformers_of("rows"), extracted_resources()))
                yield {"id": 1}

            return read, dlt.transformer(lambda row: row, name="made_of_rows", data_from=read)

        warehouse.run(source())
        assert seen == [(["made_of_rows"], {"rows", "made_of_rows"})]

    def test_the_incremental_of_a_parameter_is_found_before_the_resource_starts(self) -> None:
        cursor = dlt.sources.incremental[int]("id", initial_value=5)

        @dlt.resource(name="rows")
        def read(after: dlt.sources.incremental[int] = cursor) -> Iterator[Any]:
            yield {"id": after.start_value}

        found = cursor_of(read)
        assert found is not None
        assert found.initial_value == 5
        assert cursor_of(dlt.resource([{"id": 1}], name="none")) is None


class TestPackages:
    def test_it_has_an_id_only_while_it_is_made(self, warehouse: Warehouse) -> None:
        seen: list[str | None] = []

        @dlt.resource(name="rows")
        def read() -> Iterator[Any]:
            seen.append(current_load_id())
            yield {"id": 1}

        assert list(read()) == [{"id": 1}]
        pipeline = warehouse.run(read())
        assert seen == [None, pipeline.last_trace.last_load_info.loads_ids[0]]

    @pytest.mark.parametrize("mode", ["drop_sources", "drop_resources", "drop_data"])
    def test_what_a_refresh_takes_away_is_known(self, warehouse: Warehouse, mode: Any) -> None:
        seen: list[Refresh] = []

        @dlt.resource(name="rows")
        def read() -> Iterator[Any]:
            seen.append(current_refresh())
            yield {"id": 1}

        assert list(read()) == [{"id": 1}]
        warehouse.run(read())
        warehouse.run(read(), refresh=mode)
        nothing = Refresh(None, frozenset())
        assert seen == [nothing, nothing, Refresh(mode, frozenset({"rows"}))]

    def test_what_was_noted_of_it_is_known_until_it_is_loaded(self, warehouse: Warehouse) -> None:
        windows = [("actions_events", "", 1, 2)]

        @dlt.resource(name="rows")
        def read() -> Iterator[Any]:
            note_windows(windows)
            yield {"id": 1}

        pipeline = warehouse.pipeline
        assert windows_of_pending(pipeline) == {}
        pipeline.extract(read())
        assert list(windows_of_pending(pipeline).values()) == [windows]
        pipeline.normalize()
        assert list(windows_of_pending(pipeline).values()) == [windows]
        assert begun_packages(pipeline) == []
        info = pipeline.load()
        assert windows_of_pending(pipeline) == {}
        folder = Path(info.load_packages[0].package_path)
        assert folder.is_dir()
        forget_package(pipeline, info.loads_ids[0])
        assert not folder.exists()

    def test_a_package_of_which_a_job_began_is_told_apart(self, warehouse: Warehouse) -> None:
        pipeline = warehouse.pipeline
        pipeline.extract([{"id": 1}], table_name="rows")
        pipeline.normalize()
        (load_id,) = pipeline.list_normalized_load_packages()
        assert begun_packages(pipeline) == []
        packages = pipeline._get_load_storage().normalized_packages
        packages.start_job(load_id, Path(packages.list_new_jobs(load_id)[0]).name)
        assert begun_packages(pipeline) == [load_id]


def test_one_dataset_for_all_sources_is_dlts_default(warehouse: Warehouse) -> None:
    pipeline = warehouse.pipeline
    assert has_one_dataset(pipeline)
    pipeline.config.use_single_dataset = False
    assert not has_one_dataset(pipeline)


def test_failed_jobs_fail_their_package_unless_configured_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert fails_with_its_jobs() == LoaderConfiguration.raise_on_failed_jobs
    monkeypatch.setenv("LOAD__RAISE_ON_FAILED_JOBS", "false")
    assert not fails_with_its_jobs()


def test_a_staging_dataset_gets_another_name_on_a_copy_of_the_destination() -> None:
    destination = dlt.destinations.postgres("postgresql://nobody@127.0.0.1/none")
    own = with_staging_layout(destination, "%s_mine")
    assert given_staging_layout(destination) is None
    assert given_staging_layout(own) == "%s_mine"
    assert configured_staging_layout(destination) == DEFAULT_STAGING_LAYOUT
    default = PostgresClientConfiguration.staging_dataset_name_layout
    assert default == DEFAULT_STAGING_LAYOUT
    without = dlt.destinations.dummy()
    assert STAGING_LAYOUT not in without.spec.get_resolvable_fields()
    assert with_staging_layout(without, "%s_mine") is without


def test_a_context_is_around_the_load_step_of_a_run_and_can_be_exchanged(
    warehouse: Warehouse,
) -> None:
    said: list[str] = []

    def saying(name: str) -> Any:
        @contextmanager
        def around(pipeline: dlt.Pipeline) -> Iterator[None]:
            said.append(f"{name} before")
            yield
            said.append(f"{name} after")

        return around

    pipeline = warehouse.pipeline
    assert around_load_step(pipeline) is None
    set_around_load_step(pipeline, saying("first"))
    second = saying("second")
    set_around_load_step(pipeline, second)
    assert around_load_step(pipeline) is second
    pipeline.run([{"id": 1}], table_name="rows")
    assert said == ["second before", "second after"]


def test_the_metrics_of_resources_outlive_the_cleaning_of_a_failed_load(
    warehouse: Warehouse,
) -> None:
    @dlt.resource
    def rows() -> Iterator[dict[str, int]]:
        dlt.current.resource_metrics()["failures"] = [{"message": "Key (id)=(1)"}]
        yield {"id": 1}

    pipeline = warehouse.pipeline
    pipeline.extract(rows())
    pipeline.normalize()
    warehouse.execute("CREATE SCHEMA np6; CREATE TABLE np6._dlt_loads (load_id DATE)")
    with pytest.raises(PipelineStepFailed), keeping_rows_out_of_errors(pipeline):
        pipeline.load()
    found = dict(resource_metrics(pipeline))
    assert found["rows"] == {"failures": [{"message": "Key (id)=(...)"}]}


def test_each_merge_is_checked_before_its_commit(warehouse: Warehouse) -> None:
    resource = dlt.resource([{"id": 1}], name="rows", primary_key="id", write_disposition="merge")
    warehouse.run(resource)
    checks: list[str] = []

    def lost() -> None:
        checks.append("checked")
        raise RuntimeError("the lock is lost")

    pipeline = warehouse.pipeline
    changed = dlt.resource(
        [{"id": 1, "new": 2}], name="rows", primary_key="id", write_disposition="merge"
    )
    pipeline.extract(changed)
    pipeline.normalize()
    with before_each_commit(pipeline, lost), pytest.raises(PipelineStepFailed, match="lock"):
        pipeline.load()
    assert checks
    assert "client" not in vars(pipeline.destination)


def test_a_pipeline_that_is_not_restored_writes_no_state(warehouse: Warehouse) -> None:
    pipeline = warehouse.pipeline
    do_not_restore(pipeline)
    pipeline.run([{"id": 1}], table_name="rows")
    tables = warehouse.query("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'np6'")
    assert ("rows",) in tables
    assert ("_dlt_pipeline_state",) not in tables


def test_jobs_of_our_own_are_files_as_dlt_reads_them(tmp_path: Path) -> None:
    job = sql_job("events", ["DELETE FROM a", "INSERT INTO a SELECT 1"])
    file = Path(job.new_file_path())
    parsed = ParsedLoadJobFileName.parse(file.name)
    assert (parsed.table_name, parsed.file_format) == ("events", "sql")
    assert file.read_text() == "DELETE FROM a;\nINSERT INTO a SELECT 1"
    assert has_parquet(str(tmp_path / "events.abc.0.parquet"))
    assert not has_parquet(str(tmp_path / "events.abc.0.insert_values"))
    later = file_of_later_job(str(tmp_path / "events.abc.0.parquet"))
    assert later.state() == "completed"
    assert isinstance(later, HasFollowupJobs)


def test_a_schema_is_read_again_only_where_its_file_has_changed(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.pipeline.run([{"a": 1}], table_name="numbers")
    read: list[str] = []
    load_schema = SchemaStorage.load_schema

    def noted(storage: SchemaStorage, name: str) -> Any:
        read.append(name)
        return load_schema(storage, name)

    monkeypatch.setattr(SchemaStorage, "load_schema", noted)
    pipeline = warehouse.pipeline
    read_schemas_once(pipeline)
    read_schemas_once(pipeline)
    read.clear()
    for _ in range(3):
        assert "numbers" in pipeline.default_schema.tables
        pipeline.sql_client()
    assert len(read) <= 1

    warehouse.pipeline.run([{"b": 1}], table_name="letters")

    assert "letters" in pipeline.default_schema.tables
    pipeline.run([{"c": 1}], table_name="signs")
    assert {"numbers", "letters", "signs"} <= set(pipeline.default_schema.tables)
    assert {"numbers", "letters", "signs"} <= set(warehouse.pipeline.default_schema.tables)


def test_the_active_pipeline_is_the_one_that_was_made_last(warehouse: Warehouse) -> None:
    pipeline = warehouse.pipeline
    assert active_pipeline() is pipeline
    Container()[PipelineContext].deactivate()
    assert active_pipeline() is None


def test_a_copy_of_a_duckdb_destination_is_into_another_file(tmp_path: Path) -> None:
    given = dlt.destinations.duckdb(destination_name="warehouse")
    own = with_database(given, str(tmp_path / "events.duckdb"))
    pipeline = dlt.pipeline("np6_own", destination=own, pipelines_dir=str(tmp_path))
    with pipeline.sql_client() as client:
        assert client.credentials.database == str(tmp_path / "events.duckdb")
    assert own.destination_name == "warehouse"
    assert "credentials" not in given.config_params
    connection = dlt.destinations.duckdb(credentials=object())
    assert with_database(connection, "other.duckdb") is connection


@pytest.mark.parametrize("name", [None, "PIPELINES_DIR", "PIPELINES__NAMED__PIPELINES_DIR"])
def test_the_working_folder_is_where_dlt_makes_it(
    name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name is not None:
        monkeypatch.setenv(name, str(tmp_path / "configured"))
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "data"))
    found = working_folder("named")
    assert not found.exists()
    assert found == Path(dlt.pipeline("named", destination="dummy").pipelines_dir)
