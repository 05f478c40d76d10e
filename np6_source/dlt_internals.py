"""What this package uses of dlt that dlt does not promise, each with the version it was read in.

An upgrade of dlt is a review of this file (and of ``lake``) and a run of its tests.
"""

from __future__ import annotations

import copy
import inspect
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.common.configuration import configspec, known_sections, resolve_configuration
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.data_writers.buffered import BufferedDataWriter
from dlt.common.data_writers.writers import ArrowToParquetWriter
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.destination.reference import AnyDestination
from dlt.common.json import json
from dlt.common.metrics import DataWriterMetrics
from dlt.common.pipeline import PipelineContext
from dlt.common.runtime import signals
from dlt.common.schema.typing import MERGE_DISPOSITION_HINTS, TTableSchema
from dlt.common.schema.utils import get_columns_names_with_prop
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable
from dlt.common.storages.load_package import (
    ParsedLoadJobFileName,
    commit_load_package_state,
    load_package_state,
)
from dlt.common.versioned_state import compress_state, decompress_state
from dlt.destinations.job_impl import FinalizedLoadJobWithFollowupJobs, FollowupJobRequestImpl
from dlt.extract import DltResource
from dlt.extract.exceptions import DataItemRequiredForDynamicTableHints
from dlt.extract.extractors import ImportFileMeta
from dlt.extract.incremental import Incremental, IncrementalResourceWrapper
from dlt.extract.items import DataItemWithMeta, TableNameMeta
from dlt.extract.items_transform import MetricsItem
from dlt.normalize.configuration import ItemsNormalizerConfiguration
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.state_sync import generate_pipeline_state_version_hash
from dlt.pipeline.trace import save_trace

from .redaction import without_rows

if TYPE_CHECKING:
    from dlt.common.destination.client import FollowupJobRequest, LoadJob

STAGING_LAYOUT = "staging_dataset_name_layout"
"""Field of a destination's configuration that names its staging dataset (dlt 1.31)."""

DEFAULT_STAGING_LAYOUT = "%s_staging"
"""dlt's own value for it (dlt 1.31): one staging dataset for all pipelines into a dataset."""


def active_pipeline() -> dlt.Pipeline | None:
    """The pipeline that ``dlt.pipeline`` made last, None where there is none.

    ``dlt.current.pipeline()`` makes one, with its folder, where there is none (dlt 1.31).
    """
    context = Container()[PipelineContext]
    pipeline = context.pipeline() if context.is_active() else None
    return pipeline if isinstance(pipeline, dlt.Pipeline) else None


@configspec
class _FailedJobs(BaseConfiguration):
    """The one field of dlt's ``LoaderConfiguration`` that is of interest."""

    raise_on_failed_jobs: bool = True


def fails_with_its_jobs() -> bool:
    """Whether a load package fails when a job of it does, by the configuration in force.

    ``pipeline.load`` resolves it under ``load``, and that of a pipeline's name first (dlt 1.31).
    """
    configured = resolve_configuration(_FailedJobs(), sections=(known_sections.LOAD,))
    return configured.raise_on_failed_jobs


def forget_package(pipeline: dlt.Pipeline, load_id: str) -> None:
    """Removes the files of a loaded package, for which dlt has no public way (dlt 1.31)."""
    pipeline._get_load_storage().delete_loaded_package(load_id)


def begun_packages(pipeline: dlt.Pipeline) -> list[str]:
    """The pending packages of which a job has begun: something of them may be in staging.

    The storages' folders are named as in dlt 1.31.
    """
    storage = pipeline._get_load_storage()
    if not storage.is_storage_ready():
        return []
    packages = storage.normalized_packages
    return [
        load_id
        for load_id in packages.list_packages()
        if packages.list_started_jobs(load_id)
        or packages.get_load_package_jobs(load_id)["completed_jobs"]
    ]


def pending_packages(folder: Path) -> list[str]:
    """The load packages in a pipeline's folder that are extracted and not loaded.

    Read from the names of folders, as dlt 1.31 has them: a pipeline that is opened may write.

    Args:
        folder: The pipeline's own, which need not be there.
    """
    stages = ("normalize/extracted", "load/normalized")
    found = {
        package.name
        for stage in stages
        for package in (folder / stage).glob("*")
        if package.is_dir()
    }
    return sorted(found)


