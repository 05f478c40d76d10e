"""What a host project does around a resource, checked before anything of it is loaded.

dlt refreshes and drops tables by resource and by schema; the tables here belong to several
resources. What would keep a cursor whose events are gone is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import dlt
from dlt.common.schema import Schema
from dlt.destinations import filesystem

from ..bookkeeping.source_state import has_loaded, has_progress
from ..dataset_lock import duckdb_file
from ..dlt_internals.configuration import fails_with_its_jobs
from ..dlt_internals.packages import current_refresh
from ..dlt_internals.pipelines import has_one_dataset, is_taken_for_catalog
from ..dlt_internals.resources import extracted_resources, transformers_of
from ..errors import SettingError, TableMissing, listed, scope_name
from ..ledger import coverage
from ..open_tables.intact import missing_from_lake
from ..schema import EVENTS
from ..tables.naming import filled, name_of, names
from ..windows import iso
from .reload_intent import INTENT

if TYPE_CHECKING:
    from dlt.destinations.impl.filesystem.filesystem import FilesystemClient


def check_cursor(resource: str, cursor: dlt.sources.incremental[Any]) -> None:
    """Refuses an incremental of the host's that does not go by the events' timestamp.

    Args:
        resource: Name of the resource.
        cursor: Its incremental.

    Raises:
        SettingError: It goes by something else, or backwards.
    """
    if cursor.cursor_path != "timestamp" or cursor.last_value_func is not max:
        raise SettingError(
            f"{resource}: the incremental must go by 'timestamp', forwards: the API can be asked"
            " for nothing else. Give initial_value and, for a backfill, end_value only:"
            " dlt.sources.incremental('timestamp', initial_value=..., end_value=...)"
        )


def check_failed_jobs(resource: str) -> None:
    """Refuses a configuration in which a package counts as complete though a job of it failed.

    The ledger's row would then prove events that never arrived.

    Args:
        resource: Name of a resource.

    Raises:
        SettingError: It is such a one.
    """
    if not fails_with_its_jobs():
        raise SettingError(
            f"{resource}: load.raise_on_failed_jobs=false lets a package count as loaded when a"
            " table of it was not: its events would be missing for good. Take the setting away;"
            " a job that fails then fails the run, and the next run loads the package again."
        )


def check_catalog(resource: str) -> None:
    """Refuses a dataset with the name of its DuckDB file: the tables could not be made.

    Args:
        resource: Name of the resource.

    Raises:
        SettingError: The names are the same.
    """
    pipeline = dlt.current.pipeline()
    file, dataset = duckdb_file(pipeline), pipeline.dataset_name
    if file is not None and is_taken_for_catalog(file, dataset):
        raise SettingError(
            f"{resource}: the DuckDB file {file.name} and the dataset {dataset!r} need different"
            " names, else DuckDB cannot tell them apart. Give one of them another"
            " name: dlt.pipeline('np6_to_duckdb', destination='duckdb', dataset_name='np6')."
        )


def check_transformers(resource: str) -> None:
    """Refuses transformers of a resource.

    dlt 1.31 passes the name of a batch's table on to what a transformer makes of it: its rows would
    land in that table.

    Args:
        resource: Name of the resource.

    Raises:
        SettingError: There is one.
    """
    found = transformers_of(resource)
    if found:
        raise SettingError(
            f"{resource}: the rows of transformer {', '.join(found)} would land in the tables of"
            f" the events. Change the tables with add_map or add_yield_map, or iterate over"
            f" np6_source().resources[{resource!r}] in a resource of your own."
        )


def is_emptied(schema: Schema) -> bool:
    """Whether the load package that is being made drops or empties the events' table."""
    return name_of(EVENTS, schema) in current_refresh().tables


