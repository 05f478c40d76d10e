"""DuckDB's merge of rows that are in a load's files, not in a staging table.

It does what dlt's merge does with ``merge.destination_scope``, in one transaction for the same
reason. Rows that are not to be inserted are few: they are noted first, and all others then go from
the files into the table in the order of the files. A ``row_number`` over all rows, as dlt has it,
would gather and scatter all of them, and what is out of order compresses worse.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ..destinations import CLOCK_NOISE, Destination
from ..schema import REQUESTED_AT, TIMESTAMP, TOMBSTONE, Table
from .merge import filled_columns, in_range_of_time

MERGE = "x-np6-merge"
"""Table hint for ``duck``: how rows of the table are replaced, see ``how_rows_are_replaced``."""

ROW_OF_FILE = ("np6_file", "file_row_number")
"""Columns of rows in files that say which row of which file each is."""

_ROW = ", ".join(ROW_OF_FILE)
_TIME = REQUESTED_AT.name


def how_rows_are_replaced(
    table: Table,
    destination: Destination,
    timestamps_are_final: bool,
    absent: Collection[str] = (),
) -> dict[str, Any]:
    """The fields of ``FileMerge`` that are the table's."""
    return {
        "by": list((table.replaced_by,) if table.replaced_by else table.key),
        "in_range_of_time": destination.skips_by_time and timestamps_are_final,
        "tombstones": table.replaced_by is not None,
        "filled": filled_columns(table, absent),
    }


