"""A pipeline's state as its destination's files keep it, beside that of its working folder.

dlt 1.31 writes ``_dlt_pipeline_state/<pipeline>__<load id>__<hash>.jsonl`` at the end of a load
package with a state of its own. ``run`` and ``sync_destination`` read the newest, and take it only
where its version is not below the working folder's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dlt
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.storages.load_package import PackageStorage
from dlt.common.versioned_state import json_decode_state
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.pipeline.state_sync import generate_pipeline_state_version_hash

from .packages import unloaded_packages

TState = Mapping[str, Any]
TChoose = Callable[[dlt.Pipeline, TState | None], TState | None]
"""What to take for the newest state in a pipeline's destination; None: it has none."""


def choose_stored_state(pipeline: dlt.Pipeline, choose: TChoose) -> None:
    """Lets something choose what a pipeline takes for the newest state in its destination.

    dlt has no hook for it: ``_restore_state_from_destination`` is replaced on the instance, which
    ``run`` and ``sync_destination`` call (dlt 1.31). Calling again is harmless.
    """
    replaced: Any = pipeline
    restore = pipeline._restore_state_from_destination
    restore = getattr(restore, "np6_restore", restore)

    def restore_chosen() -> Any:
        try:
            stored = restore()
        except DestinationUndefinedEntity:
            # Where the whole dataset is gone, dlt wipes the working folder by itself.
            stored = choose(pipeline, None) if _is_there(pipeline) else None
            if stored is None:
                raise
            return stored
        return choose(pipeline, stored)

    restore_chosen.np6_restore = restore  # type: ignore[attr-defined]
    replaced._restore_state_from_destination = restore_chosen


def in_place_of_newer(pipeline: dlt.Pipeline, state: TState) -> TState:
    """A state that dlt takes though the working folder's has a higher version (dlt 1.31).

    The version is no part of the state's hash.
    """
    version = max(state["_state_version"], pipeline.state["_state_version"])
    return {**state, "_state_version": version}


def with_sources(state: TState, sources: Mapping[str, Any]) -> TState:
    """A state with other sources, and the hash that dlt 1.31 would give it."""
    changed: Any = {**state, "sources": sources}
    return {**changed, "_version_hash": generate_pipeline_state_version_hash(changed)}


def state_before_pending(pipeline: dlt.Pipeline) -> TState:
    """The state that the oldest pending package goes on from; without one, the pipeline's.

    A package keeps it in ``.restore``, for the day on which it is aborted (dlt 1.31).
    """
    for storage, load_id in _pending(pipeline):
        if storage.can_restore_pipeline_state(load_id):
            text, _ = storage.load_pipeline_state(load_id)
            before: TState = json_decode_state(text) if text else {}
            return before
    return pipeline.state


def is_stored(pipeline: dlt.Pipeline, state: TState) -> bool:
    """Whether the destination's files have what a state says was extracted last, or a later one.

    ``_last_extracted_hash`` is the hash of the last package's state (dlt 1.31). The names of the
    files are listed; one that was rewritten, as an erasure does, keeps its name.

    Args:
        pipeline: The pipeline, whose destination has files.
        state: As ``state_before_pending`` returns it.
    """
    extracted = state.get("_local", {}).get("_last_extracted_hash")
    if extracted is None:
        return True  # Nothing was, or no state is kept in the destination.
    wanted = {extracted}
    for storage, load_id in _pending(pipeline):
        # A kill leaves a package pending whose state is written.
        package: Any = storage.get_load_package_state(load_id)
        if "pipeline_state" in package:
            wanted.add(package["pipeline_state"]["version_hash"])
    with pipeline.destination_client() as client:
        if not isinstance(client, FilesystemClient):
            return True
        table, name = client.schema.state_table_name, pipeline.pipeline_name
        try:
            stored = {parts[2] for _, parts in client._list_dlt_table_files(table, name)}
        except DestinationUndefinedEntity:
            return False
        if stored & {client._to_path_safe_string(one) for one in wanted}:
            return True
        newest = client.get_stored_state(name) if stored else None
    if newest is None:
        return False
    # What was rewritten, and gone back to, has its hash in the file alone. Few files may be kept,
    # and another machine's be newer.
    return newest.version_hash in wanted or newest.version >= state["_state_version"]


def _is_there(pipeline: dlt.Pipeline) -> bool:
    """Whether there are files of a dataset."""
    client = pipeline.destination_client()
    return isinstance(client, FilesystemClient) and client.is_storage_initialized()


def _pending(pipeline: dlt.Pipeline) -> list[tuple[PackageStorage, str]]:
    """The packages that are not loaded, the oldest first, each with where it is."""
    return sorted(unloaded_packages(pipeline), key=lambda one: float(one[1]))
