"""Who a contact is in a dataset: from an id, an address or a hash to all that is its own.

The way never leads over ``recipient``: family and role addresses, and proofs that were sent to a
colleague, would make one person of several.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ..errors import SettingError
from ..events.digests import DIGITS, canonical
from ..events.privacy import DROP
from ..events.suppression import Suppression, suppression
from ..schema import EVENTS, Table
from ..windows import iso, to_ms
from .dataset import NEVER, Condition, Dataset, is_one_of

FOR_EVER = 2**62
"""A moment before which all events were published, milliseconds since the epoch."""

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
    comparable: set[tuple[str, str, str]] = set()
    unknown: set[str] = set()
    for value in given:
        by_id = _ids_there(data, {data.stored_id(value), value})
        if by_id:
            ids |= by_id
            continue
        wanted = _comparable(data, value)
        found = _ids_of(data, wanted)
        if len(found) > 1 and not all_of_address:
            raise SeveralContacts.of(_spans(data, found))
        ids |= found
        comparable |= wanted
        if not found:
            unknown.add(value)  # It may be the id of a contact who comes with a later load.
    comparable |= _addresses_of(data, ids)
    own = {one for one in comparable if _ids_of(data, {one}) <= ids}
    writings = {
        name: frozenset(_writings(data, name, personal, own))
        for name, personal in (*PERSON[1:], ("recipient", "address"))
    }
    return Person(
        ids=frozenset(ids),
        unicities=writings["contact_unicity"],
        hashes=writings["contact_hash"],
        recipients=writings["recipient"],
        contacts=frozenset(
            {data.digest(one, "contact_id") for one in ids} | {data.key.exact(u) for u in unknown}
        ),
        addresses=frozenset(data.digest(value, personal) for _, personal, value in own),
        given=frozenset(given),
    )


def spans_of(data: Dataset, person: Person) -> list[Span]:
    """The events of a person's contacts in a few words."""
    return _spans(data, person.ids)


def _comparable(data: Dataset, value: str) -> set[tuple[str, str, str]]:
    """An address or hash as it is compared: column, class, and value.

    Its MD5 is tried as a hash: where the unicity is one field, NP6 makes it so.
    """
    text = canonical(value)
    md5 = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    found = set()
    for name, personal in PERSON[1:]:
        forms = {text, md5} if personal == "contact_hash" else {text}
        found |= {(name, personal, data.comparable(form, personal)) for form in forms if form}
        if data.is_hashed(personal) and _DIGEST.fullmatch(value):
            found.add((name, personal, value))  # As it was read in the dataset.
    return found


def _condition(data: Dataset, wanted: Iterable[tuple[str, str, str]]) -> Condition:
    """A condition on ``events``: the contact has one of some addresses or hashes."""
    condition = NEVER
    by_column: dict[tuple[str, str], set[str]] = {}
    for name, personal, value in wanted:
        by_column.setdefault((name, personal), set()).add(value)
    for (name, personal), values in by_column.items():
        if data.has(EVENTS, name):
            condition |= data.same_address(name, personal, sorted(values))
    return condition


def _ids_there(data: Dataset, candidates: set[str]) -> set[str]:
    """Those of some ids that the dataset has, in any of its tables."""
    found: set[str] = set()
    for table in data.tables:
        for column in table.columns:
            if column.personal == "contact_id" and data.has(table, column.name):
                name, one = data.column(column.name), is_one_of("{}", sorted(candidates))
                query = (
                    f"SELECT DISTINCT {name} FROM {data.name(table)} WHERE {one.sql.format(name)}"
                )
                found |= {str(value) for (value,) in data.execute(query, *one.values)}
    return found


def _ids_of(data: Dataset, wanted: Iterable[tuple[str, str, str]]) -> set[str]:
    """The contacts whose unicity or hash is one of some."""
    condition, column = _condition(data, wanted), data.column("contact_id")
    query = (
        f"SELECT DISTINCT {column} FROM {data.name(EVENTS)}"
        f" WHERE {column} <> '' AND {condition.sql}"
    )
    return {str(value) for (value,) in data.execute(query, *condition.values)}


def _addresses_of(data: Dataset, ids: set[str]) -> set[tuple[str, str, str]]:
    """All unicities and hashes of some contacts, as they are compared."""
    found = set()
    one = is_one_of(data.column("contact_id"), sorted(ids))
    for name, personal in PERSON[1:]:
        if ids and data.has(EVENTS, name):
            column = data.column(name)
            query = (
                f"SELECT DISTINCT {column} FROM {data.name(EVENTS)}"
                f" WHERE {column} <> '' AND {one.sql}"
            )
            for (value,) in data.execute(query, *one.values):
                text = value if data.is_hashed(personal) else canonical(value)
                found.add((name, personal, text))
    return found


def _writings(
    data: Dataset, name: str, personal: str, own: Iterable[tuple[str, str, str]]
) -> set[str]:
    """How a column writes addresses that are one person's alone."""
    values = {value for _, kind, value in own if kind == personal}
    if not values or not data.has(EVENTS, name):
        return set()
    one, column = data.same_address(name, personal, sorted(values)), data.column(name)
    query = (
        f"SELECT DISTINCT {column} FROM {data.name(EVENTS)}"
        f" WHERE {column} IS NOT NULL AND {one.sql}"
    )
    return {str(value) for (value,) in data.execute(query, *one.values)}


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
