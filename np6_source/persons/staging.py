"""The rows that loads have left in dlt's staging datasets.

dlt 1.31 empties a staging table when the next load needs it, not when a load has ended. Who was
erased, or how values were before a policy, would stay there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .dataset import Dataset, DeltaDataset, known_tables


def empty_staging(data: Dataset) -> None:
    """Removes all rows of NP6's tables from the dataset's staging datasets, of all pipelines.

    To be called inside a transaction and the dataset's lock, with an entry by which packages that
    have begun are given up: else rows that one of them needs would be gone.
    """
    how = {"postgres": "TRUNCATE TABLE", "duckdb": "DELETE FROM"}[data.dialect]
    for schema, table in staged_tables(data):
        data.execute(f"{how} {qualified(data, schema, table)}")


def staged_tables(data: Dataset) -> Iterator[tuple[str, str]]:
    """Staging datasets and NP6's tables in them; none in files."""
    if isinstance(data, DeltaDataset):
        return
    known = known_tables(data.schema)
    dataset, configured = data.client.dataset_name, data.client.staging_dataset_name
    ours = re.compile(rf"{re.escape(f'{dataset}_staging')}(_(of_)?[0-9a-f]{{12}})?")
    rows = data.execute(
        "SELECT table_schema, table_name FROM information_schema.tables"
        " WHERE table_catalog = current_database() AND table_type = 'BASE TABLE'"
        " ORDER BY table_schema, table_name"
    )
    for schema, table in rows:
        if table in known and (schema == configured or ours.fullmatch(schema)):
            yield schema, table


def qualified(data: Dataset, schema: str, table: str) -> str:
    """A table's name in SQL, in the dataset or in one of its staging datasets."""
    if schema == data.client.dataset_name:
        return data.client.make_qualified_table_name(table)
    with data.client.with_alternative_dataset_name(schema):
        return data.client.make_qualified_table_name(table)
