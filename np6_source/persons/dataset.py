"""A dataset's tables, open for questions about single persons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ..destinations import kind_of_destination
from ..dimensions import dimension_tables
from ..errors import Np6Error, SettingError
from ..events.digests import DigestKey, canonical, canonical_sql
from ..events.privacy import HMAC, KEEP, POLICIES, Privacy
from ..extract.policy import KEY_ADVICE
from ..ledger import loaded_schema, policies
from ..schema import EVENTS, TABLES, Table

DIALECTS = {"duckdb": "duckdb", "postgres": "postgres"}
"""The SQL of the destinations in which persons can be found, by dlt's short name of them."""

AT_ONCE = 500
"""Values that one statement has at most."""


class NotHere(Np6Error):
    """The destination is none in which persons can be found or erased, or rows masked."""


FILES = (
    "Files keep every version of a row. Delta: delete the rows by event id, then VACUUM without"
    " retention; the log names values until its own retention ends. Iceberg: delete them, expire"
    " the snapshots, remove orphan files. Plain Parquet: write the files anew without them, or load"
    " again into an empty bucket under the policy that is wanted"
)
DATABASE = (
    "Change the rows by SQL, and wait out time travel, fail-safe and snapshots; or load again into"
    " a dataset of its own under the policy that is wanted"
)


def check_destination(pipeline: dlt.Pipeline) -> None:
    """Refuses destinations in which nothing about persons is changed from here.

    Raises:
        NotHere: Says what to run there.
    """
    kind = kind_of_destination(pipeline)
    if kind not in DIALECTS:
        instead = FILES if kind in ("filesystem", "athena") else DATABASE
        raise NotHere(
            "Values about persons are found, erased and masked on DuckDB and PostgreSQL, not on"
            f" {kind or 'no destination'}: nothing was done. {instead}; docs/privacy.md has it by"
            " destination."
        )


@dataclass(frozen=True)
class Dataset:
    """The tables that are there, and how to speak of them.

    Attributes:
        client: A connection, open.
        schema: The source's schema.
        dialect: Of ``DIALECTS``.
        tables: The tables that are there, events' first.
        columns: Names of the columns that are there, by table.
        privacy: The policy under which it was loaded, with the key that is configured.
    """

    client: SqlClientBase[Any]
    schema: Schema
    dialect: str
    tables: tuple[Table, ...]
    columns: Mapping[str, frozenset[str]]
    privacy: Privacy

    @property
    def key(self) -> DigestKey:
        """The key of the digests."""
        assert self.privacy.key is not None  # ``opened`` wants one.
        return self.privacy.key

    def name(self, table: Table | str) -> str:
        """A table's name in SQL."""
        name = table if isinstance(table, str) else table.name
        return self.client.make_qualified_table_name(self.schema.naming.normalize_tables_path(name))

    def column(self, name: str) -> str:
        """A column's name in SQL."""
        return self.client.escape_column_name(self.schema.naming.normalize_path(name))

    def has(self, table: Table, *columns: str) -> bool:
        """Whether a table and its columns are there."""
        return set(columns) <= self.columns.get(table.name, frozenset()) and table in self.tables

    def execute(self, statement: str, *values: Any) -> Sequence[Sequence[Any]]:
        """What a statement returns; ``%s`` stands for a value."""
        return self.client.execute_sql(statement, *values) or []

    def rows(self, query: str, *values: Any) -> Iterator[Sequence[Any]]:
        """What a query returns, few rows in memory at once."""
        with self.client.execute_query(query, *values) as cursor:
            while rows := cursor.fetchmany(10_000):
                yield from rows

    def count(self, table: Table, condition: Condition) -> int:
        """How many rows of a table meet a condition."""
        query = f"SELECT count(*) FROM {self.name(table)} WHERE {condition.sql}"
        ((found,),) = self.execute(query, *condition.values)
        return int(found)

    def is_hashed(self, personal: str) -> bool:
        """Whether the dataset has digests in place of a class's values."""
        return self.privacy.classes[personal] == HMAC

    def digest(self, value: str, personal: str) -> str:
        """The digest of a value as the dataset stores it."""
        if self.is_hashed(personal):
            return value
        return self.key.exact(value) if personal == "contact_id" else self.key.of(value, "address")

    def stored_id(self, value: str) -> str:
        """A contact's id as the dataset stores it."""
        return self.key.exact(value) if self.is_hashed("contact_id") else value

    def same_address(self, name: str, personal: str, given: Iterable[str]) -> Condition:
        """A condition: a column has one of some addresses, however it is written.

        Args:
            name: The column.
            personal: Its class.
            given: Canonical forms, or digests where the dataset has those.
        """
        column = self.column(name)
        value = column if self.is_hashed(personal) else canonical_sql(self.dialect, column)
        return is_one_of(value, given)

    def comparable(self, value: str, personal: str) -> str:
        """An address as ``same_address`` compares it."""
        return self.key.of(value, "address") if self.is_hashed(personal) else canonical(value)


