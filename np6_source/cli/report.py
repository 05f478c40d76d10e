"""What a load says when it ends."""

from __future__ import annotations

import sys

import dlt
from rich.table import Table

from ..loading import LoadReport
from ..windows import iso
from .outcome import DONE, FAILED, TRY_AGAIN_LATER, Output


def print_report(report: LoadReport, pipeline: dlt.Pipeline) -> None:
    """Prints what an invocation did."""
    console = Output()
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


def print_failures(report: LoadReport) -> None:
    """Prints what could not be loaded, to standard error."""
    for failure in report.failures:
        print(f"{failure['kind']}: {failure['message']}", file=sys.stderr)


def status_of(report: LoadReport) -> int:
    """The exit status: 0 where everything asked for is loaded."""
    if any(failure["resume_at"] for failure in report.failures):
        return TRY_AGAIN_LATER
    return FAILED if report.failures else DONE
