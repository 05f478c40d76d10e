"""Texts of others' rows that quote a person's address: a sponsor, a forwarded message, a url."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..events.privacy import DROP
from ..events.suppression import MAY_QUOTE, quoting_columns
from ..schema import EVENT_TABLES, EVENTS, EXECUTION_DATA_TABLE, REJECTED_EVENTS, Table
from .dataset import Condition, Dataset
from .finding import Person


@dataclass(frozen=True)
class Mention:
    """A text that quotes the person.

    Attributes:
        table: Its table.
        column: Its column.
        row: A condition that only its row meets; of ``rejected_events``, rows with the same text.
    """

    table: Table
    column: str
    row: Condition


def mentions(data: Dataset, person: Person) -> Iterator[Mention]:
    """The texts of others' rows that quote the person's addresses or hashes.

    The database picks texts that may quote somebody; whom they quote is looked up here, by the same
    function that blanks them in what is loaded later.

    Args:
        data: The dataset.
        person: The person.
    """
    if not person.addresses:
        return
    listed = person.listed(data)
    about = person.is_about(data)
    of_person = f"SELECT {data.column('id')} FROM {data.name(EVENTS)} WHERE {about.sql}"
    pattern = {"duckdb": "regexp_matches({}, %s)", "postgres": "{} ~ %s"}[data.dialect]
    classes = {column.name: column.personal for table in EVENT_TABLES for column in table.columns}
    for table in (*EVENT_TABLES, REJECTED_EVENTS):
        for name in quoting_columns(table):
            personal = classes.get(name, "free")
            dropped = data.privacy.classes.get(personal) == DROP and name != "key"
            if dropped or not data.has(table, name):
                continue
            keys = [key for key in table.key if data.has(table, key)] or [name]
            row_of = data.column("event_id" if table.is_child else "id")
            selected = ", ".join(data.column(key) for key in (*keys, name))
            others = Condition("1 = 1")
            if table is not REJECTED_EVENTS:
                others = Condition(f"{row_of} NOT IN ({of_person})", about.values)
            query = (
                f"SELECT {selected} FROM {data.name(table)}"
                f" WHERE {pattern.format(data.column(name))} AND {others.sql}"
            )
            for *values, text in data.rows(query, MAY_QUOTE, *others.values):
                if listed.quoted_before(text) is not None:
                    same = " AND ".join(f"{data.column(key)} = %s" for key in keys)
                    yield Mention(table, name, Condition(same, tuple(values)))


def is_removed_whole(mention: Mention) -> bool:
    """Whether the row goes, and not only the text: of data, whose key or value is the address."""
    return mention.table is EXECUTION_DATA_TABLE
