"""Who a contact is in a dataset: from an id, an address or a hash to all that is its own.

The way never leads over ``recipient``: family and role addresses, and proofs that were sent to a
colleague, would make one person of several.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ..errors import SettingError
from ..events.digests import DIGITS, addresses_of, canonical
from ..events.privacy import DROP
from ..events.suppression import ADDRESS_CLASSES, Suppression, suppression
from ..schema import EVENTS, Table
from ..windows import iso, to_ms
from .dataset import AT_ONCE, NEVER, Condition, Dataset, is_one_of

FOR_EVER = 2**62
"""A moment before which all events were published, milliseconds since the epoch."""

TAddress = tuple[str, str]
"""An address or hash as it is compared: its class and its value."""

_DIGEST = re.compile(f"[0-9a-f]{{{DIGITS}}}")

PERSON = (
    ("contact_id", "contact_id"),
    ("contact_unicity", "address"),
    ("contact_hash", "contact_hash"),
)
"""The columns that identify a contact, with their classes."""


@dataclass(frozen=True)
class Span:
    """A contact's events in a few words: how many, the first and the last."""

    contact_id: str
    events: int
    first_at: datetime
    last_at: datetime

    def __str__(self) -> str:
        first, last = (iso(to_ms(moment))[:10] for moment in (self.first_at, self.last_at))
        return f"{self.contact_id} ({self.events:,} events, {first} to {last})"


class SeveralContacts(SettingError):
    """An address is, or was, of several contacts.

    Attributes:
        spans: The contacts.
    """

    def __init__(self, message: str, spans: Iterable[Span] = ()) -> None:
        super().__init__(message)
        self.spans = tuple(spans)

    @classmethod
    def of(cls, spans: Iterable[Span]) -> SeveralContacts:
        """The error that names them."""
        found = tuple(spans)
        return cls(
            f"The address is of {len(found)} contacts: {'; '.join(map(str, found))}. Nothing was"
            " done. Name the id of the one that is meant, or give --all-of-address for all of"
            " them.",
            found,
        )


@dataclass(frozen=True)
class Person:
    """What is one person's in a dataset, as the dataset stores it.

    Attributes:
        ids: Contacts' ids.
        unicities: Unicities that no other contact has, in every way of writing that occurs.
        hashes: Hashes, likewise.
        recipients: The same addresses as ``events.recipient`` writes them.
        contacts: Digests of the ids.
        addresses: Digests of the addresses and hashes.
        given: Values of the person in clear that the caller knows.
    """

    ids: frozenset[str]
    unicities: frozenset[str]
    hashes: frozenset[str]
    recipients: frozenset[str]
    contacts: frozenset[str]
    addresses: frozenset[str]
    given: frozenset[str]

    def listed(self, data: Dataset) -> Suppression:
        """The person as a list with one entry, for texts that may quote an address."""
        addresses = ((digest, FOR_EVER) for digest in self.addresses)
        return suppression(data.key, self.contacts, addresses)

    def is_about(self, data: Dataset) -> Condition:
        """A condition on ``events``: the event is about the person; as ``Suppression`` has it."""
        present = data.columns[EVENTS.name]

        def has(name: str, values: Iterable[str]) -> Condition:
            return is_one_of(data.column(name), sorted(values)) if name in present else NEVER

        def empty(*names: str) -> Condition:
            nulls = [
                f"({data.column(name)} IS NULL OR {data.column(name)} = '')"
                for name in names
                if name in present
            ]
            return Condition(" AND ".join(nulls) or "1 = 1")

        by_id = has("contact_id", self.ids)
        by_address = has("contact_unicity", self.unicities) | has("contact_hash", self.hashes)
        alone = empty("contact_unicity", "contact_hash") & has("recipient", self.recipients)
        return by_id | (empty("contact_id") & (by_address | alone))

    def went_to_address(self, data: Dataset) -> Condition:
        """A condition on ``events``: others' mail to the person's address."""
        to_person = is_one_of(data.column("recipient"), sorted(self.recipients))
        return to_person & ~self.is_about(data)

    def is_named(self, data: Dataset, table: Table) -> Condition:
        """A condition on a table of names: the row is about the person."""
        condition = NEVER
        has_id: list[str] = []
        for column in table.columns:
            if column.personal == "contact_id" and data.has(table, column.name):
                name = data.column(column.name)
                has_id.append(f"({name} IS NULL OR {name} = '')")
                condition |= is_one_of(data.column(column.name), sorted(self.ids))
        no_id = Condition(" AND ".join(has_id) or "1 = 1")
        for column in table.columns:
            values = {"address": self.unicities, "contact_hash": self.hashes}.get(column.personal)
            if values and data.has(table, column.name):
                condition |= no_id & is_one_of(data.column(column.name), sorted(values))
        return condition