@dataclass(frozen=True)
class FileMerge:
    """A merge of files into a table.

    Attributes:
        source: Where the rows are, as SQL; it gives the columns ``ROW_OF_FILE`` as well.
        target: The table, as SQL.
        key: Columns that identify a row.
        columns: The table's columns.
        by: Columns by which rows go.
        in_range_of_time: Only rows in the range of time of the new ones are looked at.
        tombstones: Rows may only say that an event has none.
        filled: Columns in which rows of the same version complete each other.
        aside: How the names begin of tables that are there meanwhile.
    """

    source: str
    target: str
    key: Sequence[str]
    columns: Sequence[str]
    by: Sequence[str]
    in_range_of_time: bool
    tombstones: bool
    filled: Sequence[str]
    aside: str

    def statements(self) -> list[str]:
        """The statements, for one transaction."""
        if not self.filled:
            return [
                self._leave_out_stale(),
                self._delete_replaced(),
                self._leave_out_repeated(),
                self._insert_kept(),
                f"DROP TABLE {self._left_out}",
            ]
        return [
            self._leave_out_stale(),
            *self._complete_versions(),
            self._delete_replaced(),
            *self._leave_out_completed(),
            self._leave_out_repeated(),
            self._insert_kept(),
            f"INSERT INTO {self.target} BY NAME SELECT * FROM {self._completed}",
            *(f"DROP TABLE {t}" for t in (self._left_out, self._versions, self._completed)),
        ]

    @property
    def _left_out(self) -> str:
        """Table of the rows of files that are not inserted."""
        return f"{self.aside}_left_out"

    @property
    def _versions(self) -> str:
        """Table of the versions that more than one row has."""
        return f"{self.aside}_versions"

    @property
    def _completed(self) -> str:
        """Table of the rows that stand for the rows of such a version."""
        return f"{self.aside}_completed"

    @property
    def _kept(self) -> str:
        """The rows of files without those that are left out so far."""
        return f"(SELECT * FROM {self.source} ANTI JOIN {self._left_out} USING ({_ROW}))"

    @property
    def _keys(self) -> str:
        return _quoted(self.key)

    @property
    def _version(self) -> str:
        """The columns that rows of one version share."""
        return _quoted([*self.key, TIMESTAMP.name])

    def _leave_out_stale(self) -> str:
        """Leaves out rows of which the table has newer ones."""
        same = " AND ".join(f's."{column}" = t."{column}"' for column in self.by)
        # A row of the same version is not stale: it may say more.
        is_other = f" AND t.{TIMESTAMP.name} <> s.{TIMESTAMP.name}" if self.filled else ""
        return (
            f"CREATE TEMP TABLE {self._left_out} AS SELECT DISTINCT {_ROW}"
            f" FROM {self.source} AS s JOIN {self.target} AS t ON {same}"
            f" WHERE t.{_TIME} > s.{_TIME} + {CLOCK_NOISE}"
            f" AND t.{_TIME} > (SELECT min({_TIME}) FROM {self.source}) + {CLOCK_NOISE}{is_other}"
        )

    def _complete_versions(self) -> list[str]:
        """Makes of the rows of each version, in files and the table, one that has all values."""
        near = in_range_of_time(TIMESTAMP.name, TIMESTAMP.name, self.source)
        there = f"(SELECT * FROM {self.target} WHERE {near})"
        newest = ", ".join(
            f'arg_max("{column}", {_TIME}) AS "{column}"'
            if column in self.filled
            else f'first("{column}" ORDER BY {_TIME} DESC) AS "{column}"'
            for column in self.columns
            if column not in (*self.key, TIMESTAMP.name, _TIME)
        )
        version, kept = self._version, self._kept
        return [
            f"CREATE TEMP TABLE {self._versions} AS SELECT {version} FROM (SELECT {version}"
            f" FROM {kept} UNION ALL SELECT {version} FROM {there}"
            f" SEMI JOIN {self.source} USING ({version})) GROUP BY ALL HAVING count(*) > 1",
            f"CREATE TEMP TABLE {self._completed} AS SELECT {version}, {newest},"
            f" max({_TIME}) AS {_TIME} FROM (SELECT * EXCLUDE ({_ROW}) FROM {kept}"
            f" UNION ALL BY NAME SELECT * FROM {there})"
            f" SEMI JOIN {self._versions} USING ({version}) GROUP BY {version}",
        ]

    def _delete_replaced(self) -> str:
        """Deletes the table's rows that rows of files replace."""
        bound = (
            f" AND {in_range_of_time(TIMESTAMP.name, TIMESTAMP.name, self._kept)}"
            if self.in_range_of_time
            else ""
        )
        by = _quoted(self.by)
        return f"DELETE FROM {self.target} WHERE ({by}) IN (SELECT {by} FROM {self._kept}){bound}"

    def _leave_out_completed(self) -> list[str]:
        """Leaves out the rows that were completed, and versions of which the load has a newer."""
        version, kept = self._version, self._kept
        return [
            f"INSERT INTO {self._left_out} SELECT {_ROW} FROM {kept}"
            f" SEMI JOIN {self._versions} USING ({version})",
            f"DELETE FROM {self._completed} WHERE ({version}) IN (SELECT {version} FROM"
            f" (SELECT {version}, row_number() OVER (PARTITION BY {self._keys}"
            f" ORDER BY {_TIME} DESC, {TIMESTAMP.name} DESC) AS np6_rank FROM"
            f" (SELECT {version}, {_TIME} FROM {kept} SEMI JOIN {self._completed}"
            f" USING ({self._keys}) UNION ALL SELECT {version}, {_TIME} FROM {self._completed}))"
            " WHERE np6_rank > 1)",
        ]

    def _leave_out_repeated(self) -> str:
        """Leaves out all rows of a key but the one requested last."""
        keys = self._keys
        others = (
            f" UNION ALL BY NAME SELECT {keys}, {_TIME} FROM {self._completed}"
            if self.filled
            else ""
        )
        return (
            f"INSERT INTO {self._left_out} SELECT {_ROW} FROM (SELECT {_ROW}, row_number()"
            f" OVER (PARTITION BY {keys} ORDER BY {_TIME} DESC) AS np6_rank FROM"
            f" (SELECT {keys}, {_TIME}, {_ROW} FROM {self._kept}"
            f" SEMI JOIN (SELECT {keys} FROM {self.source} GROUP BY ALL HAVING count(*) > 1)"
            f" USING ({keys}){others})) WHERE np6_rank > 1 AND {ROW_OF_FILE[0]} IS NOT NULL"
        )

    def _insert_kept(self) -> str:
        """Inserts the rows that are left, in the order of the files."""
        no_tombstones = (
            f" WHERE {TOMBSTONE.column} IS DISTINCT FROM '{TOMBSTONE.value}'"
            if self.tombstones
            else ""
        )
        return (
            f"INSERT INTO {self.target} BY NAME SELECT * EXCLUDE ({_ROW})"
            f" FROM {self._kept}{no_tombstones}"
        )


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
