"""docs/destinations.md: what it prints works as printed."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.printed.project import PATIENCE, Block, Project, blocks, project, runnable

PAGE = "docs/destinations.md"
NOT_RUN: dict[str, str] = {
    'pip install "dlt[deltalake,s3]"         # or "dlt[pyiceberg,s3]"': (
        "tests/destinations runs in an environment that has them"
    ),
    "from np6_source.indexes import make_indexes": "the test below runs it in PostgreSQL",
    "ATTACH 'ducklake:catalog.duckdb' AS lake (DATA_PATH 'files');": (
        "tests/destinations/test_ducklake.py runs it where DuckLake's extension is"
    ),
}
"""Blocks that cannot run here, by their first line, with the reason."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, postgres_socket: str) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("reader")
    lake = folder / "lake"
    server = f"postgresql://postgres:none@{quote(postgres_socket, safe='')}/postgres"
    # Plain Parquet: what writes Delta is not installed here, see tests/destinations.
    fill_in = {
        's3://my-bucket/lake"': f'file://{lake}"',
        'table_format = "delta"': "",
        "/data/lake": str(lake),
    }
    with project(folder, fill_in) as machine:
        machine.environment["DESTINATION__POSTGRES__CREDENTIALS"] = server
        yield machine


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("block", runnable(PAGE), ids=str)
def test_a_block_works_as_printed(block: Block, reader: Project) -> None:
    if block.first_line in NOT_RUN:
        pytest.skip(NOT_RUN[block.first_line])
    reader.run(block)


def test_the_indexes_are_made_in_postgresql(reader: Project) -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    (indexes,) = (b for b in blocks(PAGE) if "make_indexes" in b.first_line)
    reader.command(
        ["bash", "-e"], ".venv/bin/python pipelines/np6_to_duckdb.py --destination postgres"
    )
    reader.run(indexes)
    server = reader.environment["DESTINATION__POSTGRES__CREDENTIALS"]
    with psycopg2.connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_indexes WHERE indexname LIKE 'np6\\_%'")
        assert {"events", "events__hits"} <= {table for (table,) in cursor.fetchall()}
    connection.close()
