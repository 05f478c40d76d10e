"""What becomes of events about persons who were erased, before a batch leaves ``events``.

Their rows stay, so that counts and keys stay; every value that says who it is about goes. The same
function, over rows that are stored already, says what ``np6-source erase`` changes: what a later
load brings is equal to what erasing has left. Pure: rows in, rows out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import (
    EVENT_TABLES,
    EVENTS,
    EXECUTION_DATA_TABLE,
    REJECTED_EVENTS,
    TABLES,
    Column,
    Table,
)
from .digests import DigestKey, addresses_of
from .quotes import MAY_QUOTE, address_like, may_be_ids

ADDRESS_CLASSES = ("address", "contact_hash")
"""Classes of columns that hold an address, or what is made of one."""

QUOTING_CLASSES = ("free", "url")
"""Classes of columns that may quote an address."""

NOT_OF_A_PERSON = ("no", "record")
"""Classes of columns that stay when a person is erased."""

_BY_NAME = {table.name: table for table in TABLES}
_OF_EVENTS = {table.name for table in EVENT_TABLES}


def personal_columns(table: Table) -> tuple[Column, ...]:
    """The columns of a table that say who a row is about."""
    return tuple(column for column in table.columns if column.personal not in NOT_OF_A_PERSON)


def quoting_columns(table: Table) -> tuple[str, ...]:
    """The columns of a table whose texts may quote an address."""
    names = [column.name for column in table.columns if column.personal in QUOTING_CLASSES]
    return (*names, "key") if table is EXECUTION_DATA_TABLE else tuple(names)


@dataclass(frozen=True)
class Suppression:
    """The persons whose values are not stored.

    Attributes:
        key: The key of the digests; None where nobody is listed.
        contacts: Digests of contacts' ids. They count for ever.
        addresses: Digests of addresses and hashes, with the moment before which an event must have
            been published to count, milliseconds since the epoch: who takes an address over later,
            or signs up again, is somebody else.
    """

    key: DigestKey | None = None
    contacts: frozenset[str] = frozenset()
    addresses: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_empty(self) -> bool:
        """Whether nobody is listed."""
        return not self.contacts and not self.addresses

    def is_contact(self, scope_id: str) -> bool:
        """Whether an id is of a contact who was erased."""
        return self.key is not None and self.key.exact(scope_id) in self.contacts

    def is_address(self, value: str) -> bool:
        """Whether a value is an address, or a hash, of a contact who was erased."""
        return self.key is not None and self._before(value) is not None

    def of_events(self, tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """The tables of one batch of events as they may be stored.

        Args:
            tables: Tables by name; those of events belong to the rows of ``events`` among them.

        Returns:
            The same tables with as many rows, but fewer of ``events__execution_data``; a table
            without rows is left out.
        """
        if self.is_empty:
            return dict(tables)
        result = dict(tables)
        if EVENTS.name in tables:
            events = tables[EVENTS.name]
            erased = events["id"].filter(self._is_about(events))
            for name in _OF_EVENTS & tables.keys():
                result[name] = self._of_table(_BY_NAME[name], tables[name], erased)
        if REJECTED_EVENTS.name in tables:
            rows = self._without_quotes(
                REJECTED_EVENTS, tables[REJECTED_EVENTS.name], "window_start"
            )
            named = self._matches(rows["content"], self.names_contact)
            result[REJECTED_EVENTS.name] = _blanked(rows, "content", named)
        return {name: rows for name, rows in result.items() if rows.num_rows}

    def of_names(self, table: Table, rows: pa.Table) -> pa.Table:
        """The rows of a table of names without those about contacts who were erased."""
        classes = {column.name: column.personal for column in table.columns}
        ids = [name for name, personal in classes.items() if personal == "contact_id"]
        addresses = [name for name, personal in classes.items() if personal in ADDRESS_CLASSES]
        if self.is_empty or not (ids or addresses):
            return rows
        is_about = _none_of(rows)
        has_id = _none_of(rows)
        for name in ids:
            is_about = pc.or_(is_about, self._matches(rows[name], self.is_contact))
            has_id = pc.or_(has_id, pc.invert(_is_empty(rows[name])))
        is_nameless = pc.invert(has_id)
        for name in addresses:
            by_address = self._matches(rows[name], self.is_address)
            is_about = pc.or_(is_about, pc.and_(pc.invert(has_id), by_address))
            is_nameless = pc.and_(is_nameless, _is_empty(rows[name]))
        for name in quoting_columns(table):  # A unicity of several values has no column.
            is_about = pc.or_(is_about, pc.and_(is_nameless, self._quotes(rows[name])))
        return rows.filter(pc.invert(is_about))

    def _is_about(self, events: pa.Table) -> pa.ChunkedArray:
        """Which events are about a contact who was erased."""
        by_id = self._matches(events["contact_id"], self.is_contact)
        is_early = self._published_before(events)
        no_id = _is_empty(events["contact_id"])
        unicity, digest = events["contact_unicity"], events["contact_hash"]
        by_address = pc.or_(is_early(unicity), is_early(digest))
        nothing_else = pc.and_(_is_empty(unicity), _is_empty(digest))
        by_recipient = pc.and_(nothing_else, is_early(events["recipient"]))
        return pc.or_(by_id, pc.and_(no_id, pc.or_(by_address, by_recipient)))

    def _published_before(self, rows: pa.Table) -> Callable[[pa.ChunkedArray], pa.ChunkedArray]:
        """A function: which values are a listed address, in events from before it was erased."""
        times = _in_milliseconds(rows["timestamp"])

        def is_listed(values: pa.ChunkedArray) -> pa.ChunkedArray:
            befores = self._each_once(values, self._before, pa.int64())
            return pc.fill_null(pc.less(times, befores), False)

        return is_listed

    def _before(self, value: str) -> int | None:
        """Until when events with an address count; with several, those with any that is listed."""
        assert self.key is not None
        listed = (
            self.addresses.get(self.key.of(one, "address")) for one in (value, *addresses_of(value))
        )
        return max((before for before in listed if before is not None), default=None)

    def _of_table(self, table: Table, rows: pa.Table, erased: pa.ChunkedArray) -> pa.Table:
        # The rows of execution data that quote an address go whole: they are asked after that.
        rows = self._without_quotes(table, rows, "timestamp")
        is_about = pc.is_in(rows["id" if table is EVENTS else "event_id"], value_set=erased)
        if table is EXECUTION_DATA_TABLE:
            return rows.filter(pc.invert(is_about))
        if table is EVENTS:
            is_listed = self._published_before(rows)(rows["recipient"])
            rows = _blanked(rows, "recipient", is_listed)
        for column in personal_columns(table):
            rows = _blanked(rows, column.name, is_about)
        return rows

    def _without_quotes(self, table: Table, rows: pa.Table, time: str) -> pa.Table:
        """The rows without texts that quote a listed address; data with one goes as a row."""
        if not self.addresses:
            return rows
        times = _in_milliseconds(rows[time])
        gone = _none_of(rows)
        for name in quoting_columns(table):
            befores = self._each_once(rows[name], self.quoted_before, pa.int64(), MAY_QUOTE)
            quotes = pc.fill_null(pc.less(times, befores), False)
            if table is EXECUTION_DATA_TABLE:
                gone = pc.or_(gone, quotes)
            else:
                rows = _blanked(rows, name, quotes)
        return rows.filter(pc.invert(gone)) if table is EXECUTION_DATA_TABLE else rows

    def _quotes(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Which texts quote a listed address, whenever."""
        return pc.is_valid(self._each_once(values, self.quoted_before, pa.int64(), MAY_QUOTE))

    def names_contact(self, text: str) -> bool:
        """Whether an event that could not be taken, as text, has the id of a listed contact."""
        return any(map(self.is_contact, may_be_ids(text)))

    def quoted_before(self, text: str) -> int | None:
        """Until when events with a text count, milliseconds since the epoch; None: of nobody."""
        found = [before for part in address_like(text) if (before := self._before(part))]
        return max(found, default=None)

    def _matches(
        self, values: pa.ChunkedArray, is_listed: Callable[[str], bool]
    ) -> pa.ChunkedArray:
        found = self._each_once(values, lambda text: is_listed(text) or None, pa.bool_())
        return pc.fill_null(found, False)

    def _each_once(
        self,
        values: pa.ChunkedArray,
        look: Callable[[str], object],
        kind: pa.DataType,
        pattern: str | None = None,
    ) -> pa.ChunkedArray:
        """What is found of each value; each that occurs more than once is looked at once."""
        if pattern is not None:
            may = pc.fill_null(pc.match_substring_regex(values, pattern), False)
            if not pc.any(may).as_py():
                return pa.chunked_array([pa.nulls(len(values), kind)])
            values = pc.if_else(may, values, pa.scalar(None, pa.string()))
        encoded = pa.chunked_array(values).dictionary_encode().unify_dictionaries()
        chunks = [
            pa.array([None if t is None else look(t) for t in c.dictionary.to_pylist()], kind).take(
                c.indices
            )
            for c in encoded.chunks
        ]
        return pa.chunked_array(chunks, kind)