def find(data: Dataset, values: Iterable[str], all_of_address: bool = False) -> Person:
    """Who some values are of.

    Args:
        data: The dataset.
        values: Ids, addresses or hashes, in clear or as the dataset stores them.
        all_of_address: Take all contacts of an address that is of several.

    Returns:
        The person; one without ids and addresses where nothing is there.

    Raises:
        SeveralContacts: An address or hash is of several contacts.
        SettingError: An address is given, and the dataset has none by which it could be found.
    """
    given = [value.strip() for value in values]
    classes = data.privacy.classes
    if classes["address"] == classes["contact_hash"] == DROP:
        addresses = [one for one in given if "@" in one]
        given = [one for one in given if one not in addresses]
        if not given:
            raise SettingError(
                "The dataset has neither addresses nor hashes (address=drop, contact_hash=drop):"
                " nobody is found by an address. Give the contact's id, which NP6 shows, or"
                " --ask-np6."
            )
    ids: set[str] = set()
    comparable: set[TAddress] = set()
    unknown: set[str] = set()
    there = _ids_there(data, {one for value in given for one in (data.stored_id(value), value)})
    by_id = {value: {data.stored_id(value), value} & there for value in given}
    compared = {value: _comparable(data, value) for value in given if not by_id[value]}
    holders = _holders(data, {one for wanted in compared.values() for one in wanted})
    for value in given:
        if by_id[value]:
            ids |= by_id[value]
            continue
        wanted = compared[value]
        found = {one for address in wanted for one in holders.get(address, ())}
        if len(found) > 1 and not all_of_address:
            raise SeveralContacts.of(_spans(data, found))
        ids |= found
        comparable |= wanted
        if not found:
            unknown.add(value)  # It may be the id of a contact who comes with a later load.
    comparable |= _addresses_of(data, ids)
    holders = _holders(data, comparable)
    own = {one for one in comparable if holders.get(one, set()) <= ids}
    recipients = _writings(data, EVENTS, "recipient", "address", own)
    return Person(
        ids=frozenset(ids),
        unicities=frozenset(_all_writings(data, "address", own)),
        hashes=frozenset(_all_writings(data, "contact_hash", own)),
        recipients=frozenset(recipients),
        contacts=frozenset(
            {data.digest(one, "contact_id") for one in ids} | {data.key.exact(u) for u in unknown}
        ),
        addresses=frozenset(data.digest(value, personal) for personal, value in own),
        given=frozenset(given),
    )


def spans_of(data: Dataset, person: Person) -> list[Span]:
    """The events of a person's contacts in a few words."""
    return _spans(data, person.ids)


def _comparable(data: Dataset, value: str) -> set[TAddress]:
    """An address or hash as it is compared.

    Its MD5 is tried as a hash: where the unicity is one field, NP6 makes it so.
    """
    text = canonical(value)
    md5 = _md5(text)
    found = set()
    for personal in ADDRESS_CLASSES:
        forms = {text, md5} if personal == "contact_hash" else {text}
        found |= {(personal, data.comparable(form, personal)) for form in forms if form}
        if data.is_hashed(personal) and _DIGEST.fullmatch(value):
            found.add((personal, value))  # As it was read in the dataset.
    return found


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _columns(data: Dataset) -> Iterator[tuple[Table, str, str, str]]:
    """Where an address or hash stands beside the id of the contact who has it.

    Yields:
        A table, its column of ids, the column of addresses or hashes, and that one's class.
    """
    for table in data.tables:
        for contact_id in table.columns:
            if contact_id.personal != "contact_id" or not data.has(table, contact_id.name):
                continue
            for column in table.columns:
                is_own = column.personal in ADDRESS_CLASSES and column.name != "recipient"
                if is_own and data.has(table, column.name):
                    yield table, contact_id.name, column.name, column.personal


def _with_class(wanted: Iterable[TAddress], personal: str) -> list[str]:
    return sorted(value for kind, value in wanted if kind == personal)


def _ids_there(data: Dataset, candidates: set[str]) -> set[str]:
    """Those of some ids that the dataset has, in any of its tables."""
    found: set[str] = set()
    for table in data.tables:
        for column in table.columns:
            if column.personal == "contact_id" and data.has(table, column.name):
                name = data.column(column.name)
                for one in _in_parts(name, candidates):
                    query = f"SELECT DISTINCT {name} FROM {data.name(table)} WHERE {one.sql}"
                    found |= {str(value) for (value,) in data.execute(query, *one.values)}
    return found


