"""How rows of a load replace a table's, where dlt merges into files and not in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..destinations import CLOCK_NOISE
from ..schema import EXECUTION_DATA_TABLE, TIMESTAMP, TOMBSTONE

ROWS_AT_ONCE = 50_000
"""Rows of a file that are in memory at once."""

REPLACED_BY = "x-np6-replaced-by"
"""Table hint: column by which all earlier rows go when newer ones arrive."""

FILLED = "x-np6-filled"
"""Table hint: columns in which a row of the same version, with a value, stands in for one without;
see ``tables.merge``."""


@dataclass(frozen=True)
class Merge:
    """How rows replace others.

    Attributes:
        key: Columns that identify a row; rows are looked for by the first.
        replaced_by: Column by which all earlier rows go; None: rows go by their key.
        requested_at: Column that says which of two rows is newer.
        filled: Columns in which a row with the same key and timestamp stands in for one without a
            value.
    """

    key: Sequence[str]
    replaced_by: str | None
    requested_at: str
    filled: Sequence[str] = ()

    def completed(self, new: pa.Table, old: pa.Table) -> pa.Table:
        """Rows of a load with what the table's rows of the same version say besides.

        Args:
            new: The rows of the load, each key once.
            old: The table's rows with the same first key column as one of them.

        Returns:
            The rows. One that is older than the table's but says more is the table's, completed.
        """
        filled = [name for name in self.filled if name in new.column_names]
        if not filled or not old.num_rows:
            return new
        same = " AND ".join(f'n."{name}" = o."{name}"' for name in (*self.key, TIMESTAMP.name))
        time = f'"{self.requested_at}"'
        is_older = f"o.{time} > n.{time} + {CLOCK_NOISE} AND ({says_more(filled, 'n', 'o')})"
        values = {name: f'n."{name}"' for name in new.column_names}
        for name in filled:
            values[name] = (
                f'CASE WHEN older THEN coalesce(o."{name}", n."{name}")'
                f' ELSE coalesce(n."{name}", o."{name}") END'
            )
        values[self.requested_at] = f"CASE WHEN older THEN o.{time} ELSE n.{time} END"
        columns = ", ".join(f'{value} AS "{name}"' for name, value in values.items())
        with duckdb.connect(config={"memory_limit": "300MB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("new", new)
            connection.register("old", old)
            rows = connection.sql(
                f"SELECT {columns} FROM new AS n LEFT JOIN old AS o ON {same}"
                f", LATERAL (SELECT {is_older} AS older)"
            )
            return rows.to_arrow_table().cast(new.schema)

    def outcome(self, new: pa.Table, old: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Which rows of a load to write, and which rows of the table they replace.

        Args:
            new: The rows of the load, each key once.
            old: The table's rows with the same first key column as one of them.

        Returns:
            The rows to put in, those of ``new`` of which the table has nothing newer. The keys of
            the rows to take away.
        """
        by = [self.replaced_by] if self.replaced_by else list(self.key)
        with duckdb.connect(config={"memory_limit": "300MB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("new", new)
            connection.register("old", old)
            same = " AND ".join(f'new."{name}" = old."{name}"' for name in by)
            time = f'"{self.requested_at}"'
            newer = f"old.{time} > new.{time} + {CLOCK_NOISE}"
            rows = connection.sql(f"SELECT * FROM new ANTI JOIN old ON {same} AND {newer}")
            rows = rows.to_arrow_table().select(new.column_names).cast(new.schema)
            connection.register("taken", rows)
            same = same.replace("new.", "taken.")
            keys = ", ".join(f'"{name}"' for name in self.key)
            gone = connection.sql(f"SELECT {keys} FROM old SEMI JOIN taken ON {same}")
            return rows, gone.to_arrow_table()


def says_more(columns: Sequence[str], one: str, other: str) -> str:
    """Whether a row has a value where another has none, as SQL."""
    return " OR ".join(
        f'{one}."{name}" IS NOT NULL AND {other}."{name}" IS NULL' for name in columns
    )


def without_tombstones(rows: pa.Table) -> pa.Table:
    """The rows without those that only say that an event has none."""
    if not {*EXECUTION_DATA_TABLE.key, TOMBSTONE.column} <= set(rows.column_names):
        return rows  # A cancellation's value_type may have the same word.
    says = pc.equal(rows[TOMBSTONE.column], TOMBSTONE.value)
    return rows.filter(pc.invert(pc.fill_null(says, False)))


def each_key_once(
    files: Sequence[str],
    key: Sequence[str],
    order: str,
    folder: Path,
    filled: Sequence[str] = (),
) -> list[str]:
    """Parquet files with the rows of others, but each key once.

    Args:
        files: Parquet files.
        key: Columns that identify a row.
        order: Column and direction; the row that comes first stays.
        folder: Where to write; temporary files go there too.
        filled: Columns in which the row that stays takes a value that others of the same version
            have.

    Returns:
        The files in order; those that lose no row are the given ones. Rows that were completed are
        in a further one.
    """
    columns = ", ".join(f'"{name}"' for name in key)
    column, _, direction = order.partition(" ")
    # DuckDB takes a single quote in a path as the end of a literal, and * or [ as a pattern:
    # parameters avoid the first, dlt's names of folders and files have neither of the others.
    query = f"""
        SELECT filename, list(file_row_number)
        FROM (
            SELECT filename, file_row_number, row_number() OVER (
                PARTITION BY {columns}
                ORDER BY "{column}" {direction}, filename DESC, file_row_number DESC
            ) AS nth, count(*) OVER (PARTITION BY {columns}) AS copies
            FROM read_parquet($files, filename = true, file_row_number = true)
        )
        WHERE {"copies > 1" if filled else "nth > 1"}
        GROUP BY filename
    """
    completed = folder / "completed.parquet"
    with duckdb.connect(
        config={"memory_limit": "300MB", "temp_directory": str(folder)}
    ) as connection:
        repeated = dict(connection.execute(query, {"files": list(files)}).fetchall())
        if repeated and filled:
            _complete(connection, files, key, order, filled, completed)
    once = [
        _without(Path(file), repeated[file], folder / f"{number}.parquet")
        if file in repeated
        else file
        for number, file in enumerate(files)
    ]
    return [*once, str(completed)] if repeated and filled else once


def _complete(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    key: Sequence[str],
    order: str,
    filled: Sequence[str],
    target: Path,
) -> None:
    """Writes the rows of keys that occur more than once, each once and completed."""
    schema = pq.read_schema(files[0])
    connection.execute("SET TimeZone = 'UTC'")
    column, _, direction = order.partition(" ")
    keys = ", ".join(f'"{name}"' for name in key)
    first = f'ORDER BY "{column}" {direction}, filename DESC, file_row_number DESC'
    same = f'PARTITION BY {keys}, "{TIMESTAMP.name}"'
    values = ", ".join(
        f'coalesce("{name}", max("{name}") OVER ({same})) AS "{name}"'
        if name in filled
        else f'"{name}"'
        for name in schema.names
    )
    rows = connection.execute(
        f"""
        SELECT {values}
        FROM read_parquet(
            $files, union_by_name = true, filename = true, file_row_number = true
        )
        QUALIFY count(*) OVER (PARTITION BY {keys}) > 1
            AND row_number() OVER (PARTITION BY {keys} {first}) = 1
        """,
        {"files": list(files)},
    )
    read = getattr(rows, "to_arrow_reader", None) or rows.fetch_record_batch
    with pq.ParquetWriter(target, schema) as writer:
        for batch in read(ROWS_AT_ONCE):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))


def _without(source: Path, rows: Sequence[int], target: Path) -> str:
    """Copies a Parquet file without some of its rows."""
    dropped = pa.array(rows, pa.int64())
    position = 0
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, file.schema_arrow) as writer:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            numbers = pa.array(range(position, position + batch.num_rows), pa.int64())
            writer.write_batch(batch.filter(pc.invert(pc.is_in(numbers, dropped))))
            position += batch.num_rows
    return str(target)
