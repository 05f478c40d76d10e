"""What ``load_windows`` proves: which spans of event time have been loaded, and which have not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dlt
from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation

from np6_source.schema import LOAD_WINDOWS
from np6_source.windows import Window, gaps, to_ms


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


def coverage(pipeline: dlt.Pipeline) -> dict[tuple[str, str], list[Window]]:
    """Reads the ledger: what all pipelines together have loaded into the dataset.

    Args:
        pipeline: A pipeline into the dataset, which need not have run; its destination must speak
            SQL.
    """
    covered: dict[tuple[str, str], list[Window]] = {}
    schema = pipeline.default_schema if pipeline.schema_names else Schema("np6")
    with pipeline.sql_client() as client:
        windows = client.make_qualified_table_name(LOAD_WINDOWS.name)
        packages = client.make_qualified_table_name(schema.loads_table_name)
        names = ("resource", "scope_id", "window_start", "window_end")
        columns = ", ".join(f"w.{client.escape_column_name(name)}" for name in names)
        load_id = client.escape_column_name("_dlt_load_id")
        # A package that was killed half-way may have left windows whose events never arrived.
        query = (
            f"SELECT DISTINCT {columns} FROM {windows} AS w"
            f" JOIN {packages} AS p ON p.load_id = w.{load_id} AND p.status = 0"
        )
        try:
            rows = client.execute_sql(query) or []
        except DatabaseUndefinedRelation:
            rows = []
    for resource, scope_id, start, end in rows:
        window = Window(to_ms(start), to_ms(end))
        covered.setdefault((resource, scope_id), []).append(window)
    return covered


def missing(asked: Window, covered: TCoverage) -> list[Gap]:
    """What of a span is missing, for every resource and scope of the coverage."""
    return sorted(
        Gap(resource, scope_id, gap)
        for (resource, scope_id), windows in covered.items()
        for gap in gaps(asked, windows)
    )
