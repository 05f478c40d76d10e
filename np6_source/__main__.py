"""``python -m np6_source``: what of an account has been loaded, and what is missing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

import dlt
from dlt.pipeline.exceptions import PipelineStepFailed
from rich.console import Console
from rich.table import Table

from .cli.options import (
    FAILED,
    TRY_AGAIN_LATER,
    UNUSABLE,
    add_id_options,
    add_pipeline_options,
    configure_logging,
    exit_status,
    given_ids,
    make_source,
    open_pipeline,
    print_report,
)
from .endpoints import ENDPOINTS, scope_label
from .errors import Np6Error, SettingError
from .ledger import Gap, coverage, missing
from .loading import AlreadyRunning, LoadReport, load
from .settings import moment_ms
from .windows import Window, iso

FOUND = 3
"""Exit status of ``gaps`` where something is missing."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m np6_source", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    gaps = commands.add_parser(
        "gaps",
        help="list the spans of time between two dates that no load covers",
        description="List what load_windows does not cover between two dates, per resource and"
        f" id. Exit status 0: nothing is missing; {FOUND}: something is.",
    )
    gaps.add_argument("--start", required=True, help="first moment that should be covered")
    gaps.add_argument("--end", required=True, help="moment up to which it should be, exclusive")
    gaps.add_argument(
        "--resources",
        nargs="+",
        metavar="NAME",
        help="just these; one that was never loaded is missing whole."
        " Default: every resource in load_windows",
    )
    gaps.add_argument("--fill", action="store_true", help="load just what is missing")
    gaps.add_argument("--base-url", help="root of the API; default: NP6's production server")
    add_id_options(gaps)
    add_pipeline_options(gaps)
    return parser.parse_args(arguments)


def find_gaps(pipeline: dlt.Pipeline, options: argparse.Namespace) -> list[Gap]:
    """What the options ask for and the ledger does not cover."""
    asked = Window(moment_ms(options.start, "--start"), moment_ms(options.end, "--end"))
    covered = coverage(pipeline)
    if options.resources:
        covered = {key: spans for key, spans in covered.items() if key[0] in options.resources}
        for key in _asked_scopes(options):
            covered.setdefault(key, [])
    return missing(asked, covered)


def _asked_scopes(options: argparse.Namespace) -> Iterable[tuple[str, str]]:
    ids = given_ids(options)
    for endpoint in ENDPOINTS:
        if endpoint.name not in options.resources:
            continue
        if endpoint.ids is None:
            yield endpoint.name, ""
        else:
            for scope_id in ids.get(str(endpoint.ids), ()):
                yield endpoint.name, scope_label(scope_id, endpoint.ids_are_personal)


def fill(pipeline: dlt.Pipeline, gap: Gap, options: argparse.Namespace) -> LoadReport:
    """Loads one gap as a backfill.

    Raises:
        SettingError: The ledger has only a digest of the id, and the id was not given.
    """
    endpoint = next((e for e in ENDPOINTS if e.name == gap.resource), None)
    if endpoint is None:
        raise SettingError(
            f"{gap.resource} is not in the catalogue: fill it with np6_source(endpoints=…, start=…,"
            " end=…) where its Endpoint is known"
        )
    ids: dict[str, list[str]] = {}
    if isinstance(endpoint.ids, str):
        candidates = [*given_ids(options).get(endpoint.ids, ()), gap.scope_id]
        by_label = {scope_label(i, endpoint.ids_are_personal): i for i in candidates}
        if gap.scope_id not in by_label:
            option = "--" + endpoint.ids.replace("_", "-")
            raise SettingError(f"{gap.resource}: give {option}; {gap.scope_id} is only a digest")
        ids[endpoint.ids] = [by_label[gap.scope_id]]
    arguments = {"base_url": options.base_url} if options.base_url else {}
    return load(
        pipeline,
        lambda: make_source(
            [gap.resource],
            start=gap.window.start,
            end=gap.window.end,
            on_error="keep",
            **ids,
            **arguments,
        ),
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; gives the exit status."""
    options = parse(arguments)
    configure_logging()
    console = Console(soft_wrap=True)
    try:
        pipeline = open_pipeline(options)
        pipeline.sync_destination()
        found = find_gaps(pipeline, options)
        if not found:
            console.print("Nothing is missing.")
            return 0
        table = Table("resource", "id", "missing from", "to (exclusive)")
        for gap in found:
            table.add_row(gap.resource, gap.scope_id, iso(gap.window.start), iso(gap.window.end))
        console.print(table)
        if not options.fill:
            return FOUND
        status = 0
        for gap in found:
            report = fill(pipeline, gap, options)
            print_report(report, pipeline)
            status = status or exit_status(report)
        return status
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        return TRY_AGAIN_LATER
    except (Np6Error, PipelineStepFailed) as error:
        print(error, file=sys.stderr)
        return UNUSABLE if isinstance(error, SettingError) else FAILED


if __name__ == "__main__":
    sys.exit(main())
