"""Texts of others' rows that quote a person's address: a sponsor, a forwarded message, a url."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..events.privacy import DROP
from ..events.quotes import MAY_QUOTE
from ..events.suppression import quoting_columns
from ..schema import EVENT_TABLES, EVENTS, EXECUTION_DATA_TABLE, REJECTED_EVENTS, Table
from .dataset import LABELLED, Condition, Dataset
from .finding import Person


@dataclass(frozen=True)
class Mention:
    """A text that quotes the person.

    Attributes:
        table: Its table.
        column: Its column.
        row: A condition that only its row meets; of ``rejected_events``, rows with the same text.
        text: The text.
    """

    table: Table
    column: str
    row: Condition
    text: str


def mentions(data: Dataset, person: Person) -> Iterator[Mention]:
    """The texts of others' rows that quote the person's addresses or hashes.

    Of events that could not be taken, texts with the person's id as well.

    The database picks texts that may quote somebody; whom they quote is looked up here, by the same
    function that blanks them in what is loaded later.

    Args:
        data: The dataset.
        person: The person.
    """
    listed = person.listed(data)
    if listed.is_empty:
        return
    pattern = {"duckdb": "regexp_matches({}, %s)", "postgres": "{} ~ %s"}[data.dialect]
    for table in data.tables:
        if table in LABELLED and table is not REJECTED_EVENTS:
            continue
        classes = {column.name: column.personal for column in table.columns}
        others = _of_others(data, person, table)
        for name in quoting_columns(table):
            dropped = data.privacy.classes.get(classes[name]) == DROP and name != "key"
            if dropped or not data.has(table, name):
                continue
            keys = [key for key in table.key if data.has(table, key)] or [name]
            selected = ", ".join(data.column(key) for key in (*keys, name))
            may_quote = Condition(pattern.format(data.column(name)), (MAY_QUOTE,))
            if table is REJECTED_EVENTS:  # They are about somebody: an id counts as well.
                may_quote = Condition(f"{data.column(name)} IS NOT NULL")
            where = may_quote & others
            query = f"SELECT {selected} FROM {data.name(table)} WHERE {where.sql}"
            for *values, text in data.rows(query, *where.values):
                is_named = table is REJECTED_EVENTS and listed.names_contact(text)
                if is_named or listed.quoted_before(text) is not None:
                    same = " AND ".join(f"{data.column(key)} = %s" for key in keys)
                    yield Mention(table, name, Condition(same, tuple(values)), text)


def _of_others(data: Dataset, person: Person, table: Table) -> Condition:
    """A condition on a table: the row is none of the person's own."""
    if table is REJECTED_EVENTS:
        return Condition("1 = 1")
    if table not in EVENT_TABLES:
        return ~person.is_named(data, table)
    about = person.is_about(data)
    events = f"SELECT {data.column('id')} FROM {data.name(EVENTS)} WHERE {about.sql}"
    row_of = data.column("event_id" if table.is_child else "id")
    return Condition(f"{row_of} NOT IN ({events})", about.values)


def is_removed_whole(mention: Mention) -> bool:
    """Whether the row goes, and not only the text: of data, whose key or value is the address."""
    return mention.table is EXECUTION_DATA_TABLE
