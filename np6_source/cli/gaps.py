"""``np6-source gaps``: the spans of time between two dates that no load covers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import dlt
from dlt.destinations.sql_client import SqlClientBase
from rich.table import Table

from ..endpoints import ENDPOINTS
from ..errors import SettingError
from ..extract.chosen_actions import ChosenActions
from ..extract.policy import check_policy, label_of, other_labels
from ..ledger import Gap, coverage, missing, of_scope_key, recorded_policies, scope_key
from ..loading import LoadReport, load
from ..robots import is_of_marks
from ..settings import moment_ms
from ..windows import Window, iso, merged
from .configuration import check_names, configured_privacy, label_key
from .destination import duckdb_file, looking, open_pipeline
from .for_analysts import ForAnalysts, for_analysts
from .nearest import did_you_mean
from .options import (
    DATES,
    add_id_options,
    add_output_options,
    add_pipeline_options,
    check_resources,
    configure_logging,
    given_ids,
    make_source,
)
from .outcome import DONE, FOUND, NothingLoaded, Output
from .report import loaded, print_failures, print_report, rows_now, status_of

SUMMARY = "list the spans of time between two dates that no load covers"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "List what load_windows does not cover between two dates, per resource and id. Loads and"
        " changes nothing, but with --fill."
    )
    parser.epilog = (
        f"{DATES}\nExit status 0: nothing is missing. {FOUND}: something is. 4: nothing was ever"
        " loaded here."
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--start", required=True, metavar="DATE", help="first moment that should be covered"
    )
    what.add_argument(
        "--end", required=True, metavar="DATE", help="moment up to which it should be, exclusive"
    )
    what.add_argument(
        "--resources",
        nargs="+",
        metavar="NAME",
        help="just these; one that was never loaded is missing whole."
        " Default: every resource in load_windows, but for what np6-source robots has asked",
    )
    what.add_argument("--fill", action="store_true", help="load just what is missing")
    what.add_argument("--base-url", metavar="URL", help="root of the API; default: NP6's own")
    add_id_options(parser)
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    asked = _asked_span(options)
    if options.resources:
        check_resources(options.resources)
    with looking(options) as pipeline:
        found = find_gaps(pipeline, asked, options)
    console = Output(quiet=options.quiet)
    if not found:
        console.print("Nothing is missing.")
        return DONE
    table = Table("resource", "id", "missing from", "to (exclusive)")
    for column in table.columns[:2]:
        column.overflow = "fold"  # a name that is cut names nothing
    for gap in found:
        table.add_row(gap.resource, gap.scope_id, iso(gap.window.start), iso(gap.window.end))
    console.print(table)
    return fill_all(found, options) if options.fill else FOUND


def _asked_span(options: argparse.Namespace) -> Window:
    start, end = moment_ms(options.start, "--start"), moment_ms(options.end, "--end")
    if start >= end:
        raise SettingError(f"--start {options.start} must be before --end {options.end}")
    return Window(start, end)


def find_gaps(pipeline: dlt.Pipeline, asked: Window, options: argparse.Namespace) -> list[Gap]:
    """What the options ask for and the ledger does not cover.

    Raises:
        NothingLoaded: The ledger is not there or empty.
    """
    covered = _under_present_labels(coverage_of(pipeline), options)
    _check_policy(pipeline, options)
    if options.resources:
        covered = {key: spans for key, spans in covered.items() if key[0] in options.resources}
        for key in _asked_scopes(options):
            covered.setdefault(key, [])
    else:
        covered = {key: spans for key, spans in covered.items() if not is_of_marks(pipeline, *key)}
    return missing(asked, covered)


def coverage_of(pipeline: dlt.Pipeline) -> dict[tuple[str, str], list[Window]]:
    """The ledger's coverage; makes no file by looking.

    Raises:
        NothingLoaded: The database, the dataset or the ledger is not there, or the ledger is empty.
    """
    file = duckdb_file(pipeline)
    where = f"dataset {pipeline.dataset_name} of {file or pipeline.destination.destination_name}"
    if file is not None and not file.exists():
        raise NothingLoaded(f"Nothing was ever loaded here: there is no file {file}.")
    with pipeline.sql_client() as client:
        if not client.has_dataset():
            near = did_you_mean(str(pipeline.dataset_name), _datasets(client))
            raise NothingLoaded(f"Nothing was ever loaded here: there is no {where}{near}.")
    pipeline.sync_destination()
    covered = coverage(pipeline)
    if not covered:
        raise NothingLoaded(f"Nothing was ever loaded here: no load into {where} was completed.")
    return covered


def _datasets(client: SqlClientBase[Any]) -> list[str]:
    rows = client.execute_sql("SELECT schema_name FROM information_schema.schemata") or []
    return [str(name) for (name,) in rows]


def _check_policy(pipeline: dlt.Pipeline, options: argparse.Namespace) -> None:
    """Refuses to look for, or load, what the dataset has under another policy.

    Raises:
        SettingError: Contacts would not be found, or what is filled would be stored otherwise.
    """
    if options.fill or any(name.startswith("target_") for name in given_ids(options)):
        check_policy(recorded_policies(pipeline), configured_privacy().recorded, "np6")


def _under_present_labels(
    covered: dict[tuple[str, str], list[Window]], options: argparse.Namespace
) -> dict[tuple[str, str], list[Window]]:
    """The coverage, in which contacts that are given have the labels that a load gives them now."""
    ids, privacy = given_ids(options), configured_privacy()
    present = {
        (endpoint.name, former): label_of(one, endpoint, privacy.label_key)
        for endpoint in ENDPOINTS
        if endpoint.ids_are_of_contacts
        for one in ids.get(str(endpoint.ids), ())
        for former in other_labels(one, endpoint, privacy)
    }
    found: dict[tuple[str, str], list[Window]] = {}
    for (resource, key), windows in covered.items():
        label, classification = of_scope_key(key)
        name = scope_key(present.get((resource, label), label), classification)
        found[resource, name] = merged([*found.get((resource, name), ()), *windows])
    return found


def _asked_scopes(options: argparse.Namespace) -> Iterable[tuple[str, str]]:
    ids, key = given_ids(options), label_key()
    for endpoint in ENDPOINTS:
        if endpoint.name not in options.resources:
            continue
        if endpoint.ids is None:
            yield endpoint.name, ""
        else:
            given = ids.get(str(endpoint.ids), ())
            if ChosenActions.parse(given):
                continue  # The ledger has those that were loaded.
            for scope_id in given:
                yield endpoint.name, label_of(scope_id, endpoint, key)


def fill_all(found: Iterable[Gap], options: argparse.Namespace) -> int:
    """Loads every gap; returns the exit status of the first that is not whole."""
    analysts = for_analysts(options)
    pipeline = open_pipeline(options)
    analysts.check(pipeline)
    status = DONE
    for gap in found:
        before = rows_now(pipeline)
        report = fill(pipeline, gap, options, analysts)
        if not options.quiet:
            print_report(report, loaded(report, pipeline, before))
        print_failures(report)
        status = status or status_of(report)
    analysts.make_copy(pipeline)
    return status


def fill(
    pipeline: dlt.Pipeline, gap: Gap, options: argparse.Namespace, analysts: ForAnalysts
) -> LoadReport:
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
    label, classification = of_scope_key(gap.scope_id)
    if isinstance(endpoint.ids, str):
        candidates = [label, *given_ids(options).get(endpoint.ids, ())]
        key = label_key()
        by_label = {
            known: one
            for one in candidates
            for known in (label_of(one, endpoint, None), label_of(one, endpoint, key))
        }
        if label not in by_label:
            option = "--" + endpoint.ids.replace("_", "-")
            raise SettingError(f"{gap.resource}: give {option}; {label} is only a digest")
        ids[endpoint.ids] = [by_label[label]]
    arguments = {"base_url": options.base_url} if options.base_url else {}
    if endpoint.takes_classification:
        # Whatever is configured: what is missing is of this class.
        arguments["classification"] = classification
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
        views=analysts.views,
        materialize=analysts.materialize,
    )