def cursor_of(resource: DltResource) -> Incremental[Any] | None:
    """The incremental of a resource that has not started; None where it has none.

    dlt binds the one that is a parameter's default only when the resource starts (dlt 1.31).
    """
    if resource.incremental is None:
        return None
    if resource.incremental.incremental is not None:
        return resource.incremental.incremental
    generator: Any = resource._pipe.gen
    if not callable(generator):
        return None
    defaults = (parameter.default for parameter in inspect.signature(generator).parameters.values())
    return next((value for value in defaults if isinstance(value, Incremental)), None)


def transformers_of(resource: str) -> list[str]:
    """The selected transformers of a resource, while its source is extracted (dlt 1.31)."""
    edges = dlt.current.source().resources.selected_dag
    return sorted({child for parent, child in edges if parent == resource and child != parent})


def extracted_resources() -> frozenset[str]:
    """The resources that the source being extracted goes through, transformers' too (dlt 1.31)."""
    return frozenset(found.name for found in dlt.current.source().resources.extracted)


def is_limit_reached(resource: DltResource) -> bool:
    """Whether ``add_limit`` has ended a resource; dlt then closes its generator (dlt 1.31)."""
    return resource.limit is not None and resource.limit.exhausted


class _LastOfItsWindows(TableNameMeta):
    """Marks a batch that is the last of its windows."""

    __slots__ = ("handed_on",)

    def __init__(self, table_name: str, handed_on: Callable[[], None]) -> None:
        super().__init__(table_name)
        self.handed_on = handed_on


def last_of_its_windows(rows: Any, table: str, handed_on: Callable[[], None]) -> DataItemWithMeta:
    """A batch that tells when dlt has taken it; ``dlt.mark`` has nothing that does (dlt 1.31).

    Args:
        rows: The batch.
        table: Name of its table.
        handed_on: To be called once ``add_limit`` has let the batch pass, see ``HandedOn``.
    """
    return DataItemWithMeta(_LastOfItsWindows(table, handed_on), rows)


class HandedOn(MetricsItem):
    """The last step of a resource: tells which batches dlt's ``add_limit`` let pass."""

    placement_affinity = 1.2
    """After dlt's limit, which has 1.1 (dlt 1.31)."""

    def __init__(self) -> None:
        super().__init__(self._tell)

    @staticmethod
    def _tell(_items: Any, meta: Any, _metrics: dict[str, Any]) -> None:
        if isinstance(meta, _LastOfItsWindows):
            meta.handed_on()


MERGE_OPTIONS: Mapping[str, str] = MERGE_DISPOSITION_HINTS
"""The hint in a table's schema for each option of a merge disposition (dlt 1.31)."""

DLTS_OWN_HINTS = frozenset({"x-normalizer", *MERGE_OPTIONS.values()})
"""Hints whose names begin with ``x-`` that are no adapter's (dlt 1.31)."""


def hints_of(resource: DltResource) -> dict[str, Any] | None:
    """The resource-wide hints, as a table's schema; None where a function of the row gives them.

    dlt 1.31 raises for those ``DataItemRequiredForDynamicTableHints``.
    """
    try:
        return dict(resource.compute_table_schema())
    except DataItemRequiredForDynamicTableHints:
        return None


def hints_of_table(resource: DltResource, table: str) -> TTableSchema:
    """The hints of one of a resource's tables: its variant's, or the resource-wide ones.

    ``TableNameMeta`` chooses the variant (dlt 1.31).
    """
    return resource.compute_table_schema(meta=TableNameMeta(table))


def is_variant(hints: Mapping[str, Any]) -> bool:
    """Whether ``hints_of_table`` found a variant of the table's own (dlt 1.31)."""
    return "variant_name" in hints


def captured_by(resource: DltResource) -> Mapping[str, Any]:
    """The variables that the function of a resource took from where it was made.

    A resource carries nothing else from there that survives its copies (dlt 1.31).
    """
    generator: Any = resource._pipe.gen
    return (
        inspect.getclosurevars(inspect.unwrap(generator)).nonlocals if callable(generator) else {}
    )