def suppression(
    key: DigestKey | None, contacts: Collection[str], addresses: Iterable[tuple[str, int]]
) -> Suppression:
    """The list as ``_np6_erasures`` has it.

    Args:
        key: The key of its digests.
        contacts: Digests of contacts' ids.
        addresses: Digests of addresses and hashes, each with the moment before which it counts;
            the latest of several counts.
    """
    latest: dict[str, int] = {}
    for digest, before in addresses:
        latest[digest] = max(before, latest.get(digest, before))
    return Suppression(key, frozenset(contacts), MappingProxyType(latest))


def _in_milliseconds(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Timestamps as milliseconds since the epoch."""
    return pc.cast(pc.cast(times, pa.timestamp("ms", tz="UTC"), safe=False), pa.int64())


def _none_of(rows: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(False), rows.num_rows)


def _is_empty(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which values say nothing: NP6 sends empty texts as well as none."""
    return pc.fill_null(pc.equal(values, ""), True)


def _blanked(rows: pa.Table, name: str, where: pa.ChunkedArray) -> pa.Table:
    position = rows.schema.get_field_index(name)
    field_ = rows.schema.field(position)
    values = pc.if_else(where, pa.scalar(None, field_.type), rows[name])
    return rows.set_column(position, field_, values)


NOBODY = Suppression()
"""The list where nobody was erased."""
