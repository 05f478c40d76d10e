"""The events an account has, and how requests read them.

The events are in a DuckDB database in memory. Responses are read in chunks of Arrow batches whose
text goes to the socket as it is: serving never touches a single event in Python.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from .event_row import (
    COLUMNS,
    EventRow,
    TEvent,
    index_columns,
    is_64_bit,
    row_and_payload,
    value_at,
)
from .query import ID_COLUMNS, EventQuery, literal

ROWS_PER_CHUNK = 8192
ROWS_PER_BATCH = 1024


DESCRIBED_IDS = {
    "actions": "action_id",
    "campaigns": "campaign_id",
    "notifications": "notification_id",
}
"""Index columns of the ids that descriptions make known, by resource."""


class EventStream:
    """The response to one query, read piece by piece. Close it when done.

    Attributes:
        query: The query, with the account's state at the time pinned.
        event_count: How many events the response has.
        left_out: How many more there are beyond the query's limit.
    """

    def __init__(self, account: Account, query: EventQuery) -> None:
        """Counts the events; the payloads are read by iterating.

        The transaction keeps what the response sees apart from events added meanwhile.
        """
        self._account = account
        self._cursor = account.connection.cursor()
        self._cursor.begin()
        self.query = query
        self._buckets: list[tuple[int, int]] = self._cursor.execute(
            f"SELECT position // {ROWS_PER_CHUNK}, count(*) FROM {account.relation(query)}"
            f" WHERE {query.condition()} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        total = sum(count for _, count in self._buckets)
        self.left_out = max(0, total - query.limit) if query.limit else 0
        self.event_count = total - self.left_out

    def batches(self) -> Iterator[pa.Array]:
        """Yields the payloads' JSON in Arrow arrays of text or bytes, each after a comma."""
        buckets = [bucket for bucket, _ in self._buckets]
        order = f"{self.query.moment()}, position" if self.query.moving else "position"
        if self.query.sort == "desc":
            buckets.reverse()
            order = f"{self.query.moment()} DESC, position DESC"
        elif self.query.sort is None and buckets:
            # The latest event first, the others mixed: never in ascending order by chance.
            *others, latest = buckets
            others.sort(key=lambda bucket: (bucket * 7919 + self.query.shuffle * 104729) % 65521)
            buckets = [latest, *others]
            order = (
                "position <> max(position) OVER (),"
                f" (position * 7919 + {self.query.shuffle} * 104729) % 65521, position"
            )
        left = self.event_count
        for bucket in buckets if left else ():
            first = bucket * ROWS_PER_CHUNK
            chunk = self._account.relation(self.query, first, first + ROWS_PER_CHUNK)
            # Literals, not parameters: DuckDB 1.4 takes relations with parameters row by row.
            relation = self._cursor.sql(
                f"SELECT {self._account.payload_after_comma} FROM {chunk}"
                f" WHERE position >= {first} AND position < {first + ROWS_PER_CHUNK}"
                f" AND {self.query.condition()} ORDER BY {order}"
            )
            reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
            for batch in reader(ROWS_PER_BATCH):
                column = batch.column(0).slice(0, left)
                left -= len(column)
                yield column

    def close(self) -> None:
        """Ends the reading, whether or not all was read."""
        self._cursor.close()


