"""What ``load_windows`` proves: which spans of event time have been loaded, and which have not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dlt
import pyarrow as pa
from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation

from .api.client import ResponseFacts
from .errors import SettingError
from .schema import LOAD_WINDOWS
from .tables.naming import name_of
from .windows import Window, gaps, to_datetime, to_ms


@dataclass(frozen=True, order=True)
class Gap:
    """A span that no load has covered.

    Attributes:
        resource: The resource.
        scope_id: The id as the ledger stores it, empty for the account.
        window: The span.
    """

    resource: str
    scope_id: str
    window: Window


TCoverage = Mapping[tuple[str, str], list[Window]]
"""Covered windows by resource and scope id."""


def coverage(
    pipeline: dlt.Pipeline, schema_name: str | None = None
) -> dict[tuple[str, str], list[Window]]:
    """Reads the ledger: what all pipelines together have loaded into the dataset.

    Args:
        pipeline: A pipeline into the dataset, which need not have run; its destination must speak
            SQL.
        schema_name: Name of the source, where several of the pipeline have loaded NP6 events.

    Raises:
        SettingError: Several have, and none was named.
    """
    loaded = [name for name in pipeline.schema_names if _has_loaded_windows(pipeline.schemas[name])]
    if schema_name is not None:
        loaded = [name for name in loaded if name == schema_name]
    if len(loaded) > 1:
        raise SettingError(f"schema_name: name one of the sources {', '.join(sorted(loaded))}")
    schema = pipeline.schemas[loaded[0]] if loaded else Schema(schema_name or "np6")
    covered: dict[tuple[str, str], list[Window]] = {}
    with pipeline.sql_client(*loaded) as client:
        windows = client.make_qualified_table_name(name_of(LOAD_WINDOWS, schema))
        packages = client.make_qualified_table_name(schema.loads_table_name)
        names = ("resource", "scope_id", "window_start", "window_end")

        def column(table: str, name: str) -> str:
            return f"{table}.{client.escape_column_name(schema.naming.normalize_path(name))}"

        columns = ", ".join(column("w", name) for name in names)
        # A package that was killed half-way may have left windows whose events never arrived; two
        # accounts in one dataset have a ledger in common, but packages of their own.
        query = (
            f"SELECT DISTINCT {columns} FROM {windows} AS w JOIN {packages} AS p"
            f" ON {column('p', 'load_id')} = {column('w', '_dlt_load_id')}"
            f" AND {column('p', 'status')} = 0 AND {column('p', 'schema_name')} = %s"
        )
        try:
            rows = client.execute_sql(query, schema.name) or []
        except DatabaseUndefinedRelation:
            rows = []
    for resource, scope_id, start, end in rows:
        window = Window(to_ms(start), to_ms(end))
        covered.setdefault((resource, scope_id), []).append(window)
    return covered


def ledger_row(
    resource: str,
    scope_label: str,
    window: Window,
    response: ResponseFacts,
    event_count: int,
    load_id: str,
) -> pa.Table:
    """The row that proves a window.

    Args:
        resource: The resource.
        scope_label: The id as the ledger stores it, empty for the account.
        window: The span that is complete.
        response: What is known of the response beside its body.
        event_count: Events of the window in the response.
        load_id: The load package that commits the events and the row.
    """
    row = {
        "resource": resource,
        "scope_id": scope_label,
        "window_start": to_datetime(window.start),
        "window_end": to_datetime(window.end),
        "requested_at": to_datetime(response.requested_at),
        "event_count": event_count,
        "byte_count": response.byte_count,
        "duration_ms": response.duration_ms,
        "request_id": response.request_id,
        "_dlt_load_id": load_id,
    }
    return pa.Table.from_pylist([row], schema=LOAD_WINDOWS.arrow_schema)


def _has_loaded_windows(schema: Schema) -> bool:
    return name_of(LOAD_WINDOWS, schema) in schema.tables


def missing(asked: Window, covered: TCoverage) -> list[Gap]:
    """What of a span is missing, for every resource and scope of the coverage."""
    return sorted(
        Gap(resource, scope_id, gap)
        for (resource, scope_id), windows in covered.items()
        for gap in gaps(asked, windows)
    )