def state_on_disk(working_dir: Path) -> Mapping[str, Any]:
    """A pipeline's state as its folder has it, read without opening the pipeline (dlt 1.31).

    ``dlt.attach`` and ``dlt.pipeline`` make the folder, or wipe it, where it is not whole.
    """
    file = working_dir / "state.json"
    state: Mapping[str, Any] = json.typed_loadb(file.read_bytes()) if file.is_file() else {}
    return state


def configuration_files() -> list[str]:
    """The files of dlt's configuration that are there, of whichever provider (dlt 1.31)."""
    return [
        str(file)
        for provider in Container()[PluggableRunContext].providers.providers
        for file in getattr(provider, "present_locations", ())
    ]


def current_load_id() -> str | None:
    """The load package that is being made; None where a source is read without loading."""
    try:
        return dlt.current.load_package_state()["load_id"]
    except CurrentLoadPackageStateNotAvailable:
        return None


@dataclass(frozen=True)
class Refresh:
    """What the load package that is being made takes away before its rows arrive.

    Attributes:
        mode: The ``refresh`` that was asked for, if one was.
        tables: The tables that are dropped or emptied, by their names in the destination.
    """

    mode: str | None
    tables: frozenset[str]


def current_refresh() -> Refresh:
    """The refresh of the load package that is being made, as its state has it (dlt 1.31).

    ``dropped_tables`` and ``truncated_tables`` hold tables' schemas.
    """
    try:
        state: Any = dlt.current.load_package_state()["state"]
    except CurrentLoadPackageStateNotAvailable:
        return Refresh(None, frozenset())
    tables = (
        table["name"]
        for kind in ("dropped_tables", "truncated_tables")
        for table in state.get(kind, ())
    )
    return Refresh(state.get("refresh"), frozenset(tables))


def note_in_package(key: str) -> None:
    """Sets a mark in the state of the load package that is being loaded, at once (dlt 1.31)."""
    state: Any = load_package_state()["state"]
    if not state.get(key):
        state[key] = True
        commit_load_package_state()


def sql_job(table: str, statements: Iterable[str]) -> FollowupJobRequest:
    """A job of the load package that runs statements once the files before it are done.

    dlt 1.31 reads the statements of a ``.sql`` file one by one, each up to a semicolon at the end
    of a line.

    Args:
        table: Name of the table in the destination.
        statements: SQL, none with a semicolon at its end.
    """
    file = ParsedLoadJobFileName(table, ParsedLoadJobFileName.new_file_id(), 0, "sql")
    job = FollowupJobRequestImpl(file.file_name())
    job._save_text_file(";\n".join(statements))
    return job


def file_of_later_job(file_path: str) -> LoadJob:
    """The job of a file that has nothing to do itself, as a later one reads it (dlt 1.31)."""
    return FinalizedLoadJobWithFollowupJobs.from_file_path(file_path)


def has_parquet(file_path: str) -> bool:
    """Whether a load package's file is Parquet, by its name (dlt 1.31)."""
    return ParsedLoadJobFileName.parse(file_path).file_format == "parquet"


def keys_of(table: Any) -> list[str]:
    """The primary key of a prepared table's schema, by the names in the destination (dlt 1.31)."""
    return get_columns_names_with_prop(table, "primary_key")


WINDOWS = "np6_windows"
"""Key of a load package's state: the windows that the package would prove."""


def note_windows(windows: Sequence[tuple[str, str, int, int]]) -> None:
    """Notes in the load package that is being extracted what it is for.

    A package's state goes with it from step to step (dlt 1.31).

    Args:
        windows: Resource, scope as the ledger stores it, start and end in milliseconds since the
            epoch.
    """
    try:
        state: Any = dlt.current.load_package_state()["state"]
    except CurrentLoadPackageStateNotAvailable:
        return  # Somebody looks at the source's rows without loading them.
    state.setdefault(WINDOWS, []).extend([*window] for window in windows)