class Account(ABC):
    """The events of one NP6 account.

    Attributes:
        connection: The database. Every reader takes a cursor of its own.
        payload_after_comma: SQL of a payload after a comma.
        descriptions: Elements that operations of dimensions return, by resource; see
            ``describe``.
    """

    payload_after_comma = "','::BLOB || payload"

    def __init__(self) -> None:
        """Opens an empty database in memory."""
        self.connection = duckdb.connect(":memory:")
        self._known: dict[str, set[str]] = {}
        self.descriptions: dict[str, list[dict[str, Any]]] = {}

    @abstractmethod
    def relation(
        self, query: EventQuery, first: int | None = None, beyond: int | None = None
    ) -> str:
        """SQL of a relation with every event the query may want, and perhaps others.

        It has the columns ``COLUMNS``, ``serial`` (order of arrival) and ``position`` (order of
        timestamps, ties in order of arrival).

        Args:
            query: What is asked for.
            first: Only events from this position on are wanted.
            beyond: Only events before this position are wanted.
        """

    def next_serial(self) -> int | None:
        """The serial number the next event will have; None where no event can come."""
        return None

    def add_events(self, events: Iterable[TEvent]) -> None:
        """Adds events; responses that are under way do not see them.

        Args:
            events: Payloads as dicts or as JSON text or bytes, or ``EventRow`` with index columns
                given explicitly.

        Raises:
            TypeError: The account's events are not stored.
            ValueError: Nothing says an event's timestamp.
        """
        raise TypeError("Events can only be added to an account that stores them")

    def stream(self, query: EventQuery) -> EventStream:
        """Starts to answer a query."""
        return EventStream(self, replace(query, below_serial=self.next_serial()))

    def knows(self, column: str, value: str) -> bool:
        """Whether the account has something with this id.

        Args:
            column: One of ``ID_COLUMNS``.
            value: The id.
        """
        if value in self._known.get(column, ()):
            return True
        return bool(
            self._one(
                f"SELECT exists(SELECT 1 FROM {self.relation(EventQuery())}"
                f" WHERE {column} = {literal(value)})"
            )
        )

    def add_ids(self, column: str, values: Iterable[str]) -> None:
        """Makes ids known that have no events (yet): they answer an empty array, not 404."""
        if column not in ID_COLUMNS:
            raise ValueError(f"{column!r} is none of {', '.join(ID_COLUMNS)}")
        self._known.setdefault(column, set()).update(values)

    def describe(self, resource: str, elements: Iterable[Mapping[str, Any]]) -> None:
        """Says what an operation of a dimension returns, in place of what it did before.

        The ids of described actions, campaigns and notifications are known from then on.

        Args:
            resource: Its name, see ``np6_source.dimensions``. ``targets`` describes contacts for
                all three ways to ask for one.
            elements: The elements as they are served.
        """
        listed = [dict(element) for element in elements]
        if resource in DESCRIBED_IDS:
            self.add_ids(DESCRIBED_IDS[resource], (str(element["id"]) for element in listed))
        self.descriptions[resource] = listed

    def example_ids(self, column: str, limit: int = 3) -> list[str]:
        """Some ids that have events, those with most events first."""
        cursor = self.connection.cursor()
        rows = cursor.execute(
            f"SELECT {column} FROM {self.relation(EventQuery())} WHERE {column} IS NOT NULL"
            f" GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {limit}"
        ).fetchall()
        cursor.close()
        return [value for (value,) in rows]

    def type_counts(self) -> dict[str, int]:
        """Distinct event ids in the account per event type, readable already or not."""
        return self._counts(
            f"SELECT type, count(DISTINCT event_id) FROM {self.relation(EventQuery())}"
        )

    def events(self, query: EventQuery | None = None) -> list[dict[str, Any]]:
        """The events as dicts, in order of their timestamps; for accounts of moderate size.

        Args:
            query: Which events. None: all of them, readable already or not.

        Raises:
            ValueError: A payload is not valid JSON.
        """
        stream = self.stream(replace(query or EventQuery(), sort="asc"))
        try:
            return [
                json.loads(payload[1:])
                for batch in stream.batches()
                for payload in batch.to_pylist()
            ]
        finally:
            stream.close()

    def close(self) -> None:
        """Frees the memory."""
        self.connection.close()

    def _one(self, statement: str) -> Any:
        cursor = self.connection.cursor()
        try:
            return _only(cursor.execute(statement))
        finally:
            cursor.close()

    def _counts(self, statement: str) -> dict[str, int]:
        cursor = self.connection.cursor()
        try:
            rows = cursor.execute(f"{statement} GROUP BY ALL ORDER BY ALL").fetchall()
        finally:
            cursor.close()
        return {kind or "": count for kind, count in rows}