@dataclass(frozen=True)
class Condition:
    """An SQL condition with the values of its ``%s``."""

    sql: str
    values: tuple[Any, ...] = ()

    def __and__(self, other: Condition) -> Condition:
        return Condition(f"({self.sql} AND {other.sql})", self.values + other.values)

    def __or__(self, other: Condition) -> Condition:
        return Condition(f"({self.sql} OR {other.sql})", self.values + other.values)

    def __invert__(self) -> Condition:
        return Condition(f"NOT COALESCE({self.sql}, FALSE)", self.values)


NEVER = Condition("1 = 0")


def is_one_of(expression: str, values: Iterable[Any]) -> Condition:
    """A condition: an expression has one of some values."""
    listed = tuple(values)
    if not listed:
        return NEVER
    return Condition(f"{expression} IN ({', '.join(['%s'] * len(listed))})", listed)


@contextmanager
def opened(
    pipeline: dlt.Pipeline, privacy: Privacy, schema_name: str | None = None
) -> Iterator[Dataset]:
    """Connects to the dataset that a pipeline loads into, to find persons in it.

    Args:
        pipeline: The pipeline, in sync with its destination.
        privacy: The policy and the key that are configured.
        schema_name: Name of the source, where several of the pipeline have loaded NP6 events.

    Raises:
        NotHere: Persons cannot be found in this destination.
        SettingError: There is no key, it is another than the dataset's, or the dataset has rows
            under several policies.
    """
    with connected(
        pipeline, lambda recorded: _policy_of(recorded, privacy.key), schema_name
    ) as data:
        yield data


@contextmanager
def connected(
    pipeline: dlt.Pipeline,
    policy_of: Callable[[frozenset[str]], Privacy],
    schema_name: str | None = None,
) -> Iterator[Dataset]:
    """Connects to the dataset that a pipeline loads into.

    Args:
        pipeline: The pipeline, in sync with its destination.
        policy_of: The policy under which it was loaded, from those that the ledger records.
        schema_name: Name of the source, where several of the pipeline have loaded NP6 events.

    Raises:
        NotHere: The destination is none of ``DIALECTS``.
        SettingError: Nothing was loaded; or what ``policy_of`` raises.
    """
    check_destination(pipeline)
    kind = kind_of_destination(pipeline)
    names, schema = loaded_schema(pipeline, schema_name)
    stored = policy_of(policies(pipeline, schema, must_be_known=True))
    known = (*TABLES, *dimension_tables())
    with pipeline.destination_client(*names) as client:
        assert isinstance(client, SqlJobClientBase)
        normalized = {schema.naming.normalize_tables_path(table.name): table for table in known}
        columns: dict[str, frozenset[str]] = {}
        for name, found in client.get_storage_tables(list(normalized)):
            table = normalized[name]
            there = {column.lower() for column in found}
            columns[table.name] = frozenset(
                column.name
                for column in table.columns
                if schema.naming.normalize_path(column.name).lower() in there
            )
        tables = tuple(table for table in known if columns.get(table.name))
        if EVENTS not in tables:
            raise SettingError(
                f"Nothing was ever loaded here: dataset {pipeline.dataset_name} has no events"
            )
        yield Dataset(client.sql_client, schema, DIALECTS[kind], tables, columns, stored)


def _policy_of(recorded: frozenset[str], key: DigestKey | None) -> Privacy:
    """The one policy that a dataset was loaded under, with the key.

    Raises:
        SettingError: There are several, or the key is not there or another.
    """
    if key is None:
        raise SettingError(
            "Finding and erasing a contact needs the secret pii_key, by which the dataset knows"
            f" who was erased: {KEY_ADVICE}"
        )
    if len(recorded) > 1:
        shown = " and ".join(f"({policy or 'everything kept'})" for policy in sorted(recorded))
        raise SettingError(
            f"The dataset has rows under {shown}: one person would be several. Load it under one"
            " policy first, see docs/privacy.md."
        )
    parts = dict(part.split("=", 1) for policy in recorded for part in policy.split())
    if (of_key := parts.pop("key", key.id)) != key.id:
        raise SettingError(
            f"The dataset's digests were made with key={of_key}, pii_key is key={key.id}: nobody"
            " would be found. Configure the key that was there."
        )
    return Privacy(dict.fromkeys(POLICIES, KEEP) | parts, key)
