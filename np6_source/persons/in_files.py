"""Which files hold a person, where files are only read: plain Parquet, and Iceberg."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dlt
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

from ..events.privacy import Privacy
from ..events.suppression import personal_columns
from ..ledger import loaded_schema, policies_in
from ..open_tables import parquet
from ..open_tables.arrow_sql import ArrowSqlClient
from ..schema import EVENT_TABLES, EVENTS, Table
from ..tables.naming import name_of
from .dataset import LABELLED, Condition, Dataset, any_of, dataset_of, known_tables, policy_with
from .erasing import labelled
from .finding import Person, find
from .labels import labels_of
from .mentions import mentions

OF_PERSON = "np6_of_person"
"""Name of the table with the ids of the person's events."""


def files_about(
    pipeline: dlt.Pipeline, privacy: Privacy, values: Iterable[str], all_of_address: bool = False
) -> list[str]:
    """Paths of the Parquet files that have rows about a person, or quote it.

    Args:
        pipeline: The pipeline, in sync with its destination.
        privacy: The policy and the key that are configured.
        values: As for ``finding.find``.
        all_of_address: As for ``finding.find``.

    Raises:
        SettingError: As for ``dataset.opened`` and ``finding.find``.
    """
    names, schema = loaded_schema(pipeline, None)
    known = known_tables(schema)
    with pipeline.destination_client(*names) as client:
        assert isinstance(client, FilesystemClient)
        with ArrowSqlClient(client, list(known), parquet.rows) as opened:
            if name_of(EVENTS, schema) not in opened.columns:
                return []
            stored = policy_with(frozenset(policies_in(opened, schema)), privacy.key)
            data = dataset_of(opened, schema, "duckdb", opened.columns, stored)
            person = find(data, values, all_of_address)
            return list(_holding(data, opened, person, client))


def _holding(
    data: Dataset, opened: ArrowSqlClient, person: Person, client: FilesystemClient
) -> Iterator[str]:
    about = person.is_about(data)
    events = f"SELECT {data.column('id')} AS id FROM {data.name(EVENTS)} WHERE {about.sql}"
    opened.native_connection.register(OF_PERSON, opened.selected(events, about.values))
    quoting: dict[Table, list[Condition]] = {}
    for mention in mentions(data, person):
        quoting.setdefault(mention.table, []).append(mention.row)
    labels = labelled(data, labels_of(data, person))
    for table in data.tables:
        condition = any_of(quoting.get(table, ()))
        if table is EVENTS:
            condition |= about
            if data.has(EVENTS, "recipient"):
                condition |= person.went_to_address(data)
        elif table in EVENT_TABLES and personal_columns(table):
            condition |= Condition(f"{data.column('event_id')} IN (SELECT id FROM {OF_PERSON})")
        elif table in LABELLED:
            condition |= labels
        elif table not in EVENT_TABLES:
            condition |= person.is_named(data, table)
        name = name_of(table, data.schema)
        columns = opened.columns[name]
        for path in parquet.parquet_files(client, name):
            rows = parquet.rows_of(client, [path])
            # A column that this file lacks is NULL in its rows.
            missing = "".join(f', NULL AS "{one}"' for one in columns - {*rows.schema.names})
            opened.native_connection.register("np6_file", rows)
            query = f"SELECT 1 FROM (SELECT *{missing} FROM np6_file) WHERE {condition.sql} LIMIT 1"
            if data.execute(query, *condition.values):
                yield path
