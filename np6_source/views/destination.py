"""What a destination has under the views' names, and who made it.

A view's comment says that this package made it. Where comments cannot be read back, a table of the
dataset does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dlt.destinations.job_client_impl import SqlJobClientBase
from sqlglot import exp

from .definitions import views
from .translation import Names, quoted

MARK = "[np6_source "
"""Begins the end of a view's comment; the fingerprint of all views follows."""
REGISTRY = "_np6_views"
"""The table that names the views, where their comments cannot be read."""


@dataclass(frozen=True)
class Relation:
    """A table or view of the dataset.

    Attributes:
        fingerprint: The fingerprint it was made with; None where this package did not make it.
    """

    fingerprint: str | None


class Catalog(Protocol):
    """Reads and writes who made the relations of a dataset."""

    def relations(self, names: Sequence[str]) -> dict[str, Relation]:
        """Those of these names that exist."""
        ...

    def marking(self, views: Mapping[str, str], fingerprint: str) -> Iterable[str]:
        """Statements that say this package made the views, given as descriptions by name."""
        ...

    def marking_table(self, table: str, fingerprint: str) -> Iterable[str]:
        """Statements that say this package made a table."""
        ...

    def describing(self, relation: str, columns: Mapping[str, str]) -> Iterable[str]:
        """Statements that describe the columns of a view or table."""
        ...

    def describing_table(self, table: str, description: str) -> Iterable[str]:
        """Statements that describe a table."""
        ...

    def unmarking(self) -> Iterable[str]:
        """Statements that forget the views."""
        ...

    def readers(self, names: Sequence[str]) -> dict[str, str]:
        """Views of others that keep these relations from being dropped, and what each reads."""
        ...


@dataclass(frozen=True)
class CommentedCatalog:
    """Of a destination that gives comments back.

    Attributes:
        client: The destination's client, open.
        names: The destination's names.
        query: SQL for name and comment of every relation of a schema.
        readers_query: SQL for schema, name and comment of every view that reads a relation of a
            schema, and that relation's name. None where such views keep nothing from being dropped.
        undescribed: Relations whose columns take no comments.
    """

    client: SqlJobClientBase
    names: Names
    query: str
    readers_query: str | None = None
    undescribed: frozenset[str] = frozenset()

    def relations(self, names: Sequence[str]) -> dict[str, Relation]:
        """See ``Catalog``."""
        found = {row[0]: row[1] for row in self._rows(self.query)}
        return {
            name: Relation(_fingerprint(found[there]))
            for name in names
            if (there := self.names.path(name)[-1]) in found
        }

    def marking(self, views: Mapping[str, str], fingerprint: str) -> Iterable[str]:
        """See ``Catalog``."""
        for name, description in views.items():
            comment = literal(f"{description} {MARK}{fingerprint}]", self.names.dialect)
            yield f"COMMENT ON VIEW {self._full(name)} IS {comment}"

    def marking_table(self, table: str, fingerprint: str) -> Iterable[str]:
        """See ``Catalog``."""
        comment = literal(f"Read messages. {MARK}{fingerprint}]", self.names.dialect)
        yield f"COMMENT ON TABLE {self._full(table)} IS {comment}"

    def describing(self, relation: str, columns: Mapping[str, str]) -> Iterable[str]:
        """See ``Catalog``."""
        if relation in self.undescribed:
            return
        for column, description in columns.items():
            name = quoted([self.names.column(column)], self.names.dialect)
            comment = literal(description, self.names.dialect)
            yield f"COMMENT ON COLUMN {self._full(relation)}.{name} IS {comment}"

    def describing_table(self, table: str, description: str) -> Iterable[str]:
        """See ``Catalog``."""
        comment = literal(description, self.names.dialect)
        yield f"COMMENT ON TABLE {self._full(table)} IS {comment}"

    def unmarking(self) -> Iterable[str]:
        """See ``Catalog``: comments go with their views."""
        return ()

    def readers(self, names: Sequence[str]) -> dict[str, str]:
        """See ``Catalog``."""
        if self.readers_query is None:
            return {}
        ours = {self.names.path(name)[-1] for name in names}
        return {
            f"{reader_schema}.{reader}": read
            for reader_schema, reader, comment, read in self._rows(self.readers_query)
            if read in ours and not (reader_schema == self._schema and _fingerprint(comment))
        }

    def _rows(self, query: str) -> Sequence[Sequence[Any]]:
        return self.client.sql_client.execute_sql(query, self._schema) or ()

    @property
    def _schema(self) -> str:
        return self.names.path("messages")[-2]

    def _full(self, name: str) -> str:
        return quoted(self.names.path(name), self.names.dialect)


