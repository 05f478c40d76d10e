"""A dataset's tables, open for questions about single persons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ..bookkeeping.own_tables import ERASURES
from ..destinations import kind_of_destination
from ..dimensions import dimension_tables
from ..errors import Np6Error, SettingError
from ..events.digests import DigestKey, canonical, canonical_sql
from ..events.privacy import HMAC, Privacy, of_recorded
from ..extract.policy import KEY_ADVICE
from ..ledger import loaded_schema, policies, policies_in
from ..open_tables import delta
from ..open_tables.arrow_sql import ArrowSqlClient
from ..schema import EVENTS, LATENESS, LOAD_WINDOWS, REJECTED_EVENTS, TABLES, Table
from ..tables.in_sql import column_in_sql
from ..tables.naming import name_of

DIALECTS = {"duckdb": "duckdb", "postgres": "postgres"}
"""The SQL of the destinations in which persons can be found, by dlt's short name of them."""

AT_ONCE = 500
"""Values that one statement has at most."""

LABELLED = (LOAD_WINDOWS, LATENESS, REJECTED_EVENTS)
"""The tables that name what was loaded by a contact's id by its label."""


class NotHere(Np6Error):
    """The destination is none in which persons can be found or erased, or rows masked."""


FILES = (
    "Files keep every version of a row. Delta: change the rows by event id, then VACUUM without"
    " retention; the log names values until its own retention ends. Iceberg: delete them, expire"
    " the snapshots, remove orphan files. Plain Parquet: write the files anew without them, or load"
    " again into an empty bucket under the policy that is wanted"
)
DATABASE = (
    "Change the rows by SQL, and wait out time travel, fail-safe and snapshots; or load again into"
    " a dataset of its own under the policy that is wanted"
)


def check_destination(pipeline: dlt.Pipeline, or_delta: bool = False) -> None:
    """Refuses destinations in which nothing about persons is changed from here.

    Args:
        pipeline: The pipeline; for ``or_delta`` in sync with its destination.
        or_delta: Whether Delta tables will do.

    Raises:
        NotHere: Says what to run there.
    """
    kind = kind_of_destination(pipeline)
    if or_delta and has_delta_tables(pipeline):
        return
    if kind not in DIALECTS:
        what = "Rows are masked on DuckDB and PostgreSQL"
        if or_delta:
            what = "Persons are found and erased on DuckDB and PostgreSQL, and in Delta tables"
        instead = FILES if kind in ("filesystem", "athena") else DATABASE
        raise NotHere(
            f"{what}, not on {kind or 'no destination'}: nothing was done. {instead};"
            " docs/privacy.md has it by destination."
        )


def has_delta_tables(pipeline: dlt.Pipeline) -> bool:
    """Whether the events that a pipeline has loaded are in Delta tables."""
    if kind_of_destination(pipeline) != "filesystem":
        return False
    names, schema = loaded_schema(pipeline, None)
    with pipeline.destination_client(*names) as client:
        assert isinstance(client, FilesystemClient)
        return delta.is_delta(client, schema, name_of(EVENTS, schema))


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

    def remove(self, table: Table, where: Condition) -> None:
        """Removes rows."""
        self.execute(f"DELETE FROM {self.name(table)} WHERE {where.sql}", *where.values)

    def blank(self, table: Table, names: Sequence[str], where: Condition) -> None:
        """Makes columns of rows NULL; columns that are not there are left out."""
        if there := [name for name in names if self.has(table, name)]:
            values = ", ".join(f"{self.column(name)} = NULL" for name in there)
            self.execute(f"UPDATE {self.name(table)} SET {values} WHERE {where.sql}", *where.values)

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
        return column_in_sql(name, self.client, self.schema)

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
        return is_one_of(self.compared(name, personal), given)

    def compared(self, name: str, personal: str) -> str:
        """A column of addresses as ``same_address`` compares it, in SQL."""
        column = self.column(name)
        return column if self.is_hashed(personal) else canonical_sql(self.dialect, column)

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