def windows_of_pending(
    pipeline: dlt.Pipeline,
) -> dict[str, list[tuple[str, str, int, int]]]:
    """What ``note_windows`` noted in the packages that are extracted and not loaded, by load id."""
    found: dict[str, list[tuple[str, str, int, int]]] = {}
    load, normalize = pipeline._get_load_storage(), pipeline._get_normalize_storage()
    storages = []
    if normalize.is_storage_ready():
        storages.append(normalize.extracted_packages)
    if load.is_storage_ready():
        storages.append(load.normalized_packages)
    for packages in storages:
        for load_id in packages.list_packages():
            state: Any = packages.get_load_package_state(load_id)
            found[load_id] = [
                (resource, scope, start, end)
                for resource, scope, start, end in state.get(WINDOWS, ())
            ]
    return found


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether a destination had no memory for a load package.

    dlt gives the message of the job's error (1.31): "Out of Memory Error" is DuckDB's, "out of
    memory" PostgreSQL's.
    """
    return "out of memory" in str(error).lower()


def has_one_dataset(pipeline: dlt.Pipeline) -> bool:
    """Whether all sources of a pipeline load into the same dataset (dlt 1.31)."""
    return bool(pipeline.config.use_single_dataset)


def do_not_restore(pipeline: dlt.Pipeline) -> None:
    """Makes a pipeline read no state from its destination and write none to it.

    As an argument of ``dlt.pipeline`` it is not heeded (dlt 1.31).
    """
    pipeline.config.restore_from_destination = False


def with_staging_layout(destination: AnyDestination, layout: str) -> AnyDestination:
    """A copy of a destination with a staging dataset of another name.

    Args:
        destination: The destination, which stays as it is.
        layout: The name; ``%s`` is the dataset.

    Returns:
        The copy; the destination itself where it has no staging dataset (dlt 1.31).
    """
    if STAGING_LAYOUT not in destination.spec.get_resolvable_fields():
        return destination
    own = copy.copy(destination)
    own.config_params = {**destination.config_params, STAGING_LAYOUT: layout}
    return own


def given_staging_layout(destination: AnyDestination) -> str | None:
    """The name of a destination's staging dataset as it was given in code; None: it was not."""
    given: str | None = destination.config_params.get(STAGING_LAYOUT)
    return None if given == DEFAULT_STAGING_LAYOUT else given


def configured_staging_layout(destination: AnyDestination) -> str:
    """The same as dlt's configuration has it, in the sections in which dlt looks (dlt 1.31)."""
    for section in (f"destination.{destination.destination_name}", "destination"):
        found = dlt.config.get(f"{section}.{STAGING_LAYOUT}", str)
        if found:
            return found
    return DEFAULT_STAGING_LAYOUT


TAround = Callable[[dlt.Pipeline], AbstractContextManager[None]]


def around_load_step(pipeline: dlt.Pipeline) -> TAround | None:
    """What ``set_around_load_step`` has put around a pipeline's load step."""
    around: TAround | None = getattr(pipeline.load, "np6_around", None)
    return around


def set_around_load_step(pipeline: dlt.Pipeline, around: TAround) -> None:
    """Puts a context around the load step of a pipeline, in place of one put there before.

    dlt has no hook for it: ``pipeline.load`` is replaced on the instance, which ``pipeline.run``
    calls (dlt 1.31).
    """
    load = getattr(pipeline.load, "np6_load", pipeline.load)

    def load_inside(*arguments: Any, **options: Any) -> Any:
        with around(pipeline):
            return load(*arguments, **options)

    load_inside.np6_around = around  # type: ignore[attr-defined]
    load_inside.np6_load = load  # type: ignore[attr-defined]
    pipeline.load = load_inside  # type: ignore[method-assign]


