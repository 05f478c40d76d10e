"""How the tables lie in a destination: partitions, clusters, sort and distribution keys.

Given only where they do good, see the README. dlt's general ``partition`` hint is never used: on
files it would make one partition of every distinct timestamp (dlt 1.31).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .schema import Table


@dataclass(frozen=True)
class Layout:
    """Hints of dlt's that lay out a table.

    Attributes:
        table: Hints of the table.
        columns: Hints of columns, by column name.
    """

    table: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def layout(table: Table, destination: str | None) -> Layout:
    """The hints for a table.

    Args:
        table: The table.
        destination: Short type of the destination, where it is known.
    """
    lay_out = LAYOUTS.get(destination or "")
    if lay_out is None or table.partition_by is None:
        return Layout()
    return lay_out(table, table.partition_by)


def _bigquery(table: Table, partition_by: str) -> Layout:
    """One partition a day: 10,000 of them, and 4,000 in one load, are BigQuery's limits."""
    return Layout(
        table={"x-bigquery-cluster-columns": list(table.cluster_by)} if table.cluster_by else {},
        columns={partition_by: {"x-bigquery-partition": True}},
    )


def _databricks(table: Table, partition_by: str) -> Layout:
    """Liquid clustering; Databricks advises against partitions below a terabyte."""
    return Layout(
        columns={name: {"x-databricks-cluster": True} for name in (partition_by, *table.cluster_by)}
    )


def _redshift(table: Table, partition_by: str) -> Layout:
    """The rows of an event lie on one node, in staging too: joins and merges move none."""
    columns: dict[str, dict[str, Any]] = defaultdict(dict)
    columns[partition_by]["sort"] = True
    columns[table.key[0]]["cluster"] = True
    return Layout(columns=dict(columns))


def _clickhouse(table: Table, partition_by: str) -> Layout:
    """By quarter: an insert may touch a hundred partitions, which months reach in eight years.

    Rows are sorted by the key, which makes a merge's delete quick; dlt makes it a prefix of every
    sort key.
    """
    return Layout(table={"x-clickhouse-partition": f"toStartOfQuarter({partition_by})"})


LAYOUTS: Mapping[str, Callable[[Table, str], Layout]] = {
    "bigquery": _bigquery,
    "clickhouse": _clickhouse,
    "databricks": _databricks,
    "redshift": _redshift,
}
"""What lays out the tables, by short type of the destination.

Not in it: Snowflake, whose micro-partitions follow the order of loading, which is the order of
time; a clustering key would have it rewrite them at a price. DuckDB and PostgreSQL, which have
nothing of the kind that dlt knows.
"""
