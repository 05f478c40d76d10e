"""The ways to load the same events that are measured side by side."""

from __future__ import annotations

from dataclasses import dataclass

OURS = "np6_source"
FLOOR = "duckdb"


@dataclass(frozen=True)
class Way:
    """One way from the API to a DuckDB table.

    Attributes:
        name: What ``--ways`` calls it.
        title: What the table calls it.
        script: File below ``ways/``. It is called with the API's URL, the key, the window's start
            and end, and the DuckDB file.
        lands: What stands in the tables afterwards.
        arguments: Further arguments of the script.
        packages: What pip installs into the way's own environment. None: the way runs in the
            environment of the project, which has the same packages for all of them.
        shown_packages: Packages whose versions are reported.
        prepare: Command of the environment to run once after installing.
        table: Where the events are.
        id_expression: Their id.
    """

    name: str
    title: str
    script: str
    lands: str
    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] | None = None
    shown_packages: tuple[str, ...] = ("duckdb",)
    prepare: tuple[str, ...] = ()
    table: str = "np6.events"
    id_expression: str = "id"


WAYS: tuple[Way, ...] = (
    Way(
        OURS,
        "**np6_source**",
        "this_connector.py",
        "events and hits, typed; ledger of windows",
        shown_packages=("dlt", "duckdb", "pyarrow"),
    ),
    Way(
        "dlt_resource",
        "dlt resource over `response.json()`, defaults",
        "dlt_resource.py",
        "one flat table",
        shown_packages=("dlt", "duckdb"),
    ),
    Way(
        "rest_api",
        "dlt `rest_api_source`, defaults",
        "dlt_rest_api.py",
        "one flat table",
        shown_packages=("dlt", "duckdb"),
    ),
    Way(
        "rest_api_parquet",
        "dlt `rest_api_source`, parquet",
        "dlt_rest_api.py",
        "one flat table",
        arguments=("parquet",),
        shown_packages=("dlt", "duckdb"),
    ),
    Way(
        "singer",
        "Singer: tap on Meltano's SDK, target-duckdb",
        "singer_meltano.py",
        "nested objects as JSON",
        packages=("singer-sdk==0.54.9", "target-duckdb==0.8.0", "duckdb==2.0.0"),
        shown_packages=("singer-sdk", "target-duckdb", "duckdb"),
    ),
    Way(
        "pyairbyte",
        "PyAirbyte, declarative manifest",
        "airbyte_manifest.py",
        "nested objects as JSON",
        packages=("airbyte==0.71.3",),
        shown_packages=("airbyte", "airbyte-cdk", "duckdb"),
    ),
    Way(
        "ingestr",
        "ingestr, HTTP source",
        "ingestr_http.py",
        "one flat table",
        # From 0.15 on the package fetches a program from elsewhere when it is first called.
        packages=("ingestr==0.14.155",),
        shown_packages=("ingestr", "dlt", "duckdb"),
    ),
    Way(
        "ingestr_1",
        "ingestr 1 (Go), HTTP source",
        "ingestr_http.py",
        "as its version 1 decides",
        packages=("ingestr==1.1.76", "duckdb==2.0.0"),
        shown_packages=("ingestr", "duckdb"),
        prepare=("ingestr", "--version"),
    ),
    Way(
        "pandas",
        "requests and pandas `json_normalize`",
        "requests_pandas.py",
        "one flat table",
        packages=("requests==2.34.2", "pandas==3.1.1", "pyarrow==26.0.1", "duckdb==2.0.0"),
        shown_packages=("pandas", "duckdb"),
    ),
    Way(
        FLOOR,
        "floor: download, DuckDB `read_json`, merge",
        "duckdb_alone.py",
        "one table with a nested column",
        shown_packages=("duckdb",),
    ),
)

QUICK = (OURS, "dlt_resource", FLOOR)
"""Ways that need nothing but the project's own environment, and say most."""
