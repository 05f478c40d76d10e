"""What dlt would do on a destination, without the destination: no connection, no credentials.

The source is really extracted from a sandbox and really normalised for the destination, by dlt
itself; the load packages' files and the SQL that dlt's client makes for them are what would reach
it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot
from dlt.common.schema import Schema
from sqlglot import exp

from np6_source import np6_source
from np6_source.sandbox import (
    SAMPLE_CAMPAIGN_ID,
    Sandbox,
    account_from_events,
    documented_samples,
)

LONG_AGO = "2021-01-01"
BEHIND = "2021-12-31"


@dataclass(frozen=True)
class Dialect:
    """A destination and the dialect it speaks.

    Attributes:
        name: The destination's short type, and sqlglot's name of the dialect.
        destination: Makes the destination, with credentials that lead nowhere.
        types: Column types by dlt data type.
        staged: Whether files reach it only by way of a bucket.
        catalog: The first part of a table's name, where names have three.
    """

    name: str
    destination: Callable[[], Any]
    types: dict[str, str]
    staged: bool = False
    catalog: str = ""


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "bigquery",
            lambda: dlt.destinations.bigquery(
                credentials={"project_id": "p", "private_key": "-", "client_email": "a@b.example"}
            ),
            {"text": "STRING", "timestamp": "TIMESTAMP", "bigint": "INT64"},
            catalog="p",
        ),
        Dialect(
            "clickhouse",
            lambda: dlt.destinations.clickhouse(
                credentials={
                    "host": "nowhere.example",
                    "database": "np6_events",
                    "username": "u",
                    "password": "-",
                }
            ),
            {"text": "String", "timestamp": "DateTime64(6, 'UTC')", "bigint": "Int64"},
        ),
        Dialect(
            "databricks",
            lambda: dlt.destinations.databricks(
                credentials={
                    "server_hostname": "nowhere.example",
                    "http_path": "/",
                    "catalog": "c",
                    "access_token": "-",
                }
            ),
            {"text": "STRING", "timestamp": "TIMESTAMP", "bigint": "BIGINT"},
            catalog="c",
        ),
        Dialect(
            "redshift",
            lambda: dlt.destinations.redshift(
                credentials={
                    "host": "nowhere.example",
                    "database": "d",
                    "username": "u",
                    "password": "-",
                }
            ),
            {"text": "VARCHAR(MAX)", "timestamp": "TIMESTAMPTZ", "bigint": "BIGINT"},
            staged=True,
        ),
        Dialect(
            "snowflake",
            lambda: dlt.destinations.snowflake(
                credentials={
                    "host": "nowhere",
                    "database": "D",
                    "username": "u",
                    "password": "-",
                }
            ),
            {"text": "VARCHAR", "timestamp": "TIMESTAMP_LTZ(6)", "bigint": "DECIMAL(19, 0)"},
        ),
    )
}


def events_then() -> list[dict[str, Any]]:
    """The documented samples."""
    return list(documented_samples().values())


def events_later() -> list[dict[str, Any]]:
    """The samples with an execution that has lost a key and changed another, with another link's
    name on a hit, and with a new event."""
    samples = documented_samples()
    samples["execution"]["source"]["detail"]["execution"]["data"] = {"foo": 3}
    samples["hit.redirection"]["source"]["detail"]["link"]["label"] = "another name"
    samples["another"] = samples["execution"] | {"id": "another"}
    return list(samples.values())


def source_of(sandbox: Sandbox) -> Any:
    """All events of a sandbox, some from several resources, and the campaign they came through."""
    source = np6_source(
        sandbox.key,
        base_url=sandbox.url,
        start=LONG_AGO,
        end=BEHIND,
        window=400 * 86_400,
        action_ids=["000PE4"],
        campaign_ids=[SAMPLE_CAMPAIGN_ID],
    )
    return source.with_resources(
        "actions_events", "actions_reactivities", "action_reactivities", "campaign_events"
    )


def sandboxes() -> list[Sandbox]:
    """The account at the time of the first and of the second load."""
    return [
        Sandbox(account_from_events(events, campaigns={SAMPLE_CAMPAIGN_ID: ["000PE4"]}))
        for events in (events_then(), events_later())
    ]


@dataclass
class Package:
    """A normalised load package: parquet files by table."""

    files: dict[str, list[Path]] = field(default_factory=dict)

    def schema(self, table: str) -> pa.Schema:
        """The Arrow schema of a table's files."""
        (schema,) = {pq.read_schema(path) for path in self.files[table]}
        return schema


class Offline:
    """A pipeline whose loads end before the destination."""

    def __init__(self, dialect: Dialect, folder: Path) -> None:
        self.dialect = dialect
        self.pipeline = dlt.pipeline(
            f"offline_{dialect.name}",
            destination=dialect.destination(),
            staging=dlt.destinations.filesystem(str(folder / "bucket")) if dialect.staged else None,
            dataset_name="np6",
            pipelines_dir=str(folder),
        )
        self.packages: list[Package] = []

    def extract(self, source: Any) -> None:
        """Extracts and normalises; the package stays where the load would find it."""
        before = set(self.pipeline.list_normalized_load_packages())
        self.pipeline.extract(source)
        self.pipeline.normalize()
        (load_id,) = set(self.pipeline.list_normalized_load_packages()) - before
        package = Package()
        for job in self.pipeline.get_load_package_info(load_id).jobs["new_jobs"]:
            if job.file_path.endswith(".parquet"):
                name = job.job_file_info.table_name
                package.files.setdefault(name, []).append(Path(job.file_path))
        self.packages.append(package)

    @property
    def schema(self) -> Schema:
        """dlt's schema, as extracting and normalising have left it."""
        return self.pipeline.default_schema

    def created(self, table: str, staging: bool = False) -> list[str]:
        """The statements that make a table."""
        client: Any = self.pipeline.destination_client()
        columns = client._create_table_update(table, {})
        if not staging:
            return list(client._get_table_update_sql(table, columns, False))
        with client.with_staging_dataset():
            return list(client._get_table_update_sql(table, columns, False))

    def merged(self, table: str) -> list[str]:
        """The statements that bring a table's rows from staging to where they belong."""
        client: Any = self.pipeline.destination_client()
        (job,) = client.create_table_chain_completed_followup_jobs(
            [client.prepare_load_table(table)]
        )
        path = job.new_file_path()
        try:
            return Path(path).read_text(encoding="utf-8").splitlines()
        finally:
            os.unlink(path)

    def parsed(self, statement: str) -> exp.Expression:
        """A statement as sqlglot understands it; raises where the dialect does not have it."""
        if self.dialect.name == "redshift":
            statement = keys_behind_the_columns(statement)
        return sqlglot.parse_one(
            statement, read=self.dialect.name, error_level=sqlglot.ErrorLevel.RAISE
        )


def keys_behind_the_columns(statement: str) -> str:
    """Redshift's two places for a single key: dlt names it at the column, sqlglot 30 reads it
    behind the columns."""
    key = re.compile(r'^("\w+") (.*?) (DISTKEY|SORTKEY) ', re.MULTILINE)
    behind = " ".join(f"{found[3]}({found[1]})" for found in key.finditer(statement))
    return key.sub(r"\1 \2 ", statement) + (f" {behind}" if behind else "")
