"""Load packages: which are pending, what they are for, what they take away."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable
from dlt.common.storages.load_package import (
    PackageStorage,
    commit_load_package_state,
    load_package_state,
)


def forget_package(pipeline: dlt.Pipeline, load_id: str) -> None:
    """Removes the files of a loaded package, for which dlt has no public way (dlt 1.31)."""
    pipeline._get_load_storage().delete_loaded_package(load_id)


def put_away_loaded(pipeline: dlt.Pipeline) -> None:
    """Moves packages that are loaded to where dlt keeps such.

    dlt 1.31 notes in a package that it is loaded, and then moves it. After a kill between the two
    every load of it fails, for "another complete was requested". To be called by the process that
    loads, before it does.
    """
    storage = pipeline._get_load_storage()
    if not storage.is_storage_ready():
        return
    for load_id in storage.normalized_packages.list_packages():
        if storage.normalized_packages.is_package_completed(load_id):
            storage.storage.rename_tree(
                storage.get_normalized_package_path(load_id),
                storage.get_loaded_package_path(load_id),
            )


def begun_packages(pipeline: dlt.Pipeline) -> list[str]:
    """The pending packages with a job that has begun: some of their rows may be in staging.

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


def packages_to_load(pipeline: dlt.Pipeline) -> list[str]:
    """The packages whose rows the next load step would write.

    ``abort_packages`` flags the oldest and then calls the load step, which removes the others
    (dlt 1.31).
    """
    storage = pipeline._get_load_storage()
    if not storage.is_storage_ready():
        return []
    packages = storage.normalized_packages
    pending = sorted(packages.list_packages(), key=float)
    return [] if pending and packages.has_abort_flag(pending[0]) else pending


def pending_packages(folder: Path) -> list[str]:
    """The load packages in a pipeline's folder that are extracted and not loaded.

    Read from the names of folders, as dlt 1.31 has them: a pipeline that is opened may write.

    Args:
        folder: The pipeline's own, which need not be there.

    Raises:
        PermissionError: It may not be read.
    """
    found: set[str] = set()
    for stage in ("normalize/extracted", "load/normalized"):
        # Not by glob(), which takes a folder that may not be read for an empty one.
        with suppress(FileNotFoundError), os.scandir(folder / stage) as entries:
            found.update(entry.name for entry in entries if entry.is_dir())
    return sorted(found)


def files_of_loads(folder: Path) -> list[str]:
    """What a pipeline's folder keeps that may hold rows, in words (dlt 1.31).

    Args:
        folder: The pipeline's own.
    """
    pending, loaded = pending_packages(folder), [*(folder / "load" / "loaded").glob("*")]
    found = [f"load packages that are not loaded ({len(pending)})"] if pending else []
    found += [f"loaded packages ({len(loaded)})"] if loaded else []
    return found


def current_load_id() -> str | None:
    """The load package that is being made; None where a source is read without loading."""
    try:
        return dlt.current.load_package_state()["load_id"]
    except CurrentLoadPackageStateNotAvailable:
        return None


def _state_of_current() -> Any:
    """The state of the load package that is being made (dlt 1.31).

    Where somebody looks at the source's rows without loading them, one that goes nowhere.
    """
    try:
        return dlt.current.load_package_state()["state"]
    except CurrentLoadPackageStateNotAvailable:
        return {}


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
    state = _state_of_current()
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


WINDOWS = "np6_windows"
"""Key of a load package's state: the windows that the package would prove."""


def note_windows(windows: Sequence[tuple[str, str, int, int]]) -> None:
    """Notes in the load package that is being extracted what it is for.

    A package's state goes with it from step to step (dlt 1.31).

    Args:
        windows: Resource, scope as the ledger stores it, start and end in milliseconds since the
            epoch.
    """
    state = _state_of_current()
    state.setdefault(WINDOWS, []).extend([*window] for window in windows)


CHANGES = "np6_changes"
"""Key of a load package's state: the erasures and maskings that its extraction knew of, by id."""


def note_changes(change_ids: Collection[str]) -> None:
    """Notes in the load package that is being extracted of which changes to the dataset it knows.

    Of several sources in a package each notes: what one of them does not know the package does not.

    Args:
        change_ids: The ids of erasures and maskings.
    """
    state = _state_of_current()
    state[CHANGES] = sorted(set(change_ids) & set(state.get(CHANGES, change_ids)))


def changes_noted(pipeline: dlt.Pipeline) -> dict[str, frozenset[str]]:
    """What ``note_changes`` noted in the packages that are not loaded; those without are left out.

    Args:
        pipeline: The pipeline.

    Returns:
        Ids of erasures and maskings by load id.
    """
    found = {}
    for storage, load_id in unloaded_packages(pipeline):
        state: Any = storage.get_load_package_state(load_id)
        if CHANGES in state:
            found[load_id] = frozenset(state[CHANGES])
    return found


def unloaded_packages(pipeline: dlt.Pipeline) -> list[tuple[PackageStorage, str]]:
    """The packages that are not loaded, each by where it is and its load id (dlt 1.31)."""
    load, normalize = pipeline._get_load_storage(), pipeline._get_normalize_storage()
    storages = []
    if normalize.is_storage_ready():
        storages.append(normalize.extracted_packages)
    if load.is_storage_ready():
        storages.append(load.normalized_packages)
    return [(storage, load_id) for storage in storages for load_id in storage.list_packages()]


def windows_of_pending(
    pipeline: dlt.Pipeline,
) -> dict[str, list[tuple[str, str, int, int]]]:
    """What ``note_windows`` noted in the packages that are extracted and not loaded, by load id."""
    found: dict[str, list[tuple[str, str, int, int]]] = {}
    for storage, load_id in unloaded_packages(pipeline):
        state: Any = storage.get_load_package_state(load_id)
        found[load_id] = [
            (resource, scope, start, end) for resource, scope, start, end in state.get(WINDOWS, ())
        ]
    return found


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether a destination had no memory for a load package.

    dlt gives the message of the job's error (1.31): "Out of Memory Error" is DuckDB's, "out of
    memory" PostgreSQL's.
    """
    return "out of memory" in str(error).lower()
