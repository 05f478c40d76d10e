"""PostgreSQL under a policy: all rows changed in one transaction.

The former values stay in dead rows until VACUUM FULL. The key never reaches the server: values are
made here, for a server's log may have its statements' parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..persons.dataset import Dataset
from .values import NewValue, TNewValues

AT_ONCE = 5_000
"""Rows that are read and written at once."""


def mask_rows(data: Dataset, values: TNewValues) -> None:
    """Changes the rows; to be called inside a transaction.

    Args:
        data: The dataset.
        values: What changes; names of tables and columns as in ``schema``.
    """
    for table, changed in values.items():
        data.execute(f"LOCK TABLE {data.name(table)} IN SHARE ROW EXCLUSIVE MODE")
        made = [one for one in changed if one.make is not None]
        if made:
            for rows in _read(data, table, made, changed):
                _write(data, table, changed, rows)
        else:
            nothing = ", ".join(f"{data.column(one.column)} = NULL" for one in changed)
            data.execute(f"UPDATE {data.name(table)} SET {nothing} WHERE {_filled(data, changed)}")


def _read(
    data: Dataset, table: str, made: Sequence[NewValue], changed: Sequence[NewValue]
) -> Iterator[list[tuple[Any, ...]]]:
    """Where each row is, and the values that its new ones are made of; a cursor sees no changes."""
    given = dict.fromkeys(name for one in made for name in one.of)
    columns = ", ".join(f"{data.column(name)}::text" for name in given)
    where = "" if any(one.of_null for one in changed) else _filled(data, changed)
    data.execute(
        f"DECLARE np6_rows NO SCROLL CURSOR FOR SELECT ctid::text, {columns} FROM"
        f" {data.name(table)}" + (f" WHERE {where}" if where else "")
    )
    names = list(given)
    while rows := data.execute(f"FETCH {AT_ONCE} FROM np6_rows"):
        found = []
        for ctid, *values in rows:
            known = dict(zip(names, values, strict=True))
            new = [None if o.make is None else o.make(*(known[n] for n in o.of)) for o in changed]
            found.append((ctid, *new))
        yield found
    data.execute("CLOSE np6_rows")


def _write(
    data: Dataset, table: str, changed: Sequence[NewValue], rows: list[tuple[Any, ...]]
) -> None:
    stays: list[tuple[Any, ...]] = []
    goes: list[tuple[Any, ...]] = []
    for row in rows:
        is_kept = all(o.keeps_row or v is not None for o, v in zip(changed, row[1:], strict=True))
        (stays if is_kept else goes).append(row)
    if goes:
        ctids = [row[0] for row in goes]
        data.execute(f"DELETE FROM {data.name(table)} WHERE ctid = ANY(%s::text[]::tid[])", ctids)
    if not stays:
        return
    new = ", ".join(
        f"{data.column(one.column)} = " + ("NULL" if one.make is None else f"m.v{number}")
        for number, one in enumerate(changed)
    )
    ctids, *columns = (list(column) for column in zip(*stays, strict=True))
    arrays = [(f"v{n}", c) for n, (c, o) in enumerate(zip(columns, changed, strict=True)) if o.make]
    data.execute(
        f"UPDATE {data.name(table)} AS t SET {new} FROM unnest(%s::text[]"
        f"{', %s::text[]' * len(arrays)}) AS m(row_id{''.join(f', {n}' for n, _ in arrays)})"
        " WHERE t.ctid = m.row_id::tid",
        ctids,
        *(column for _, column in arrays),
    )


def _filled(data: Dataset, changed: Sequence[NewValue]) -> str:
    return " OR ".join(f"{data.column(one.column)} IS NOT NULL" for one in changed)