def check_refresh(resource: str, starts: Mapping[str, int], has_end: bool) -> None:
    """Refuses a refresh that drops what the run does not read again.

    Args:
        resource: Name of the resource.
        starts: From when the run reads each of its ids, by the id as the ledger stores it,
            milliseconds since the epoch.
        has_end: Whether the run reads up to a given end.

    Raises:
        SettingError: Events of other resources would be gone for good.
    """
    refresh = current_refresh()
    gone = set(refresh.tables)
    schema = dlt.current.source_schema()
    if gone.isdisjoint(names(schema)):
        return
    refreshed = extracted_resources()
    kept = sorted(set(filled(schema)) - gone)
    others = sorted(
        name
        for name, state in dlt.current.source_state().get("resources", {}).items()
        if name not in refreshed and has_loaded(state)
    )
    if kept or others:
        because = (
            f"{', '.join(others)} loaded events into them as well"
            if others
            else f"{', '.join(kept)} would stay"
        )
        raise SettingError(
            f"{resource}: refresh={refresh.mode!r} would empty tables that the resources"
            f" share, but {because}. Nothing was changed. Take refresh='drop_sources', which"
            " forgets every resource, or select all resources that were ever loaded. To read a"
            " range again without dropping anything, load it with start=... and end=...."
        )
    shared = sorted(_schemas_beside(schema, gone))
    if shared:
        raise SettingError(
            f"{resource}: refresh={refresh.mode!r} would empty tables that"
            f" {', '.join(shared)} has loaded events into as well. Nothing was changed. Give each"
            " account a dataset of its own: a pipeline each, or use_single_dataset=false."
        )
    lost = _not_read_again(resource, starts, schema)
    if lost or has_end:
        shown = listed(lost, separator="; ")
        raise SettingError(
            f"{resource}: refresh={refresh.mode!r} would empty tables and not load again"
            " what this or another pipeline has loaded into them:"
            f" {shown or 'what is after end'}. Nothing was changed. Select all resources and ids,"
            " with the earliest start and no end; or take"
            " np6_source.loading.load(pipeline, source, reload=True), which drops nothing."
        )


def _not_read_again(resource: str, starts: Mapping[str, int], schema: Schema) -> list[str]:
    """What the ledger proves and a run that begins anew does not read."""
    selected = dlt.current.source().resources.selected
    lost = []
    loaded = coverage(dlt.current.pipeline(), schema.name, still_there=False)
    for (name, scope), windows in sorted(loaded.items()):
        first = min((window.start for window in windows), default=None)
        is_read = name in selected
        if name == resource and first is not None:
            is_read = scope in starts and starts[scope] <= first
        if first is not None and not is_read:
            lost.append(f"{scope_name(name, scope)} from {iso(first)}")
    return lost


def check_tables(resource: str) -> None:
    """Refuses to go on from a cursor once the tables are gone, as by ``dlt pipeline drop``.

    Args:
        resource: Name of a resource that has been loaded before.

    Raises:
        SettingError: dlt's schema has lost the events.
    """
    schema = dlt.current.source_schema()
    if schema.is_new_table(name_of(EVENTS, schema)):
        raise SettingError(
            f"{resource}: table {EVENTS.name} was dropped, but earlier runs loaded it: going on"
            " from their cursor would leave a hole. Load everything again with"
            " pipeline.run(..., refresh='drop_sources')."
        )


def check_lake() -> None:
    """Refuses to go on where a lake lacks a table into which earlier runs loaded.

    A database has a ledger, which proves nothing then.

    Raises:
        TableMissing: A table is gone or damaged. A reload makes those anew that are gone.
        SettingError: One was moved.
    """
    pipeline, schema = dlt.current.pipeline(), dlt.current.source_schema()
    expected = filled(schema)
    if not expected or not isinstance(pipeline.destination, filesystem) or is_emptied(schema):
        return
    if pipeline.list_normalized_load_packages():
        return  # One may be about to make the tables.
    with pipeline.destination_client(schema.name) as client:
        gone = missing_from_lake(cast("FilesystemClient", client), expected)
    state = dlt.current.source_state()
    # Without progress everything is read from the start anyway.
    if gone and has_progress(state) and INTENT not in state:
        raise TableMissing.of(gone, pipeline.dataset_name)


def _schemas_beside(schema: Schema, gone: set[str]) -> set[str]:
    """Other schemas of the pipeline that have loaded into the same tables of the same dataset."""
    pipeline = dlt.current.pipeline()
    if not has_one_dataset(pipeline):
        return set()
    return {
        name
        for name in pipeline.schemas
        if name != schema.name and not gone.isdisjoint(filled(pipeline.schemas[name]))
    }