@dataclass(frozen=True)
class DeltaDataset(Dataset):
    """The Delta tables that are there, as they were when they were opened.

    Each change of a table is a commit of its own.
    """

    @property
    def files(self) -> FilesystemClient:
        """Dlt's client of the dataset."""
        assert isinstance(self.client, ArrowSqlClient)
        return self.client.files

    def remove(self, table: Table, where: Condition) -> None:
        """Removes rows."""
        self._change(table, where, {})

    def blank(self, table: Table, names: Sequence[str], where: Condition) -> None:
        """Makes columns of rows NULL; columns that are not there are left out."""
        there = [name for name in names if self.has(table, name)]
        if there:
            self._change(table, where, {self._name(name): "NULL" for name in there})

    def _change(self, table: Table, where: Condition, new: Mapping[str, str]) -> None:
        assert isinstance(self.client, ArrowSqlClient)
        keys = table.key if table not in LABELLED else ("resource", "scope_id")
        if new and table in LABELLED:
            keys = ("content",)
        columns = ", ".join(self.column(name) for name in keys if self.has(table, name))
        query = f"SELECT DISTINCT {columns} FROM {self.name(table)} WHERE {where.sql}"
        rows = self.client.selected(query, where.values)
        delta.change(self.files, name_of(table, self.schema), rows, new)

    def _name(self, column: str) -> str:
        return self.schema.naming.normalize_path(column)


NEVER = Condition("1 = 0")


def is_one_of(expression: str, values: Iterable[Any]) -> Condition:
    """A condition: an expression has one of some values."""
    listed = tuple(values)
    if not listed:
        return NEVER
    return Condition(f"{expression} IN ({', '.join(['%s'] * len(listed))})", listed)


def any_of(conditions: Iterable[Condition]) -> Condition:
    """A condition: one of some is met; the SQL is no deeper than theirs."""
    listed = list(conditions)
    if not listed:
        return NEVER
    sql = " OR ".join(f"({one.sql})" for one in listed)
    return Condition(f"({sql})", tuple(value for one in listed for value in one.values))


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
        pipeline, lambda recorded: policy_with(recorded, privacy.key), schema_name
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
    check_destination(pipeline, or_delta=True)
    names, schema = loaded_schema(pipeline, schema_name)
    known = known_tables(schema)
    with pipeline.destination_client(*names) as client:
        if isinstance(client, FilesystemClient):
            own = schema.naming.normalize_tables_path(ERASURES.name)
            with ArrowSqlClient(client, [*known, own], delta.rows) as tables:
                check_is_there(pipeline, name_of(EVENTS, schema) in tables.columns)
                stored = policy_of(frozenset(policies_in(tables, schema)))
                yield dataset_of(tables, schema, "duckdb", tables.columns, stored, DeltaDataset)
            return
        assert isinstance(client, SqlJobClientBase)
        found = dict(client.get_storage_tables(list(known)))
        check_is_there(pipeline, bool(found.get(name_of(EVENTS, schema))))
        stored = policy_of(policies(pipeline, schema, must_be_known=True))
        dialect = DIALECTS[kind_of_destination(pipeline)]
        yield dataset_of(client.sql_client, schema, dialect, found, stored)


def known_tables(schema: Schema) -> dict[str, Table]:
    """The tables that may have persons, events' first, by their names in a schema."""
    return {name_of(table, schema): table for table in (*TABLES, *dimension_tables())}


def dataset_of(
    client: SqlClientBase[Any],
    schema: Schema,
    dialect: str,
    found: Mapping[str, Iterable[str]],
    stored: Privacy,
    kind: type[Dataset] = Dataset,
) -> Dataset:
    """A dataset with those of the tables that are there.

    Args:
        client: A connection, open.
        schema: The source's schema.
        dialect: Of ``DIALECTS``.
        found: Columns by table, as the destination calls them.
        stored: The policy under which it was loaded, with the key.
        kind: The class.
    """
    columns: dict[Table, frozenset[str]] = {}
    for name, table in known_tables(schema).items():
        there = {column.lower() for column in found.get(name, ())}
        columns[table] = frozenset(
            column.name
            for column in table.columns
            if schema.naming.normalize_path(column.name).lower() in there
        )
    present = {table: names for table, names in columns.items() if names}
    by_name = {table.name: names for table, names in present.items()}
    return kind(client, schema, dialect, tuple(present), by_name, stored)


def check_is_there(pipeline: dlt.Pipeline, is_there: bool) -> None:
    """Refuses a dataset without events.

    Raises:
        SettingError: It has none.
    """
    if not is_there:
        raise SettingError(f"Nothing is loaded here: dataset {pipeline.dataset_name} has no events")


def policy_with(recorded: frozenset[str], key: DigestKey | None) -> Privacy:
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
    classes, key_id = of_recorded(next(iter(recorded), ""))
    if key_id not in (None, key.id):
        raise SettingError(
            f"The dataset's digests were made with key={key_id}, pii_key is key={key.id}: nobody"
            " would be found. Configure the key that was there."
        )
    return Privacy(classes, key)
