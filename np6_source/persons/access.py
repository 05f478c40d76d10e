"""All that a dataset has about a contact: the answer to a request for access (GDPR article 15)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..bookkeeping.erasures import listed
from ..schema import EVENT_TABLES, EVENTS, LOAD_WINDOWS, REJECTED_EVENTS, Table
from .dataset import LABELLED, Condition, Dataset, is_one_of
from .erasing import labelled
from .finding import PERSON, Person
from .labels import labels_of
from .mentions import mentions
from .rejected import is_about

TRow = dict[str, Any]


def all_about(data: Dataset, person: Person) -> dict[str, Any]:
    """What the dataset has about a person, as JSON values; times are ISO 8601 in UTC.

    No value of another contact is in it: of others' mail to this one's address, and of texts that
    quote it, only the numbers.

    Args:
        data: The dataset.
        person: The person.
    """
    about, labels = person.is_about(data), labels_of(data, person)
    of_labels = labelled(data, labels)
    rejected, elsewhere = _mentioned(data, person)
    tables = {
        table.name: _rows(data, table, person.is_named(data, table))
        for table in data.tables
        if table not in (*EVENT_TABLES, *LABELLED)
    }
    for table in LABELLED:
        if data.has(table, "scope_id", "resource"):
            of_person = of_labels
            if table is REJECTED_EVENTS:
                of_person |= rejected
            tables[table.name] = _rows(data, table, of_person)
    has_recipients = data.has(EVENTS, "recipient")
    return {
        "identifiers": _identifiers(data, about),
        "events": _events(data, about),
        "tables": {name: rows for name, rows in tables.items() if rows},
        "others_at_address": (
            data.count(EVENTS, person.went_to_address(data)) if has_recipients else 0
        ),
        "mentions_elsewhere": elsewhere,
        "policy": data.privacy.recorded or None,
        "holds_digests": sorted(name for name in data.privacy.masked if data.is_hashed(name)),
        "source": _source(data),
        "erasures": [
            {"erasure_id": one.erasure_id, "erased_at": _plain(one.erased_at)}
            for one in listed(data.client, data.schema)
            if one.digest in person.contacts | person.addresses
        ],
    }


def _mentioned(data: Dataset, person: Person) -> tuple[Condition, int]:
    """Where else texts name the person; every text is looked at once.

    Returns:
        A condition: the event could not be taken, and names the person as its contact. And how many
        texts of others quote the person.
    """
    listed = person.listed(data)
    own: set[str] = set()
    elsewhere = 0
    for one in mentions(data, person):
        if one.table is REJECTED_EVENTS and is_about(one.text, listed):
            own.add(one.text)
        else:
            elsewhere += 1
    return is_one_of(data.column("content"), sorted(own)), elsewhere


def _identifiers(data: Dataset, about: Condition) -> list[TRow]:
    """The values by which events name the person, each with how many do so, and when."""
    found = []
    time = data.column("timestamp")
    for name in (*(name for name, _ in PERSON), "recipient"):
        if data.has(EVENTS, name):
            column = data.column(name)
            query = (
                f"SELECT {column}, count(*), min({time}), max({time}) FROM {data.name(EVENTS)}"
                f" WHERE {column} <> '' AND {about.sql} GROUP BY {column} ORDER BY {column}"
            )
            for value, count, first, last in data.execute(query, *about.values):
                found.append(
                    {
                        "kind": name,
                        "value": value,
                        "events": count,
                        "first_at": _plain(first),
                        "last_at": _plain(last),
                    }
                )
    return found


def _events(data: Dataset, about: Condition) -> list[TRow]:
    """The person's events in order of time, each with its rows of the tables beside ``events``."""
    events = _rows(data, EVENTS, about, ("timestamp", "id"))
    by_id = {event["id"]: event for event in events}
    selected = f"SELECT {data.column('id')} FROM {data.name(EVENTS)} WHERE {about.sql}"
    for table in EVENT_TABLES:
        if table is EVENTS or table not in data.tables:
            continue
        own = Condition(f"{data.column('event_id')} IN ({selected})", about.values)
        for row in _rows(data, table, own, table.key):
            by_id[row["event_id"]].setdefault(table.name, []).append(row)
    return events


def _rows(data: Dataset, table: Table, where: Condition, order: Iterable[str] = ()) -> list[TRow]:
    names = [column.name for column in table.columns if data.has(table, column.name)]
    columns = ", ".join(data.column(name) for name in names)
    by = ", ".join(data.column(name) for name in order)
    ordered = f" ORDER BY {by}" if by else ""
    query = f"SELECT {columns} FROM {data.name(table)} WHERE {where.sql}{ordered}"
    return [_as_row(names, values) for values in data.rows(query, *where.values)]


def _source(data: Dataset) -> Mapping[str, Any]:
    """Where the dataset's events come from: NP6's operations, and when they were requested."""
    if not data.has(LOAD_WINDOWS, "resource", "requested_at"):
        return {"operations": [], "first_requested_at": None, "last_requested_at": None}
    resource, requested = data.column("resource"), data.column("requested_at")
    rows = data.execute(
        f"SELECT {resource}, min({requested}), max({requested}) FROM {data.name(LOAD_WINDOWS)}"
        f" GROUP BY {resource} ORDER BY {resource}"
    )
    return {
        "operations": [name for name, _, _ in rows],
        "first_requested_at": _plain(min((first for _, first, _ in rows), default=None)),
        "last_requested_at": _plain(max((last for _, _, last in rows), default=None)),
    }


def _as_row(names: Sequence[str], values: Sequence[Any]) -> TRow:
    return {name: _plain(value) for name, value in zip(names, values, strict=True)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    return value