@dataclass(frozen=True)
class RegisteredCatalog:
    """Of any other destination that speaks SQL.

    Attributes:
        client: The destination's client, open.
        names: The destination's names.
    """

    client: SqlJobClientBase
    names: Names

    def relations(self, names: Sequence[str]) -> dict[str, Relation]:
        """See ``Catalog``."""
        asked = [REGISTRY, *names]
        there = {name for name, columns in self.client.get_storage_tables(asked) if columns}
        ours: dict[str, str] = {}
        if REGISTRY in there:
            ours = {
                row[0]: row[1]
                for row in self.client.sql_client.execute_sql(f"SELECT * FROM {self._table}") or ()
            }
        return {name: Relation(ours.get(name)) for name in names if name in there}

    def marking(self, views: Mapping[str, str], fingerprint: str) -> Iterable[str]:
        """See ``Catalog``."""
        dialect = self.names.dialect
        text = exp.DataType.build("VARCHAR", dialect="duckdb").sql(dialect)
        engine = " ENGINE = MergeTree ORDER BY tuple()" if dialect == "clickhouse" else ""
        yield (
            f"CREATE TABLE IF NOT EXISTS {self._table}"
            f" (view_name {text}, fingerprint {text}){engine}"
        )
        yield from self.unmarking()
        rows = ", ".join(
            f"({literal(name, dialect)}, {literal(fingerprint, dialect)})" for name in views
        )
        yield f"INSERT INTO {self._table} VALUES {rows}"

    def marking_table(self, table: str, fingerprint: str) -> Iterable[str]:
        """See ``Catalog``: there are no tables of this package there."""
        return ()

    def describing(self, relation: str, columns: Mapping[str, str]) -> Iterable[str]:
        """See ``Catalog``: none, their dialects differ."""
        return ()

    def describing_table(self, table: str, description: str) -> Iterable[str]:
        """See ``Catalog``: none, their dialects differ."""
        return ()

    def unmarking(self) -> Iterable[str]:
        """See ``Catalog``."""
        return (f"DELETE FROM {self._table} WHERE 1 = 1",)

    def readers(self, names: Sequence[str]) -> dict[str, str]:
        """See ``Catalog``: these destinations drop what views read."""
        return {}

    @property
    def _table(self) -> str:
        return quoted(self.names.path(REGISTRY), self.names.dialect)


DUCKDB = """SELECT "name", "comment" FROM (
    SELECT schema_name, view_name AS "name", "comment" FROM duckdb_views()
    WHERE database_name = current_database()
    UNION ALL
    SELECT schema_name, table_name, "comment" FROM duckdb_tables()
    WHERE database_name = current_database()
) WHERE schema_name = %s"""
POSTGRES = """SELECT c.relname, obj_description(c.oid, 'pg_class')
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'v', 'm', 'f', 'p')"""
POSTGRES_READERS = """SELECT DISTINCT rn.nspname, r.relname, obj_description(r.oid, 'pg_class'),
    c.relname
FROM pg_depend AS d
JOIN pg_rewrite AS w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
JOIN pg_class AS r ON r.oid = w.ev_class
JOIN pg_namespace AS rn ON rn.oid = r.relnamespace
JOIN pg_class AS c ON c.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND r.oid <> c.oid"""


def catalog_of(client: SqlJobClientBase, names: Names) -> Catalog:
    """The catalog of a destination."""
    if names.dialect == "duckdb":
        # DuckLake takes comments on views, and none on their columns (DuckDB 1.5).
        is_lake = client.config.destination_type.rpartition(".")[2] == "ducklake"
        undescribed = [view.name for view in views() if is_lake]
        return CommentedCatalog(client, names, DUCKDB, undescribed=frozenset(undescribed))
    if names.dialect == "postgres":
        return CommentedCatalog(client, names, POSTGRES, POSTGRES_READERS)
    return RegisteredCatalog(client, names)


def literal(text: str, dialect: str) -> str:
    """A text in a dialect."""
    return exp.Literal.string(text).sql(dialect)


def _fingerprint(comment: str | None) -> str | None:
    """The fingerprint in a view's comment; None where there is none."""
    if comment is None or MARK not in comment or not comment.endswith("]"):
        return None
    return comment.rpartition(MARK)[2].removesuffix("]")
