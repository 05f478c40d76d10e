"""What is to be written in place of a dataset's values, table by table. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..dlt_internals.pipelines import changed_state
from ..events.privacy import DROP
from ..schema import LOAD_WINDOWS, Column, Table
from .changes import Changes
from .labels import NewLabels

REMEMBERED = 10_000
"""Values whose digests are remembered, for each column: many come again."""

TMake = Callable[..., str | None]


@dataclass(frozen=True)
class NewValue:
    """What a column's values become.

    Attributes:
        column: The column.
        of: The columns that it is made of.
        make: Makes it of their values, which may be None. None: it is NULL in every row.
        keeps_row: Whether a row stays where it is None.
        of_null: Whether a row without a value may get one.
    """

    column: str
    of: tuple[str, ...]
    make: TMake | None
    keeps_row: bool = True
    of_null: bool = False


TNewValues = Mapping[str, Sequence[NewValue]]
"""By the table's name; of tables and columns that are not named every value stays."""


def new_values(
    tables: Mapping[Table, frozenset[str]], changes: Changes, labels: NewLabels, state_table: str
) -> TNewValues:
    """Everything that changes in a dataset.

    Args:
        tables: The tables that are there, with their columns' names.
        changes: What becomes of values about persons.
        labels: What becomes of contacts' labels.
        state_table: Name of dlt's table of states.
    """
    recorded = changes.after.recorded or None
    found: dict[str, list[NewValue]] = {
        table.name: [
            _of_column(table, column, changes)
            for column in changes.columns(table)
            if column.name in columns
        ]
        for table, columns in tables.items()
    }
    for table, columns in tables.items():
        if labels.names and {"scope_id", "resource"} <= columns:
            found[table.name].append(
                NewValue("scope_id", ("resource", "scope_id"), labels.of, keeps_row=False)
            )
    found[LOAD_WINDOWS.name].append(
        NewValue("policy", ("policy",), lambda _: recorded, of_null=True)
    )

    def of_state(text: str) -> tuple[str, str]:
        return changed_state(text, lambda state: labels.change_state(state, recorded or ""))

    found[state_table] = [
        NewValue("state", ("state",), lambda text: of_state(text)[0]),
        NewValue("version_hash", ("state",), lambda text: of_state(text)[1]),
    ]
    return {name: values for name, values in found.items() if values}


def _of_column(table: Table, column: Column, changes: Changes) -> NewValue:
    if changes.privacy.classes.get(column.personal) == DROP:
        return NewValue(column.name, (column.name,), None)
    change = changes.privacy.change_of(table, column)

    @lru_cache(REMEMBERED)
    def make(value: str | None) -> str | None:
        return None if value is None else change(value)

    return NewValue(column.name, (column.name,), make)