@contextmanager
def before_each_commit(pipeline: dlt.Pipeline, check: Callable[[], None]) -> Iterator[None]:
    """Calls something before each statement and each commit of the pipeline's SQL jobs.

    Loading makes a client per job through ``destination.client`` and merges with ``execute_many``,
    inside ``begin_transaction`` or not (dlt 1.31). What the check raises fails the job.
    """
    destination: Any = pipeline.destination
    make_client = destination.client

    def checked_client(*arguments: Any, **options: Any) -> Any:
        client = make_client(*arguments, **options)
        sql = client.sql_client
        execute_many, commit = sql.execute_many, sql.commit_transaction

        def checked_execute_many(*statements: Any, **more: Any) -> Any:
            check()
            return execute_many(*statements, **more)

        def checked_commit() -> None:
            check()
            commit()

        sql.execute_many, sql.commit_transaction = checked_execute_many, checked_commit
        return client

    destination.client = checked_client
    try:
        yield
    finally:
        del destination.client


def where_configured(field: str, value: str, *sections: str) -> str | None:
    """Where dlt's configuration has a value for a field, in words for a message.

    ``dlt.current.run_context()`` hands out no providers, so that they come from the injection
    container (dlt 1.31).

    Args:
        field: Name of the field.
        value: The value looked for; blanks around it do not count.
        *sections: The sections, exactly: dlt's search in ever shorter ones is not repeated.

    Returns:
        ``the environment variable SOURCES__NP6__API_KEY``, ``sources.np6.api_key in
        .dlt/secrets.toml``; None where no provider has the value there.
    """
    context = Container()[PipelineContext]
    pipeline_name = context.pipeline().pipeline_name if context.is_active() else None
    for provider in Container()[PluggableRunContext].providers.providers:
        if sections and not provider.supports_sections:
            continue
        for name in dict.fromkeys((pipeline_name, "")):
            found, key = provider.get_value(field, str, name, *sections)
            if found is None or str(found).strip() != value.strip():
                continue
            if provider.name == "Environment Variables":
                return f"the environment variable {key}"
            file = provider.get_value_location(field, name, *sections) or provider.name
            return f"{key} in {file}"
    return None


def is_stop_requested() -> bool:
    """Whether dlt has received SIGTERM or Ctrl-C and waits for a good moment to end.

    dlt looks at it between two items of a resource only (dlt 1.31, ``extract.extract``); while a
    resource waits nobody does.
    """
    return signals.was_signal_received()


