"""Tables that are no longer as loads have made them: what to do is said before a load goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dlt
from dlt.common.exceptions import DltException
from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ..errors import Np6Error, TableMissing, TypeChanged, listed
from ..open_tables.intact import missing_from_lake
from ..tables.naming import filled

logger = logging.getLogger(__name__)


def check_tables(pipeline: dlt.Pipeline, changes: bool = True) -> None:
    """Compares the tables that hold data by dlt's schemas with the destination's.

    Tables of dlt's own that are gone are made again, empty: the ledger proves nothing without
    ``_dlt_loads``, and the load that follows reads again what it no longer proves.

    Args:
        pipeline: The pipeline, in sync with its destination.
        changes: Whether to make tables again; nobody else may change the dataset meanwhile.

    Raises:
        TableMissing: A table or a column is gone, or a table of a lake is damaged.
    """
    for schema_name in pipeline.schema_names:
        schema = pipeline.schemas[schema_name]
        expected = filled(schema)
        if not expected:
            continue
        with pipeline.destination_client(schema_name) as client:
            if not isinstance(client, (SqlJobClientBase, FilesystemClient)):
                return
            gone = missing_tables(client, expected)
            lacking: Mapping[str, Sequence[str]] = {}
            if isinstance(client, SqlJobClientBase):
                lacking = missing_columns(client, schema, expected)
                if changes and not gone:
                    _make_tables_of_dlt(client, schema)
        if gone:
            raise TableMissing.of(gone, pipeline.dataset_name)
        if lacking:
            raise TableMissing(_about_columns(lacking, schema, pipeline.dataset_name))


def missing_tables(client: Any, expected: Iterable[str]) -> list[str]:
    """Which of the tables the destination does not have.

    Args:
        client: A client of dlt's that can list tables.
        expected: Their names.

    Raises:
        TableMissing: One of a lake is damaged.
        DatabaseException: A table cannot be read: PostgreSQL lists those only that the role may
            use.
    """
    if isinstance(client, FilesystemClient):
        return missing_from_lake(client, expected)
    unlisted = [name for name, columns in client.get_storage_tables(list(expected)) if not columns]
    if not isinstance(client, SqlJobClientBase):
        return unlisted
    return [name for name in unlisted if not is_readable(client.sql_client, name)]


def is_readable(client: SqlClientBase[Any], table: str) -> bool:
    """Whether a table is there and can be read.

    Args:
        client: An open connection to the destination.
        table: Its name, as the destination has it.

    Raises:
        DatabaseException: It is there, and cannot be read.
    """
    try:
        client.execute_sql(f"SELECT 1 FROM {client.make_qualified_table_name(table)} WHERE 1 = 0")
    except DatabaseUndefinedRelation:
        return False
    return True


def missing_columns(
    client: SqlJobClientBase, schema: Schema, expected: Iterable[str]
) -> dict[str, list[str]]:
    """Which columns the destination's tables do not have, though dlt has made them.

    Those of a version of the schema that the destination does not know yet come with the next load.

    Args:
        client: A client of dlt's for the schema.
        schema: The schema.
        expected: Names of tables; one that is gone is left out.
    """
    if not _is_made(client, schema):
        return {}
    lacking: dict[str, list[str]] = {}
    for table, columns in client.get_storage_tables(list(expected)):
        there = {name.casefold() for name in columns}
        known = schema.get_table_columns(table)
        gone = [name for name in known if name.casefold() not in there]
        if columns and gone:
            lacking[table] = gone
    return lacking


def _is_made(client: SqlJobClientBase, schema: Schema) -> bool:
    """Whether the destination has had this version of the schema: dlt notes it after the tables."""
    try:
        return client.get_stored_schema_by_hash(schema.stored_version_hash) is not None
    except DatabaseUndefinedRelation:
        return False


def _make_tables_of_dlt(client: SqlJobClientBase, schema: Schema) -> None:
    """Makes those of dlt's own tables again that are gone; dlt 1.31 fails without them."""
    gone = missing_tables(client, (schema.loads_table_name, schema.state_table_name))
    gone = [table for table in gone if table in schema.tables]
    if gone:
        logger.warning(
            "%s is gone from the dataset, and is made again, empty. What _dlt_loads no longer"
            " proves is read again.",
            listed(gone),
        )
        client.update_stored_schema(only_tables=gone, force=True)


