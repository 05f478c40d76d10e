"""Pipelines that share nothing with others that load into the same dataset.

dlt 1.31 gives all pipelines into a dataset one staging dataset, in which they lose each other's
rows (dlt issue 4297), and nothing makes their merges wait for each other.
"""

from __future__ import annotations

import json
import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination import Destination
from dlt.common.destination.client import WithStagingDataset
from dlt.common.destination.reference import AnyDestination, TDestinationReferenceArg

from ..bookkeeping.erasures import look_again, refuse_older
from ..bookkeeping.known_starts import are_noted, remember_starts
from ..dataset_lock import TTurn, duckdb_file, in_database_or_file
from ..destinations import destination_of
from ..dlt_internals.configuration import (
    configured_staging_layout,
    given_staging_layout,
    with_database,
    with_staging_layout,
)
from ..dlt_internals.packages import begun_packages, packages_to_load, put_away_loaded
from ..dlt_internals.pipelines import (
    active_pipeline,
    around_load_step,
    at_each_activation,
    do_not_restore,
    keeping_rows_out_of_errors,
    list_whole_schemas_only,
    set_around_load_step,
)
from ..errors import SettingError
from ..lake import check_writers
from ..temporary_folder import temporary_folder
from .older_lake import go_back_with_lake, refuse_older_lake

logger = logging.getLogger(__name__)

_STAGING_NAME = "np6_staging.json"
"""A file in a pipeline's folder: what its staging dataset is called by."""


def with_own_staging(destination: TDestinationReferenceArg) -> AnyDestination:
    """The destination, with a staging dataset that nobody else uses.

    For one run of any pipeline that merges into a dataset beside others. ``load_part`` does it by
    itself, and so does ``np6_source`` for the pipeline that runs it.

    Args:
        destination: A dlt destination, by name or as an instance, which stays as it is.

    Returns:
        A copy of the destination.

    Raises:
        SettingError: There is none.
    """
    found = Destination.from_reference(destination)
    if found is None:
        raise SettingError("destination is missing")
    return with_staging_layout(found, f"%s_staging_{uuid.uuid4().hex[:12]}")


def keep_apart(pipeline: dlt.Pipeline, turn: TTurn | None = None) -> None:
    """Makes a pipeline's loads safe beside others into its dataset; calling it again is harmless.

    The pipeline gets a staging dataset of its own and takes the dataset's lock for its load step.
    The name of the dataset is kept in the pipeline's folder: another process goes on with what
    this one has put there. What was given in code, a lock or the staging dataset, stays.

    Args:
        pipeline: The pipeline, before its load step; it is changed.
        turn: Waits until this process may load. None: the dataset's lock, see ``dataset_lock``.
    """
    destination: AnyDestination | None = pipeline.destination
    if destination is None:
        return
    if not are_noted(pipeline):
        remember_starts(pipeline)  # Those of before there were notes.
    go_back_with_lake(pipeline)
    folder = Path(pipeline.working_dir)
    is_new = False
    if given_staging_layout(destination) is None:
        name = _own_name(folder)
        if set(begun_packages(pipeline)) <= set(name.packages if name else ()):
            if name is None:
                is_new, name = True, _OwnName(uuid.uuid4().hex[:12])
                _keep(name, folder)
            # Unlike what parts are given, which parts clean up after each other.
            layout = f"{configured_staging_layout(destination)}_of_{name.token}"
            pipeline.destination = with_staging_layout(destination, layout)
        # Else rows of a package are in the staging dataset that all pipelines share.
    around: Any = around_load_step(pipeline)
    if around is None:
        around = partial(_beside_others, turn=turn or in_database_or_file, drops_staging=is_new)
    elif turn is not None:
        around = partial(around, turn=turn) if _is_ours(around) else turn
    set_around_load_step(pipeline, around)


def has_given_lock(pipeline: dlt.Pipeline) -> bool:
    """Whether the pipeline's load step has another lock than the dataset's."""
    around: Any = around_load_step(pipeline)
    if around is None:
        return False
    turn = around.keywords["turn"] if _is_ours(around) else around
    return getattr(turn, "func", turn) is not in_database_or_file