def _holders(data: Dataset, wanted: Iterable[TAddress]) -> dict[TAddress, set[str]]:
    """The contacts who have some unicities and hashes, in any of the tables, by these."""
    sought = frozenset(wanted)
    found: dict[TAddress, set[str]] = {}
    for table, contact_id, name, personal in _columns(data):
        column, address = data.column(contact_id), data.compared(name, personal)
        for one in _in_parts(address, _with_class(sought, personal)):
            query = (
                f"SELECT DISTINCT {column}, {address} FROM {data.name(table)}"
                f" WHERE {column} <> '' AND {one.sql}"
            )
            for holder, value in data.execute(query, *one.values):
                found.setdefault((personal, str(value)), set()).add(str(holder))
        for holder, unicity in _arrays(data, table, name, personal, contact_id):
            for value in addresses_of(unicity):
                if (personal, canonical(value)) in sought:
                    found.setdefault((personal, canonical(value)), set()).add(holder)
    return found


def _arrays(
    data: Dataset, table: Table, name: str, personal: str, *beside: str
) -> Iterator[tuple[str, ...]]:
    """The unicities of several values in a column, which are in clear, with columns beside them.

    Yields:
        The columns beside it, and the unicity last. None where the dataset has digests.
    """
    if personal != "address" or data.is_hashed(personal):
        return
    names, column = [data.column(one) for one in (*beside, name)], data.column(name)
    filled = "".join(f" AND {one} <> ''" for one in names[:-1])
    query = f"SELECT DISTINCT {', '.join(names)} FROM {data.name(table)} WHERE {column} LIKE %s"
    for row in data.rows(query + filled, "[%"):
        yield tuple(map(str, row))


def _in_parts(expression: str, values: Iterable[str]) -> Iterator[Condition]:
    """Conditions of which each has few values: an expression has one of some."""
    listed = sorted(values)
    for first in range(0, len(listed), AT_ONCE):
        yield is_one_of(expression, listed[first : first + AT_ONCE])


def _addresses_of(data: Dataset, ids: set[str]) -> set[TAddress]:
    """All unicities and hashes of some contacts, as they are compared."""
    found = set()
    for table, contact_id, name, personal in _columns(data) if ids else ():
        one, column = is_one_of(data.column(contact_id), sorted(ids)), data.column(name)
        query = (
            f"SELECT DISTINCT {column} FROM {data.name(table)} WHERE {column} <> '' AND {one.sql}"
        )
        for (value,) in data.execute(query, *one.values):
            if data.is_hashed(personal):
                found.add((personal, value))
                continue
            for text in (value, *(addresses_of(value) if personal == "address" else ())):
                found.add((personal, canonical(text)))
                if personal == "address":  # Events may have the hash alone, and texts quote it.
                    hashes = {_md5(text), _md5(canonical(text))}
                    found |= {("contact_hash", data.comparable(h, "contact_hash")) for h in hashes}
    return found


def _all_writings(data: Dataset, personal: str, own: Iterable[TAddress]) -> set[str]:
    """How the tables write addresses or hashes that are one person's alone."""
    return {
        text
        for table, _, name, kind in _columns(data)
        if kind == personal
        for text in _writings(data, table, name, personal, own)
    }


def _writings(
    data: Dataset, table: Table, name: str, personal: str, own: Iterable[TAddress]
) -> set[str]:
    """How a column writes addresses that are one person's alone."""
    values = _with_class(own, personal)
    if not values or not data.has(table, name):
        return set()
    one, column = data.same_address(name, personal, values), data.column(name)
    query = (
        f"SELECT DISTINCT {column} FROM {data.name(table)} WHERE {column} IS NOT NULL AND {one.sql}"
    )
    found = {str(value) for (value,) in data.execute(query, *one.values)}
    for (unicity,) in _arrays(data, table, name, personal):
        if not {canonical(value) for value in addresses_of(unicity)}.isdisjoint(values):
            found.add(unicity)
    return found


def _spans(data: Dataset, ids: Iterable[str]) -> list[Span]:
    one, column = is_one_of(data.column("contact_id"), sorted(ids)), data.column("contact_id")
    time = data.column("timestamp")
    query = (
        f"SELECT {column}, count(*), min({time}), max({time}) FROM {data.name(EVENTS)}"
        f" WHERE {one.sql} GROUP BY {column} ORDER BY {column}"
    )
    return [
        Span(str(one), count, first, last)
        for one, count, first, last in data.execute(query, *one.values)
    ]
