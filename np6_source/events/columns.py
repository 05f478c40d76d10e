"""The values of a batch of events, taken out of DuckDB's rows and laid into columns.

First the values by payload path, then the columns by ``contract.alias``: a wide table from which
``rows`` cuts the tables. Arrow does it without copying.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import EXECUTION_DATA, EXPECTED_VALUES, Column, Path
from .contract import ALIASES, CONTAINERS, DATES, EARLIEST_MS, LATEST_MS, LEAVES, SOURCED
from .queries import DATA, EXTRACTED, KNOWN, RAW, REPEATS, SHAPE

TValues = dict[str, pa.Array]
"""Values by payload path; a path at which no event of the batch has one is left out."""

EXPECTED = {path.path: pa.array(known) for path, known in EXPECTED_VALUES}
"""The known values of fields that have no column."""

_TEXTS_OR_OBJECTS = tuple(leaf for leaf in LEAVES if leaf in CONTAINERS)


def known_fields(batch: pa.RecordBatch) -> pa.StructArray:
    """``KNOWN`` from a batch of ``queries.select_known``."""
    names = [name for name in batch.schema.names if name != REPEATS]
    return pa.StructArray.from_arrays([batch[name] for name in names], names=names)


def known_values(known: pa.StructArray) -> TValues:
    """The values of the known fields, and the objects that hold them."""
    found: TValues = {}
    _collect(known, "", found)
    return found


def _collect(node: pa.StructArray, prefix: str, found: TValues) -> None:
    for entry, values in zip(node.type, node.flatten(), strict=True):
        if values.null_count < len(values):
            path = f"{prefix}{entry.name}"
            found[path] = values
            if pa.types.is_struct(entry.type):
                _collect(values, f"{path}.", found)


def plain_values(known: pa.StructArray, repeats: pa.Array) -> TValues | None:
    """The known values, dates as numbers.

    Args:
        known: The known fields, ``queries.KNOWN``.
        repeats: ``queries.REPEATS``.

    Returns:
        None where one of them is not of the usual kind: such events have to be examined.
    """
    values = known_values(known)
    for path in DATES:
        if path in values:
            dates = _dates(values[path])
            if dates is None:
                return None
            values[path] = dates
    for path in _TEXTS_OR_OBJECTS:
        if path in values:
            texts = values[path]
            has_escapes = pc.match_substring(texts, "\\")
            if not _all(pc.and_not(pc.starts_with(texts, '"'), has_escapes)):
                return None
            values[path] = pc.utf8_slice_codeunits(texts, 1, -1)
    for path, expected in EXPECTED.items():
        if path in values and not _all(
            pc.or_(pc.is_null(values[path]), pc.is_in(values[path], expected))
        ):
            return None
    if EXECUTION_DATA in values:
        is_object = pc.starts_with(values[EXECUTION_DATA], "{")
        if not _all(is_object) or pc.any(repeats).as_py():
            return None
    return values


def _dates(texts: pa.Array) -> pa.Array | None:
    """Whole numbers within the calendar."""
    try:
        dates = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    extremes = pc.min_max(dates)
    in_calendar = extremes["min"].as_py() >= EARLIEST_MS and extremes["max"].as_py() <= LATEST_MS
    return dates if in_calendar else None


def _all(conditions: pa.Array) -> bool:
    return bool(pc.all(conditions).as_py())


def from_values(values: Mapping[str, pa.Array], length: int) -> pa.Table:
    """Columns from the values at payload paths.

    Args:
        values: The values by path.
        length: Number of events.

    Returns:
        A table with a column for each ``contract.alias`` (text, or milliseconds since the epoch)
        and ``DATA``.
    """
    arrays = [_column_values(values, column, length) for column in SOURCED.values()]
    data = values.get(EXECUTION_DATA)
    if data is None:
        data = pa.nulls(length, pa.string())
    else:
        data = pc.if_else(pc.starts_with(data, "{"), data, None)
    return pa.table([*arrays, data], names=[*ALIASES.values(), DATA])


def of_examined(batch: pa.RecordBatch) -> pa.Table:
    """The columns of a batch of ``queries.select_examined``.

    Returns:
        As ``from_values``, with ``SHAPE`` and ``RAW``.
    """
    values = known_values(batch[KNOWN])
    for path, name in EXTRACTED.items():
        values[path] = batch[name]
    wide = from_values(values, len(batch))
    return wide.append_column(SHAPE, batch[SHAPE]).append_column(RAW, batch[RAW])


def _column_values(values: Mapping[str, pa.Array], column: Column, length: int) -> pa.Array:
    """The first of a column's paths that has a value, event by event."""
    alternatives = [array for _, array in alternative_values(values, column)]
    if not alternatives:
        return pa.nulls(length, pa.int64() if column.data_type == "timestamp" else pa.string())
    return alternatives[0] if len(alternatives) == 1 else pc.coalesce(*alternatives)


def alternative_values(
    values: Mapping[str, pa.Array], column: Column
) -> list[tuple[Path, pa.Array]]:
    """The values at each of a column's paths that has some."""
    return [
        (path, array) for path in column.paths if (array := _path_values(values, path)) is not None
    ]


def _path_values(values: Mapping[str, pa.Array], path: Path) -> pa.Array | None:
    found = values.get(path.path)
    if found is None or path.when is None:
        return found
    discriminator, expected = path.when
    kind = values.get(discriminator)
    return None if kind is None else pc.if_else(pc.equal(kind, expected), found, None)


def with_column(wide: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    """The table with other values in a column."""
    return wide.set_column(wide.schema.get_field_index(name), name, values)