def _is_ours(around: Any) -> bool:
    return isinstance(around, partial) and around.func is _beside_others


def go_on_apart() -> None:
    """Keeps each pipeline of this thread apart that an earlier process has kept apart.

    Also one that is made later: a package that the earlier process left is loaded before any
    resource starts, and its rows may be in the pipeline's own staging dataset.
    """
    at_each_activation(_go_on_apart)
    pipeline = active_pipeline()
    if pipeline is not None:
        _go_on_apart(pipeline)


def _go_on_apart(pipeline: dlt.Pipeline) -> None:
    list_whole_schemas_only(pipeline)
    if _own_name(Path(pipeline.working_dir)) is not None:
        keep_apart(pipeline)


@dataclass(frozen=True)
class _OwnName:
    """What a pipeline's staging dataset is called by.

    Attributes:
        token: The part of the name that is the pipeline's own.
        packages: The load packages that may have rows in it.
    """

    token: str
    packages: tuple[str, ...] = ()


def _own_name(folder: Path) -> _OwnName | None:
    try:
        found = json.loads((folder / _STAGING_NAME).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return _OwnName(found["token"], tuple(found["packages"]))


def _keep(name: _OwnName, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    new = folder / f"{_STAGING_NAME}.new"
    new.write_text(json.dumps({"token": name.token, "packages": name.packages}))
    new.replace(folder / _STAGING_NAME)


@contextmanager
def _beside_others(pipeline: dlt.Pipeline, turn: TTurn, drops_staging: bool) -> Iterator[None]:
    """The load step of a pipeline that keeps its folder.

    Args:
        pipeline: The pipeline.
        turn: The lock.
        drops_staging: Whether a staging dataset that the pipeline has by ``keep_apart`` is dropped
            after a load that is whole: a folder that is made anew for every run, as in a container,
            would leave one each time.
    """
    folder = Path(pipeline.working_dir)
    with turn(pipeline), keeping_rows_out_of_errors(pipeline):
        name = _own_name(folder)
        layout = given_staging_layout(pipeline.destination) or ""
        is_own = name is not None and layout.endswith(f"_of_{name.token}")
        put_away_loaded(pipeline)
        packages = packages_to_load(pipeline)
        refuse_older(pipeline, packages)
        if packages:
            refuse_older_lake(pipeline)
        if name is not None and is_own:
            pending = tuple(pipeline.list_normalized_load_packages())
            if pending != name.packages:
                _keep(replace(name, packages=pending), folder)
        try:
            yield
        finally:  # A load that fails may have committed some of its rows.
            look_again(pipeline, packages)
        remember_starts(pipeline)
        if is_own and drops_staging and not pipeline.has_pending_data:
            _clean(pipeline, is_alone=False)


@contextmanager
def isolated_pipeline(
    name: str,
    destination: TDestinationReferenceArg,
    dataset_name: str,
    turn: TTurn | None = None,
    pipelines_dir: str | Path | None = None,
) -> Iterator[dlt.Pipeline]:
    """A pipeline for one stateless run; any number of them may run at once.

    Its working folder and its staging dataset are its own, and removed after the run. No state is
    read from the destination or written to it.

    Args:
        name: Name of the pipeline.
        destination: A dlt destination, by name or as an instance.
        dataset_name: The dataset that all such pipelines load into.
        turn: Waits until this process may load. None: the dataset's lock, see ``dataset_lock``.
        pipelines_dir: Folder for working files, which stays. None: a temporary one.

    Raises:
        SettingError: The destination is DuckDB, and no file was given: each run would make its own.
    """
    with _folder(pipelines_dir) as folder:
        pipeline = dlt.pipeline(
            name,
            destination=with_own_staging(destination),
            dataset_name=dataset_name,
            pipelines_dir=str(folder),
        )
        file = duckdb_file(pipeline)
        if file is not None and (name in file.name or folder.resolve() in file.resolve().parents):
            raise SettingError(
                "Each run would make a DuckDB file of its own. Give the file that all load into:"
                " dlt.destinations.duckdb('/path/to/events.duckdb'), or"
                " DESTINATION__DUCKDB__CREDENTIALS=/path/to/events.duckdb"
            )
        in_turn = leaving_nothing(turn or in_database_or_file)
        yield without_state(pipeline, in_turn if turn else _alone_where_needed(in_turn))


@contextmanager
def beside(pipeline: dlt.Pipeline, turn: TTurn | None = None) -> Iterator[dlt.Pipeline]:
    """A pipeline for one stateless run into the dataset of another, which it leaves as it is.

    It has the other's name and destination, a working folder and a staging dataset of its own, and
    the other's configuration therefore. Signals are handled as in the other. Afterwards the other
    is dlt's active one again.

    Args:
        pipeline: The other. It may be in the middle of anything.
        turn: Waits until this process may load. None: the dataset's lock, see ``dataset_lock``.
    """
    destination = with_own_staging(pipeline.destination)
    file = duckdb_file(pipeline)
    if file is not None:
        # dlt takes a file without a folder to be in the folder of the pipeline's first run (1.31).
        destination = with_database(destination, str(file))
    try:
        with _folder(None) as folder:
            own = dlt.pipeline(
                pipeline.pipeline_name,
                destination=destination,
                dataset_name=pipeline.dataset_name,
                pipelines_dir=str(folder),
            )
            own.runtime_config.intercept_signals = pipeline.runtime_config.intercept_signals
            yield without_state(own, leaving_nothing(turn or in_database_or_file))
    finally:
        pipeline.activate()


@contextmanager
def private_files() -> Iterator[None]:
    """Files that are made meanwhile can be read by this user alone: they hold addresses."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def without_state(pipeline: dlt.Pipeline, turn: TTurn = in_database_or_file) -> dlt.Pipeline:
    """Makes a pipeline fit for runs whose span of time is given from outside.

    No state is read from the destination or written to it.

    Args:
        pipeline: The pipeline; it is changed.
        turn: Waits until its runs may load into the dataset, see ``dataset_lock``.

    Returns:
        The same pipeline.
    """
    do_not_restore(pipeline)
    set_around_load_step(pipeline, partial(_beside_others, turn=turn, drops_staging=True))
    return pipeline


def _alone_where_needed(turn: TTurn) -> TTurn:
    """The lock, refused where it does not keep others from tables that take one writer."""

    @contextmanager
    def checked(pipeline: dlt.Pipeline) -> Iterator[None]:
        check_writers(pipeline)
        with turn(pipeline):
            yield

    return checked


def leaving_nothing(turn: TTurn) -> TTurn:
    """The lock, with nothing left in staging after the load step.

    For one run of a pipeline that has its staging dataset for itself.

    Args:
        turn: The lock.
    """

    @contextmanager
    def cleaned(pipeline: dlt.Pipeline) -> Iterator[None]:
        with turn(pipeline):
            try:
                yield
            finally:
                _clean(pipeline, turn is in_database_or_file)

    return cleaned


def _clean(pipeline: dlt.Pipeline, is_alone: bool) -> None:
    try:
        _drop_staging(pipeline, is_alone)
    except Exception as error:
        logger.warning(
            "A staging dataset of %s could not be dropped (%s): drop it by hand.",
            pipeline.dataset_name,
            type(error).__name__,
        )


def _drop_staging(pipeline: dlt.Pipeline, is_alone: bool) -> None:
    """Drops the pipeline's staging dataset, and those that killed parts left.

    The latter only where parts load one after the other: no running part owns those.
    """
    with pipeline.destination_client() as client:
        if isinstance(client, WithStagingDataset):
            with client.with_staging_dataset() as staging:
                if staging.is_storage_initialized():
                    staging.drop_storage()

    if not is_alone or destination_of(pipeline).lock is None:
        return
    with pipeline.sql_client() as sql:
        left = re.compile(re.escape(sql.dataset_name) + "_staging_[0-9a-f]{12}")
        schemata = sql.execute_sql("SELECT schema_name FROM information_schema.schemata") or []
        for name in {name for (name,) in schemata if left.fullmatch(name)}:
            with sql.with_alternative_dataset_name(name):
                sql.drop_dataset()


@contextmanager
def _folder(given: str | Path | None) -> Iterator[Path]:
    """The given folder, or a temporary one."""
    if given is not None:
        yield Path(given)
        return
    with temporary_folder("part") as folder:
        yield folder
