"""What the scripts' command lines share: options, the pipeline they name, what they print."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import dlt
from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.extract import DltSource
from rich.console import Console
from rich.table import Table

from .. import np6_source
from ..endpoints import ENDPOINTS
from ..errors import SettingError
from ..lake import filesystem
from ..loading import LoadReport
from ..windows import iso

FAILED = 1
UNUSABLE = 2
"""Exit status for options that cannot be used, as argparse has it."""
TRY_AGAIN_LATER = 75
"""Exit status of ``sysexits.h`` for "try again later"."""

ID_OPTIONS = (
    "action_ids",
    "campaign_ids",
    "target_ids",
    "target_unicities",
    "target_hashes",
    "notification_ids",
    "display_content_ids",
)

MISSING_KEY = """\
No NP6 API key. Give it in one of three ways:
  - in the environment:  export SOURCES__NP6__API_KEY=...
  - in .dlt/secrets.toml (copy .dlt/example.secrets.toml):  [sources.np6] api_key = "..."
  - in ~/.dlt/secrets.toml, the same, for every project of yours
Without an account: `make demo` runs everything against a local NP6 API and needs none."""


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which pipeline, destination and dataset."""
    group = parser.add_argument_group("where to")
    group.add_argument(
        "--pipeline", default="np6_to_duckdb", help="name of the dlt pipeline (%(default)s)"
    )
    group.add_argument(
        "--destination",
        default="duckdb",
        help="any dlt destination, configured as dlt's documentation says (%(default)s)",
    )
    group.add_argument(
        "--duckdb-file",
        type=Path,
        metavar="FILE",
        help="the DuckDB file; default: PIPELINE.duckdb in this folder",
    )
    group.add_argument("--dataset", default="np6", help="dataset or schema (%(default)s)")
    group.add_argument(
        "--pipelines-dir",
        metavar="FOLDER",
        help="where dlt keeps its working files; default: ~/.dlt/pipelines",
    )


def add_id_options(parser: argparse.ArgumentParser) -> None:
    """An option for each kind of id."""
    group = parser.add_argument_group("ids (each selects the resources that load by it)")
    for name in ID_OPTIONS:
        option = "--" + name.replace("_", "-")
        group.add_argument(option, nargs="+", default=None, metavar="ID", dest=name)


def open_pipeline(options: argparse.Namespace, progress: Any = None) -> dlt.Pipeline:
    """The pipeline that ``add_pipeline_options`` describe.

    Raises:
        SettingError: The DuckDB file and the dataset have the same name.
    """
    destination: Any = options.destination
    catalog = options.duckdb_file.stem if options.duckdb_file else options.pipeline
    if destination == "duckdb" and catalog == options.dataset:
        # A DuckDB file is a catalog of its name, and dlt 1.31 leaves out the catalog.
        raise SettingError(
            f"The DuckDB file {catalog}.duckdb and the dataset {options.dataset!r} need different"
            " names: DuckDB cannot tell them apart. Give --dataset or --duckdb-file."
        )
    if destination == "filesystem":
        # The same, configured in the same way, but with every event once in Delta and Iceberg.
        destination = filesystem()
    if options.duckdb_file is not None:
        destination = dlt.destinations.duckdb(str(options.duckdb_file))
    return dlt.pipeline(
        options.pipeline,
        destination=destination,
        dataset_name=options.dataset,
        pipelines_dir=options.pipelines_dir,
        progress=progress,
    )


def given_ids(options: argparse.Namespace) -> dict[str, list[str]]:
    """The ids of ``add_id_options`` that were given."""
    return {name: ids for name in ID_OPTIONS if (ids := getattr(options, name)) is not None}


def make_source(resources: Iterable[str] | None = None, **arguments: Any) -> DltSource:
    """The source, with just these resources where any are named.

    Raises:
        SystemExit: There is no key; says what to do.
        SettingError: A parameter cannot be used, or there is no such resource.
    """
    try:
        source = np6_source(**arguments)
    except ConfigFieldMissingException as error:
        if "api_key" not in error.fields:
            raise
        raise SystemExit(MISSING_KEY) from None
    if resources is None:
        return source
    unknown = sorted(set(resources) - set(source.resources))
    if unknown:
        known = "\n  ".join(endpoint.name for endpoint in ENDPOINTS)
        raise SettingError(f"No resource {', '.join(unknown)}. There are:\n  {known}")
    return source.with_resources(*resources)


@contextmanager
def ending_between_windows() -> Iterator[Callable[[], int]]:
    """Turns the first SIGTERM or Ctrl-C into a wish to stop; a second one ends at once.

    Yields:
        A function that gives the number of the signal received, 0 for none.
    """
    received: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[number])
        print("Stopping behind the current window; what is complete is loaded.", file=sys.stderr)

    previous: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    for number in previous:
        signal.signal(number, ask)
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def configure_logging() -> None:
    """Warnings and errors go to standard error, one line each."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")


def print_report(report: LoadReport, pipeline: dlt.Pipeline) -> None:
    """Prints what an invocation did."""
    console = Console(soft_wrap=True)
    rows = Table("table", "rows written", title="Loaded", title_justify="left")
    rows.columns[1].justify = "right"
    for table, count in sorted(report.rows.items()):
        rows.add_row(table, f"{count:,}")
    console.print(rows)
    resources = Table("resource", "windows", "complete up to", title_justify="left")
    resources.columns[1].justify = "right"
    for resource, count in sorted(report.windows.items()):
        cursor = report.cursors.get(resource)
        resources.add_row(resource, f"{count:,}", "" if cursor is None else iso(cursor))
    console.print(resources)
    console.print(
        f"{report.packages} load packages into dataset {pipeline.dataset_name} of"
        f" {pipeline.destination.destination_name}, {report.seconds:.1f} seconds"
    )


def exit_status(report: LoadReport) -> int:
    """0 where everything asked for is loaded; prints the failures to standard error."""
    for failure in report.failures:
        print(f"{failure['kind']}: {failure['message']}", file=sys.stderr)
    if any(failure["resume_at"] for failure in report.failures):
        return TRY_AGAIN_LATER
    return FAILED if report.failures else 0
