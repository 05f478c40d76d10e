"""What each destination does in its own way: a frozen row per destination.

A destination that has no row merges as dlt's documentation says: rows go by their keys.
Partitions, clusters, sort and distribution keys are given only where they do good, see
``docs/destinations.md``. dlt's general ``partition`` hint is never used: on files it would make one
partition of every distinct timestamp (dlt 1.31).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import dlt

from .schema import Table

TReplaces = Literal["keys", "scope", "versions", "by itself"]
"""By what the rows go that newer ones replace.

``keys``: by their primary key, as dlt has it.

``scope``: rows that go all together by a condition in place of the keys: one delete where dlt would
run two that cost money or a mutation each (BigQuery, ClickHouse, Snowflake), or an OR whose plan is
not known (Databricks, Redshift).

``versions``: all rows by statements of our own, in one transaction that leaves newer rows alone,
see ``tables.merge``.

``by itself``: the destination has no delete-insert (dlt 1.31). Delta and Iceberg tables are merged
by key, see ``open_tables``; plain files are appended to.
"""

CLOCK_NOISE_SECONDS = 5
CLOCK_NOISE = f"INTERVAL '{CLOCK_NOISE_SECONDS} seconds'"
"""By how much a row must be newer to count as newer: both times come from clocks that a ``Date``
header gives to the second."""

TLock = Literal["file", "advisory"]
"""What makes processes that load into one dataset wait for each other, see ``dataset_lock``."""


@dataclass(frozen=True)
class Layout:
    """Hints of dlt's that lay out a table.

    Attributes:
        table: Hints of the table.
        columns: Hints of columns, by column name.
    """

    table: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Destination:
    """What is particular about a destination.

    Attributes:
        kind: dlt's short type of it: ``postgres``.
        replaces: By what rows go that newer ones replace.
        skips_by_time: Whether it skips the parts of a table whose times lie outside a range of
            which it learns while the statement runs. Where timestamps are final, a merge then costs
            what the increment does, and does not read the whole table's keys.
        quotes: Whether statements quote names, in the case of the schema's naming convention. The
            others take names unquoted, whatever the convention.
        lock_table: Statement that keeps other merges from a table until the transaction ends.
        file_format: Loader file format to take, where dlt's own choice changes values.
        driver_format: The one to take where dlt's driver for it is installed, and no table is
            empty.
        refuses: Loader file formats that it takes and spoils, with the reason.
        layout: Lays out a table by its column of time. None: as rows come. Snowflake's
            micro-partitions follow the order of loading, which is the order of time; a clustering
            key would have it rewrite them at a price. DuckDB and PostgreSQL have nothing of the
            kind that dlt knows.
        lock: What makes processes wait for each other.
        merges_into: Table formats that dlt merges into, where it appends to all others. Empty: it
            merges into all tables.
        one_writer: Table formats into which only one process may merge at a time, where no lock
            makes the others wait.
    """

    kind: str
    replaces: TReplaces = "keys"
    skips_by_time: bool = False
    quotes: bool = False
    lock_table: str | None = None
    file_format: str | None = None
    driver_format: str | None = None
    refuses: Mapping[str, str] = field(default_factory=dict)
    layout: Callable[[Table, str], Layout] | None = None
    lock: TLock | None = None
    merges_into: frozenset[str] = frozenset()
    one_writer: frozenset[str] = frozenset()

    def lay_out(self, table: Table) -> Layout:
        """The hints that lay out a table; none where the destination gains nothing."""
        if self.layout is None or table.partition_by is None:
            return Layout()
        return self.layout(table, table.partition_by)

    @property
    def takes_tombstones(self) -> bool:
        """Whether a row that only says that an event has none can be handed on."""
        return self.replaces != "keys"

    def appends_to(self, table_format: str | None) -> bool:
        """Whether tables of a format are appended to, so that copies of a row stay."""
        return bool(self.merges_into) and table_format not in self.merges_into


_SPOILED_BY_DUCKDB = {
    # dlt 1.31 reads an empty file of JSON lines as one column "json".
    "jsonl": "DuckDB turns texts that look like a UUID or a time into others"
}

DESTINATIONS = (
    Destination("bigquery", replaces="scope", layout=_bigquery),
    Destination("clickhouse", replaces="scope", layout=_clickhouse),
    Destination("databricks", replaces="scope", layout=_databricks),
    Destination(
        "duckdb",
        replaces="versions",
        skips_by_time=True,
        refuses=_SPOILED_BY_DUCKDB,
        lock="file",
    ),
    Destination("ducklake", replaces="versions", skips_by_time=True),
    Destination(
        "filesystem",
        replaces="by itself",
        merges_into=frozenset({"delta", "iceberg"}),
        one_writer=frozenset({"iceberg"}),
    ),
    Destination("motherduck", replaces="versions", skips_by_time=True, refuses=_SPOILED_BY_DUCKDB),
    Destination(
        "postgres",
        replaces="versions",
        quotes=True,
        lock_table="LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE",
        # dlt 1.31's Parquet way, binary COPY by ADBC, fails on an empty file.
        file_format="insert_values",
        driver_format="parquet",
        refuses={"csv": "dlt copies it with FORCE_NULL, which turns empty texts into NULL"},
        lock="advisory",
    ),
    Destination("redshift", replaces="scope", layout=_redshift),
    Destination("snowflake", replaces="scope", quotes=True),
)
"""The destinations that differ from dlt's documentation. One is added by adding a row."""

_BY_KIND = {row.kind: row for row in DESTINATIONS}


def destination(kind: str | None) -> Destination:
    """The row of a destination, a plain one where there is none.

    Args:
        kind: dlt's short type of it; None where it is not known.
    """
    return _BY_KIND.get(kind or "") or Destination(kind or "")


def destination_of(pipeline: dlt.Pipeline) -> Destination:
    """The row of the destination that a pipeline loads to."""
    return destination(kind_of_destination(pipeline))


def kind_of_destination(pipeline: dlt.Pipeline) -> str:
    """Short type of the destination: ``postgres``; empty where there is none."""
    found = pipeline.destination
    return found.destination_type.rpartition(".")[2] if found else ""
