"""The ways to load the same events that are measured side by side."""

from __future__ import annotations

from dataclasses import dataclass

OURS = "np6_source"
FLOOR = "duckdb_typed"
BEFORE = "commit_4c84280"


SMALLER = (5_000, 20_000)
"""Events with which a way is measured that takes minutes for all."""


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
        libduckdb: npm package with DuckDB as a library, for a way that looks for it by ADBC's
            driver manifest.
        commit: Commit of this project whose package is measured in place of the one that is there.
        scaled_from: Numbers of events from which the figures are drawn out in a straight line,
            for a way that would take very long. None: it loads as many as the others.
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
    libduckdb: str | None = None
    commit: str | None = None
    scaled_from: tuple[int, int] | None = None
    table: str = "np6.events"
    id_expression: str = "id"


WAYS: tuple[Way, ...] = (
    Way(
        OURS,
        "**np6_source**",
        "this_connector.py",
        "events and hits, typed; ledger of windows",
        arguments=("own",),
        shown_packages=("dlt", "duckdb", "pyarrow"),
    ),
    Way(
        "np6_source_plain",
        '**np6_source**, `destination="duckdb"`',
        "this_connector.py",
        "events and hits, typed; ledger of windows",
        arguments=("dlt",),
        shown_packages=("dlt", "duckdb", "pyarrow"),
    ),
    Way(
        BEFORE,
        "np6_source at commit 4c84280",
        "this_connector.py",
        "events and hits, typed; ledger of windows",
        arguments=("dlt",),
        shown_packages=("dlt", "duckdb", "pyarrow"),
        commit="4c84280",
    ),
    Way(
        "dlt_resource",
        "dlt resource over `response.json()`, defaults",
        "dlt_resource.py",
        "one flat table",
        shown_packages=("dlt", "duckdb"),
        scaled_from=SMALLER,
    ),
    Way(
        "rest_api",
        "dlt `rest_api_source`, defaults",
        "dlt_rest_api.py",
        "one flat table",
        arguments=("defaults",),
        scaled_from=SMALLER,
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
        "rest_api_tuned",
        "dlt `rest_api_source`, tuned (paginator and selector named, no gzip, parquet)",
        "dlt_rest_api.py",
        "one flat table",
        arguments=("tuned",),
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
        "nested objects as JSON",
        # From 1.1 on the package fetches its program from elsewhere when it is first called.
        packages=("ingestr==1.0.78", "duckdb==1.5.6"),
        shown_packages=("ingestr", "duckdb"),
        libduckdb="@duckdb/node-bindings-linux-x64@1.5.6-r.1",
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
        "duckdb",
        "download, DuckDB `read_json`, merge",
        "duckdb_alone.py",
        "one table with a nested column",
    ),
    Way(
        FLOOR,
        "floor: download, DuckDB with types given, anti-join",
        "duckdb_typed.py",
        "events and hits, typed",
    ),
)

QUICK = (OURS, "np6_source_plain", BEFORE, FLOOR)
"""Ways that need nothing but the project's own environment and history, and say most."""