class StoredAccount(Account):
    """An account whose events are in a table. Events can be added at any time."""

    def __init__(self) -> None:
        """Opens an account without events."""
        super().__init__()
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS)
        self.connection.execute(f"CREATE TABLE events (serial BIGINT, position BIGINT, {columns})")
        self._writing = threading.Lock()
        self._next_serial = 0
        self._campaigns: dict[str, str] = {}
        self._activations: dict[str, int] = {}

    def relation(
        self, query: EventQuery, first: int | None = None, beyond: int | None = None
    ) -> str:
        """See ``Account.relation``."""
        return "events"

    def next_serial(self) -> int | None:
        """See ``Account.next_serial``."""
        return self._next_serial

    def add_campaigns(self, campaigns: Mapping[str, Iterable[str]]) -> None:
        """Says which actions belong to which campaign, for events added afterwards.

        Args:
            campaigns: Action ids by campaign id.
        """
        for campaign, actions in campaigns.items():
            self.add_ids("campaign_id", [campaign])
            self._campaigns.update(dict.fromkeys(actions, campaign))

    def add_events(self, events: Iterable[TEvent]) -> None:
        """See ``Account.add_events``."""
        parsed = [row_and_payload(event) for event in events]
        for row, payload in parsed:
            self._note_activation(row, payload)
        rows = [self._indexed(row, payload) for row, payload in parsed]
        table = pa.table(
            {
                name: pa.array(
                    [getattr(row, name) for row in rows],
                    {"BIGINT": pa.int64(), "VARCHAR": pa.string(), "BLOB": pa.binary()}[kind],
                )
                for name, kind in COLUMNS
            }
        )
        arrivals = table.append_column("arrival", pa.array(range(len(rows)), pa.int64()))
        cursor = self.connection.cursor()
        cursor.register("incoming", arrivals)
        self.insert(cursor, "incoming", "arrival")
        cursor.close()

    def _note_activation(self, row: EventRow, payload: dict[str, Any]) -> None:
        stamp = value_at(payload, "source", "detail", "activation", "stamp", "id")
        timestamp: Any = payload.get("timestamp") if row.timestamp is None else row.timestamp
        if (row.type or payload.get("type")) == "activation" and is_64_bit(timestamp):
            self._activations[str(stamp)] = timestamp

    def _indexed(self, row: EventRow, payload: dict[str, Any]) -> EventRow:
        """Completes the index columns from the payload where its shape is understood."""
        found = index_columns(payload)
        # The stamp joins an event to its activation; without that, the stamp's own time is close.
        stamp = str(value_at(payload, "source", "detail", "activation", "stamp", "id"))
        if stamp in self._activations:
            found["activation_timestamp"] = self._activations[stamp]
        names = [name for name, _ in COLUMNS if name != "payload"]
        found |= {name: getattr(row, name) for name in names if getattr(row, name) is not None}
        if found.get("timestamp") is None:
            raise ValueError(
                f"Nothing says the timestamp of the event {row.payload!r:.100}; use EventRow"
            )
        found.setdefault("visible_at", found["timestamp"])
        if found.get("action_id") in self._campaigns:
            found.setdefault("campaign_id", self._campaigns[found["action_id"]])
        return EventRow(payload=row.payload, **found)

    def insert(
        self, cursor: duckdb.DuckDBPyConnection, relation: str, tie: str = "event_id"
    ) -> None:
        """Adds the rows of a relation that has the columns ``COLUMNS``.

        Args:
            cursor: A connection that sees the relation.
            relation: SQL of the relation.
            tie: Column that orders events of one timestamp.
        """
        names = ", ".join(f'"{name}"' for name, _ in COLUMNS)
        with self._writing:
            first = self._next_serial
            cursor.begin()
            latest = _only(cursor.execute('SELECT max("timestamp") FROM events'))
            cursor.execute(
                f"INSERT INTO events SELECT serial, serial, {names} FROM (SELECT *,"
                f' {first} - 1 + row_number() OVER (ORDER BY "timestamp", {tie}) AS serial'
                f" FROM {relation}) ORDER BY serial"
            )
            new = f"FROM events WHERE serial >= {first}"
            earliest = _only(cursor.execute(f'SELECT min("timestamp") {new}'))
            if None not in (latest, earliest) and earliest < latest:
                cursor.execute(
                    "UPDATE events SET position = ordered.position FROM (SELECT serial,"
                    ' row_number() OVER (ORDER BY "timestamp", serial) - 1 AS position FROM events'
                    ") AS ordered WHERE events.serial = ordered.serial"
                )
            count = _only(cursor.execute(f"SELECT count(*) {new}"))
            cursor.commit()
            self._next_serial = first + count


class ServedEvents:
    """Which events complete responses have held. Safe for threads; close it when done."""

    def __init__(self, account: Account) -> None:
        """Starts with nothing served."""
        self._account = account
        self._cursor = account.connection.cursor()
        self._cursor.execute("CREATE TEMP TABLE served (serial BIGINT)")
        self._lock = threading.Lock()
        self._pending: dict[EventQuery, None] = {}
        self._counted: set[EventQuery] = set()

    def add(self, query: EventQuery) -> None:
        """Notes a query that was answered completely. Looked up only when counts are asked for."""
        with self._lock:
            key = replace(query, sort=None, shuffle=0)
            if key not in self._counted:
                self._pending[key] = None

    def counts(self) -> dict[str, int]:
        """Distinct event ids served so far, per event type."""
        with self._lock:
            for query in self._pending:
                self._cursor.execute(
                    f"INSERT INTO served SELECT serial FROM {self._account.relation(query)}"
                    f" WHERE {query.condition()}"
                    " AND serial NOT IN (SELECT serial FROM served)"
                )
            self._counted.update(self._pending)
            self._pending.clear()
            rows = self._cursor.execute(
                "SELECT type, count(DISTINCT event_id)"
                f" FROM {self._account.relation(EventQuery())}"
                " WHERE serial IN (SELECT serial FROM served) GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        return {kind or "": count for kind, count in rows}

    def close(self) -> None:
        """Forgets what was served."""
        self._cursor.close()


def account_from_events(
    events: Iterable[TEvent],
    *,
    campaigns: Mapping[str, Iterable[str]] | None = None,
    ids: Mapping[str, Iterable[str]] | None = None,
) -> StoredAccount:
    """An account with the given events.

    Args:
        events: Payloads as dicts or as JSON text or bytes (served byte by byte), or ``EventRow``
            with index columns given explicitly.
        campaigns: Action ids by campaign id.
        ids: Ids that are known without having events, by index column (``ID_COLUMNS``).

    Raises:
        ValueError: Nothing says an event's timestamp.
    """
    account = StoredAccount()
    account.add_campaigns(campaigns or {})
    for column, values in (ids or {}).items():
        account.add_ids(column, values)
    account.add_events(events)
    return account


def _only(result: duckdb.DuckDBPyConnection) -> Any:
    row = result.fetchone()
    return row[0] if row else None