@contextmanager
def keeping_rows_out_of_errors(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Lets a failed step's error, and dlt's trace of it, quote nothing of rows.

    dlt 1.31 keeps the messages of failed load jobs in the error, in those that caused it, and in
    the trace in the pipeline's folder.
    """
    try:
        yield
    except PipelineStepFailed as error:
        _clean(error, set())
        trace = pipeline.last_trace
        if trace is not None:
            trace.steps[:] = [_cleaned(step) for step in trace.steps]
            save_trace(pipeline.working_dir, trace)
        raise


def _clean(error: BaseException | None, seen: set[int]) -> None:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    for value in error.args:
        if isinstance(value, BaseException):
            _clean(value, seen)
    error.args = tuple(_cleaned(value) for value in error.args)
    for name, value in list(vars(error).items()):
        if isinstance(value, str):
            setattr(error, name, without_rows(value))
        elif isinstance(value, BaseException):
            _clean(value, seen)
    _clean(error.__cause__, seen)
    _clean(error.__context__, seen)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return without_rows(value)
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, tuple) and hasattr(value, "_replace"):
        return value._replace(
            **{name: _cleaned(getattr(value, name)) for name in getattr(value, "_fields", ())}
        )
    return value


def changed_state(text: str, change: Callable[[Any], None]) -> tuple[str, str]:
    """A pipeline's state as ``_dlt_pipeline_state`` keeps it, changed.

    dlt keeps every version of it there, compressed, with a hash of its content (dlt 1.31).

    Args:
        text: The column ``state``.
        change: Changes the state in place.

    Returns:
        The columns ``state`` and ``version_hash``; the same text where nothing has changed.
    """
    state: Any = decompress_state(text)
    before = generate_pipeline_state_version_hash(state)
    change(state)
    after = generate_pipeline_state_version_hash(state)
    if after == before:
        return text, after
    state["_version_hash"] = after
    return compress_state(state), after


def forget_trace(pipeline: dlt.Pipeline) -> None:
    """Removes the trace of the last run, which has its messages (dlt 1.31)."""
    for name in ("trace.pickle", "last_trace.json"):
        (Path(pipeline.working_dir) / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class PackageParquet:
    """How dlt writes the Parquet files of the load package that is being extracted.

    Attributes:
        open: Opens a file of rows of a schema. It may be called in any thread.
        row_group_size: Rows per row group; None: as many as are written at once.
        largest_file: Bytes that a file may have for the destination; None: any number.
    """

    open: Callable[[BinaryIO, pa.Schema], pq.ParquetWriter]
    row_group_size: int | None
    largest_file: int | None


def package_parquet() -> PackageParquet | None:
    """How files are written that dlt takes for its own; None: it does more than write them.

    Read in dlt 1.31: ``BufferedDataWriter`` begins a new file by a number of rows or bytes where
    one is configured; ``ArrowExtractor`` adds the column ``_dlt_load_id`` where that is.
    """
    buffered = resolve_configuration(BufferedDataWriter.BufferedDataWriterConfiguration())
    if buffered.file_max_items or buffered.file_max_bytes:
        return None
    sections = (known_sections.NORMALIZE, "parquet_normalizer")
    if resolve_configuration(ItemsNormalizerConfiguration(), sections=sections).add_dlt_load_id:
        return None
    container = Container()
    capabilities = (
        container[DestinationCapabilitiesContext]
        if DestinationCapabilitiesContext in container
        else DestinationCapabilitiesContext.generic_capabilities()
    )
    # Configuration is resolved here: a thread of our own would not find it.
    configured = ArrowToParquetWriter(io.BytesIO(), caps=capabilities)

    def open_file(file: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
        writer = copy.copy(configured)
        writer._f = file
        return writer._create_writer(schema)

    size = configured.parquet_format.row_group_size
    return PackageParquet(open_file, size, capabilities.recommended_file_size)


class ImportedTable(ImportFileMeta):
    """Marks an item as a Parquet file of one of a resource's tables.

    dlt's own mark of a file names no table, and its mark of a table no file; both have slots, so
    that no class can inherit from both. dlt tells them apart with ``isinstance`` (dlt 1.31).

    Attributes:
        table_name: The table.
        is_taken: Whether dlt has asked for the file, to link it into its load package.
    """

    __slots__ = ("is_taken", "path", "table_name")

    def __init__(self, table_name: str, file: Path, row_count: int) -> None:
        """Takes the file, which must stay until dlt has taken it."""
        self.table_name = table_name
        self.is_taken = False
        metrics = DataWriterMetrics(str(file), row_count, file.stat().st_size, 0, 0)
        super().__init__(str(file), metrics, "parquet", create_table_variant=False)

    __class__ = property(lambda _: TableNameMeta)

    @property
    def file_path(self) -> str:
        """The file; who asks for it takes it."""
        self.is_taken = True
        return self.path

    @file_path.setter
    def file_path(self, path: str) -> None:
        self.path = path


def imported(mark: ImportedTable, schema: pa.Schema) -> DataItemWithMeta:
    """An item by which dlt takes a file into the load package, as it is.

    Who iterates over the resource in place of loading it gets the item without its mark, an empty
    table: then ``mark.is_taken`` is false (dlt 1.31).

    Args:
        mark: Which file, of which table.
        schema: That of its rows, from which dlt computes the table's.
    """
    return DataItemWithMeta(mark, schema.empty_table())


def hands_items_on_at_once(resource: DltResource, *own_steps: type) -> bool:
    """Whether dlt writes each item before the resource goes on, and nobody looks at it.

    Args:
        resource: The resource, while it is extracted.
        own_steps: Steps that want no rows.

    Returns:
        False where there is a step of the host's, a limit, or threads in between (dlt 1.31:
        ``parallelize`` wraps the generator in a function of this name).
    """
    steps = (IncrementalResourceWrapper, Incremental, *own_steps)
    pipe = resource._pipe
    if any(type(step) not in steps for step in pipe.steps if step is not pipe.gen):
        return False
    generator: Any = pipe.gen
    while generator is not None:
        code = getattr(generator, "__code__", None) or getattr(generator, "gi_code", None)
        if code is not None and code.co_name == "_gen_wrapper":
            return False
        generator = getattr(generator, "__wrapped__", None)
    return True
