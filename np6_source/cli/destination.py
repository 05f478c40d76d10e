"""The pipeline that a command line names, checked before anything starts."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import dlt
import duckdb as duckdb_library
from dlt.common.destination.client import JobClientBase
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.destinations.impl.duckdb.configuration import DuckDbClientConfiguration
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from .. import duck, lake
from ..dataset_lock import duckdb_file, in_database_or_file, to_read
from ..dlt_internals.destinations import has_sql, resolved_copy, what_is_resolved
from ..dlt_internals.pipelines import (
    is_taken_for_catalog,
    list_whole_schemas_only,
    read_schemas_once,
)
from ..errors import SettingError, did_you_mean
from ..temporary_folder import temporary_folder
from ..upkeep.changed_tables import is_readable
from ..views.base_tables import LOADS
from .document import DEFAULT_DESTINATION
from .outcome import NothingLoaded
from .working_folder import pipelines_dir

logger = logging.getLogger(__name__)

DUCKDB_LIMITS = {"memory_limit": "350MB", "threads": 1}
"""DuckDB takes most of a machine's memory unless told not to, and spills to disk beyond this.

dlt writes tables side by side, a thread each; more threads help on machines with many cores.
"""

HEADERS = 3 * 4096
"""Bytes with which every DuckDB file begins."""

OLDEST_STORAGE = 64
"""The version of the files that every DuckDB from 1.0 on reads."""

CLIENT_LIBRARIES = {"delta": "deltalake", "iceberg": "pyiceberg"}
"""What dlt writes a table format on files with, which it asks for only in the load step."""


class duckdb(duck.duckdb):  # noqa: N801 - named as dlt names destinations
    """``np6_source.duck.duckdb``, configured in the same way, within ``DUCKDB_LIMITS``.

    dlt 1.31 takes limits from ``credentials`` alone, refuses those in ``config.toml``, and forgets
    a configured file where they are given in code. Limits that are configured take precedence.

    The configuration does not change while a command runs, and is resolved once.

    Attributes:
        reads_only: Whether connections change nothing: several processes may share a file then.
    """

    reads_only = False

    @cached_property
    def _resolved(self) -> dict[Hashable, DuckDbClientConfiguration]:
        """What was resolved so far; made here, because dlt reads the signature of ``__init__``."""
        return {}

    def configuration(
        self, initial_config: DuckDbClientConfiguration, accept_partial: bool = False
    ) -> DuckDbClientConfiguration:
        """The resolved configuration."""
        key = what_is_resolved(self, initial_config, accept_partial)
        known = self._resolved.get(key)
        if known is None:
            known = super().configuration(initial_config, accept_partial)
            given = known.credentials.global_config or {}
            known.credentials.global_config = DUCKDB_LIMITS | given
            self._resolved[key] = known
        config = resolved_copy(known)
        config.credentials.read_only = self.reads_only or config.credentials.read_only
        return config


def open_pipeline(
    options: argparse.Namespace, progress: Any = None, reads_only: bool = False
) -> dlt.Pipeline:
    """The pipeline that ``add_pipeline_options`` describe.

    Args:
        options: The options.
        progress: A progress bar of dlt's.
        reads_only: Whether a DuckDB file is opened for reading only.

    Raises:
        SettingError: The destination, the file, the dataset or the folder cannot be used.
        MissingDependencyException: The destination's client library is not installed.
        ConfigurationException: The destination is not configured.
    """
    destination = _destination(options)
    if isinstance(destination, duckdb):
        destination.reads_only = reads_only
    if options.pipelines_dir is not None:
        _check_folder(Path(options.pipelines_dir), "--pipelines-dir")
    if not options.dataset.strip():
        raise SettingError("--dataset is empty: name the dataset")
    _check_table_format(destination)
    _check_client_library(destination)
    try:
        pipeline = dlt.pipeline(
            options.pipeline,
            destination=destination,
            dataset_name=options.dataset,
            # Not None where none is given: dlt 1.31 then leaves out what is configured.
            pipelines_dir=str(pipelines_dir(options)),
            progress=progress,
        )
    except OSError as error:
        folder = pipelines_dir(options)
        raise SettingError(
            f"dlt's working folder cannot be made in {folder} ({error.strerror}): name one that"
            " this user may write to with --pipelines-dir"
        ) from None
    # The command ends between windows by itself; dlt would drop what is complete (dlt 1.31).
    pipeline.runtime_config.intercept_signals = False
    list_whole_schemas_only(pipeline)
    read_schemas_once(pipeline)
    _check_characters(Path(pipeline.pipelines_dir), "'%", "dlt's working folder", "--pipelines-dir")
    _check_dataset(pipeline.destination_client(), options.dataset)
    if (file := duckdb_file(pipeline)) is not None:
        _check_file(file, options.dataset, reads_only)
        _warn_of_other_folder(pipeline, file)
    return pipeline


@contextmanager
def looking(
    options: argparse.Namespace, waits: bool = True, reads_only: bool = True
) -> Iterator[dlt.Pipeline]:
    """The pipeline for reading: neither its folder nor the destination changes.

    What dlt needs to know of the dataset comes from the dataset, into a folder that goes. A DuckDB
    file that others have open for reading only is no hindrance.

    Args:
        options: Those of ``add_pipeline_options``.
        waits: Whether to wait for a DuckDB file that is being written to, as a load does.
        reads_only: Whether a DuckDB file is opened for reading only. False: for those that write
            later.

    Raises:
        DatasetBusy: Others kept it for too long.
    """
    given = argparse.Namespace(**vars(options))
    with temporary_folder("look") as folder:
        given.pipelines_dir = str(folder)
        pipeline = open_pipeline(given, reads_only=reads_only)
        file = duckdb_file(pipeline)
        is_there = file is not None and file.exists()
        with to_read(pipeline) if waits and is_there else nullcontext():
            yield pipeline


def check_speaks_sql(pipeline: dlt.Pipeline, command: str) -> None:
    """Refuses a destination that holds files for a command that asks a database.

    Raises:
        SettingError: Says how files are read.
    """
    if not has_sql(pipeline.destination):
        name = pipeline.destination.destination_name if pipeline.destination else ""
        raise SettingError(
            f"{command} reads load_windows in a database, and --destination {name} has files: read"
            " them with np6_source.deduplication.parquet_views"
        )


def check_file_is_there(pipeline: dlt.Pipeline) -> None:
    """Makes sure that a DuckDB file is there, without opening it: that would make it.

    Raises:
        NothingLoaded: It is not.
    """
    file = duckdb_file(pipeline)
    if file is not None and not file.exists():
        raise NothingLoaded(f"Nothing is loaded here: there is no file {file}.")


def check_there(pipeline: dlt.Pipeline) -> None:
    """Makes sure that a dataset is there; makes no file by looking.

    Raises:
        NothingLoaded: The file, or the dataset, is not there; the nearest name of a dataset is.
        DatabaseException: The role that connects may not look into it.
    """
    check_file_is_there(pipeline)
    with pipeline.sql_client() as client:
        # PostgreSQL lists those datasets only that the role may use.
        if not client.has_dataset() and not is_readable(client, LOADS):
            near = did_you_mean(str(pipeline.dataset_name), _datasets(client))
            where = shown_dataset(pipeline)
            raise NothingLoaded(f"Nothing is loaded here: there is no {where}{near}.")


@contextmanager
def alone(pipeline: dlt.Pipeline) -> Iterator[None]:
    """The lock of a dataset that is there, for changing it as loads do.

    Raises:
        NothingLoaded: The file, or the dataset, is not there.
        DatasetBusy: Others kept it for too long.
    """
    file = duckdb_file(pipeline)
    if file is not None and not file.exists():
        check_there(pipeline)
    with in_database_or_file(pipeline):
        if has_sql(pipeline.destination):
            check_there(pipeline)
        yield


def shown_dataset(pipeline: dlt.Pipeline) -> str:
    """The dataset and where it is, for messages."""
    destination = pipeline.destination
    where = duckdb_file(pipeline) or (destination and destination.destination_name)
    return f"dataset {pipeline.dataset_name} of {where}"


def _datasets(client: SqlClientBase[Any]) -> list[str]:
    rows = client.execute_sql("SELECT schema_name FROM information_schema.schemata") or []
    return [str(name) for (name,) in rows]


def _destination(options: argparse.Namespace) -> Any:
    name = options.destination or DEFAULT_DESTINATION
    try:
        found = dlt.destination(name)
    except UnknownDestinationModule:
        known = [known for known in dlt.destinations.__all__ if known != "destination"]
        raise SettingError(
            f"--destination {name}: dlt knows no such destination{did_you_mean(name, known)}."
            f" There are {', '.join(known)}, and any that destination.NAME.destination_type names."
        ) from None
    # dlt names a DuckDB file after a destination that has a name of its own.
    is_named = found.destination_name != found.to_name(found.destination_type)
    own_name: dict[str, Any] = {"destination_name": found.destination_name} if is_named else {}
    if type(found) is dlt.destinations.duckdb:
        # A relative file is relative to the folder of this call. dlt 1.31 takes the folder in which
        # a pipeline of that name first ran, which may be another copy of the project.
        settings = {**own_name, "local_dir": str(Path.cwd())}
        file = options.duckdb_file
        return duckdb(**settings) if file is None else duckdb(str(file), **settings)
    if options.duckdb_file is not None:
        raise SettingError(
            f"--duckdb-file {options.duckdb_file} and --destination {name} contradict each other:"
            " leave one out"
        )
    if type(found) is dlt.destinations.filesystem:
        # The same, configured in the same way, but with every event once in Delta and Iceberg.
        return lake.filesystem(**own_name)
    return found


def _check_client_library(destination: Any) -> None:
    try:
        _ = destination.client_class
    except ModuleNotFoundError as error:
        kind = destination.to_name(destination.destination_type)
        raise SettingError(
            f"--destination {destination.destination_name} needs the package {error.name}, which is"
            f" not installed: pip install 'dlt[{kind}]'"
        ) from None


def _warn_of_other_folder(pipeline: dlt.Pipeline, file: Path) -> None:
    """A call from another folder begins a file of its own; the one before is left as it is."""
    before = Path(pipeline.get_local_state_val("initial_cwd")) / file.name
    if before != file and before.is_file() and not file.exists():
        logger.warning(
            "Pipeline %s loaded into %s before. This call begins %s; to go on with the other, call"
            " from its folder or give --duckdb-file.",
            pipeline.pipeline_name,
            before,
            file,
        )


def _check_table_format(destination: Any) -> None:
    library = CLIENT_LIBRARIES.get(dlt.config.get("sources.np6.table_format", str) or "")
    is_files = isinstance(destination, dlt.destinations.filesystem)
    if is_files and library and importlib.util.find_spec(library) is None:
        raise SettingError(
            f"table_format needs the package {library}, which is not installed:"
            f" pip install 'dlt[filesystem,{library}]'"
        )


def _check_dataset(client: JobClientBase, dataset: str) -> None:
    """A name that the destination writes otherwise is one that its readers do not find."""
    if not isinstance(client, SqlJobClientBase):
        return
    written = client.sql_client.dataset_name
    if written is not None and written.casefold() != dataset.casefold():
        kind = client.config.destination_type.rpartition(".")[2]
        raise SettingError(
            f"--dataset {dataset!r} is no name that {kind} takes; dlt would call it {written}. Give"
            f" --dataset {written}."
        )


def _check_characters(path: Path, refused: str, what: str, option: str) -> None:
    """DuckDB 1.5 cannot write to a file with ``?``, dlt 1.31 not load from folders with others."""
    found = [character for character in refused if character in str(path)]
    if found:
        raise SettingError(
            f"{what} {path}: {' and '.join(found)} cannot be part of the path. Give {option}"
            " without."
        )


def _check_file(file: Path, dataset: str, reads_only: bool) -> None:
    _check_characters(file, "?", "The DuckDB file", "--duckdb-file")
    _check_folder(file.parent, f"The DuckDB file {file}", needs_writing=not reads_only)
    if file.is_dir():
        raise SettingError(f"The DuckDB file {file} is a folder: name a file in it")
    if file.exists():
        if not os.access(file, os.R_OK):
            raise SettingError(f"The DuckDB file {file} cannot be read by this user")
        if not (reads_only or os.access(file, os.W_OK)):
            raise SettingError(
                f"The DuckDB file {file} cannot be written to by this user: change its permissions"
                " or its owner, or give another --duckdb-file"
            )
    _check_duckdb_reads(file)
    if is_taken_for_catalog(file, dataset):
        raise SettingError(
            f"The DuckDB file {file.name} and the dataset {dataset!r} need different names:"
            f" DuckDB calls the file {file.name.split('.')[0]} and cannot tell them apart. Give"
            " --dataset or --duckdb-file."
        )


def _check_duckdb_reads(file: Path) -> None:
    """Refuses a file that is no database, or of a newer DuckDB, which dlt 1.31 cannot tell."""
    try:
        with file.open("rb") as content:
            header = content.read(HEADERS)
    except OSError:
        return  # It is not there yet; or the load says why it cannot be read.
    if len(header) < HEADERS or header[8:12] != b"DUCK":
        raise SettingError(
            f"The DuckDB file {file} is no DuckDB database, or not a whole one. A disk that is full"
            " when a file is made leaves such a file: remove it, then, and load again. If it held"
            " something, put it back from a backup."
        )
    if int.from_bytes(header[12:20], "little") <= OLDEST_STORAGE:
        return
    try:
        duckdb_library.connect(str(file), read_only=True).close()
    except duckdb_library.Error as error:
        if "version number" in str(error):
            raise SettingError(
                f"The DuckDB file {file} was made by a newer DuckDB than"
                f" {duckdb_library.__version__}, which is installed here and cannot open it. Copy"
                " its tables once, as docs/operate.md says under DuckDB versions, or give another"
                " --duckdb-file."
            ) from None


def _check_folder(folder: Path, what: str, needs_writing: bool = True) -> None:
    """A folder that may be written to, or could be made by dlt in one that is there."""
    if folder.is_dir():
        if needs_writing and not os.access(folder, os.W_OK):
            raise SettingError(
                f"{what}: the folder {folder} cannot be written to by this user: change its"
                " permissions or its owner, or name another"
            )
    elif folder.exists():
        raise SettingError(f"{what}: {folder} is no folder")
    elif what.startswith("The DuckDB file"):
        raise SettingError(f"{what}: there is no folder {folder}. Make it first: mkdir -p {folder}")