def _about_columns(lacking: Mapping[str, Sequence[str]], schema: Schema, dataset: str) -> str:
    """What to do about columns that are gone."""
    gone = [f"{table}.{name}" for table, columns in lacking.items() for name in columns]
    return (
        f"{listed(gone)} is gone from dataset {dataset!r}, but earlier runs filled it. Either put"
        f" the column back with its values, or {_read_again(lacking, schema)}."
    )


def _read_again(columns: Mapping[str, Sequence[str]], schema: Schema) -> str:
    """How a reload makes columns again that are gone, by table."""
    tables = [
        table
        for table, names in columns.items()
        if not all(schema.get_table_columns(table)[name].get("nullable", True) for name in names)
    ]
    if tables:
        return (
            f"drop {listed(tables)}, as no row can be without it, and read everything again with"
            " --reload: rows of other tables stay until all is read"
        )
    return (
        "read everything again with --reload, which drops nothing: it makes the column again and"
        " fills it"
    )


@contextmanager
def saying_what_changed(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Says what to do about tables that somebody has changed, where something fails by them.

    Types are looked at only then: each destination stores some as others.

    Raises:
        TableMissing: A table or a column is gone; in place of what the destination says.
        TypeChanged: A column has another type; likewise.
    """
    try:
        yield
    except DltException as error:
        try:
            changed = _what_changed(pipeline)
        except Exception:  # Each driver has its own; what failed first counts.
            raise error from None
        if changed is None:
            raise
        raise changed from error


def _what_changed(pipeline: dlt.Pipeline) -> Np6Error | None:
    """What to do about tables and columns that are gone or have another type, if there are some."""
    for schema_name in pipeline.schema_names:
        schema = pipeline.schemas[schema_name]
        with pipeline.destination_client(schema_name) as client:
            if not isinstance(client, SqlJobClientBase):
                return None
            gone = missing_tables(client, filled(schema)) if _is_made(client, schema) else []
            lacking = missing_columns(client, schema, filled(schema))
            found = other_types(client, schema, filled(schema))
        if gone:
            return TableMissing.of(gone, pipeline.dataset_name)
        if lacking:
            return TableMissing(_about_columns(lacking, schema, pipeline.dataset_name))
        if found:
            shown = [
                f"{table}.{name} ({there}, was {made})"
                for table, columns in found.items()
                for name, (made, there) in columns.items()
            ]
            names = {table: list(columns) for table, columns in found.items()}
            return TypeChanged(
                f"Dataset {pipeline.dataset_name!r} has columns of another type than they were made"
                f" with: {listed(shown)}. What was committed before stays. Either give them their"
                f" type back, or drop them: {_read_again(names, schema)}."
            )
    return None


def other_types(
    client: SqlJobClientBase, schema: Schema, expected: Iterable[str]
) -> dict[str, dict[str, tuple[str, str]]]:
    """The columns that have another type in the destination than in the schema, by table.

    Args:
        client: A client of dlt's for the schema.
        schema: The schema.
        expected: Names of tables; one that is gone is left out.

    Returns:
        The types in the schema and in the destination, as dlt names them.
    """
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for table, there in client.get_storage_tables(list(expected)):
        types = {name.casefold(): column.get("data_type") for name, column in there.items()}
        for name, column in schema.get_table_columns(table).items():
            made, is_now = column.get("data_type"), types.get(name.casefold())
            if made and is_now and made != is_now and {made, is_now} != {"json", "text"}:
                found.setdefault(table, {})[name] = (made, is_now)
    return found
