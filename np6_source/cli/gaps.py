"""``np6-source gaps``: the spans of time between two dates that no load covers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import dlt
from dlt.extract import DltSource
from rich.table import Table

from ..endpoints import ENDPOINTS
from ..errors import SettingError
from ..extract.chosen_actions import ChosenActions
from ..extract.policy import check_policy, label_of, other_labels
from ..extract.selection import account_of, read_for
from ..ledger import Gap, kept_since, missing, of_scope_key, recorded_policies, scope_key
from ..loading import LoadReport, load
from ..parameters import moment_ms
from ..robots import is_of_marks
from ..windows import SECOND, Window, iso, merged
from . import progress
from .configuration import check_names, configured_cutoff, configured_privacy, label_key
from .coverage import coverage_of
from .destination import check_speaks_sql, check_there, looking, open_pipeline
from .document import account_in_state, print_document
from .for_analysts import for_analysts
from .options import (
    CHECKPOINT,
    DATES,
    add_address_option,
    add_id_options,
    add_names_option,
    add_output_options,
    add_pipeline_options,
    check_resources,
    configure_logging,
    ending_between_windows,
    given_ids,
    make_source,
)
from .outcome import DONE, FOUND, SIGNALLED, Output
from .report import (
    Loaded,
    added,
    events_of,
    loaded,
    metrics_of,
    print_failures,
    problems,
    result_of,
    rows_now,
    status_of,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "List what load_windows does not cover between two dates, per resource and id. Loads and"
        " changes nothing, but with --fill."
    )
    parser.epilog = (
        f"{DATES}\n\nExit status 0: nothing is missing. {FOUND}: something is. 4: nothing was ever"
        " loaded here."
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--start", required=True, metavar="DATE", help="first moment that should be covered"
    )
    what.add_argument(
        "--end", required=True, metavar="DATE", help="moment up to which it should be, exclusive"
    )
    add_names_option(
        what,
        "--resources",
        "just these; one that was never loaded is missing whole."
        " Default: every resource in load_windows, but for what np6-source robots has asked",
    )
    what.add_argument("--fill", action="store_true", help="load just what is missing")
    add_address_option(what)
    add_id_options(
        parser,
        what="Ids to look at beside those in load_windows, and those of which it has digests only.",
    )
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    asked = _asked_span(options)
    if options.resources:
        check_resources(options.resources)
    ids = given_ids(options)
    with looking(options) as pipeline:
        check_speaks_sql(pipeline, "gaps")
        check_there(pipeline)
        pipeline.sync_destination()
        kept = _kept(asked, kept_since(pipeline, configured_cutoff()))
        found = [] if kept is None else find_gaps(pipeline, kept, options.resources, ids)
        if options.fill or any(name.startswith("target_") for name in ids):
            _check_policy(pipeline)
        account = account_in_state(pipeline)
    removed = None if kept == asked else iso(kept.start if kept else asked.end)
    if removed is not None and not options.json:
        Output(quiet=options.quiet).print(
            f"Before {removed}: removed by retention, neither missing nor there."
        )
    if found and not options.json:
        _print_gaps(found, options)
    if found and options.fill:
        return _fill(found, ids, options)
    if options.json:
        status = FOUND if found else DONE
        result: dict[str, Any] = {"missing": _as_json(found), "load": None}
        if removed is not None:
            result["removed_before"] = removed
        print_document("gaps", status, options, result, account=account)
    elif not found:
        Output(quiet=options.quiet).print("Nothing is missing.")
    return FOUND if found else DONE


def _print_gaps(found: Sequence[Gap], options: argparse.Namespace) -> None:
    table = Table("resource", "id", "missing from", "to (exclusive)")
    for column in table.columns[:2]:
        column.overflow = "fold"  # a name that is cut names nothing
    for gap in found:
        table.add_row(gap.resource, gap.scope_id, iso(gap.window.start), iso(gap.window.end))
    Output(quiet=options.quiet).print(table)


def _as_json(found: Iterable[Gap]) -> list[dict[str, str | None]]:
    return [
        {
            "resource": gap.resource,
            "id": gap.scope_id or None,
            "start": iso(gap.window.start),
            "end": iso(gap.window.end),
        }
        for gap in found
    ]


def _kept(asked: Window, cutoff: int | None) -> Window | None:
    """The part of a span that retention keeps; None: none of it."""
    if cutoff is None or cutoff <= asked.start:
        return asked
    return Window(cutoff, asked.end) if cutoff < asked.end else None


def _asked_span(options: argparse.Namespace) -> Window:
    start, end = moment_ms(options.start, "--start"), moment_ms(options.end, "--end")
    if start >= end:
        raise SettingError(f"--start {options.start} must be before --end {options.end}")
    if options.fill and end > time.time() * SECOND:
        raise SettingError(
            f"--end {options.end} lies in the future, and --fill loads what has passed: give an"
            " earlier one"
        )
    return Window(start, end)


def find_gaps(
    pipeline: dlt.Pipeline,
    asked: Window,
    resources: Sequence[str] | None,
    ids: Mapping[str, Sequence[str]],
) -> list[Gap]:
    """What is requested and the ledger does not cover.

    Args:
        pipeline: Where the ledger is.
        asked: The span that should be covered.
        resources: Look at these; None: at all that the ledger has.
        ids: Ids of ``resources`` that the ledger may not have, by parameter.

    Raises:
        NothingLoaded: The ledger is not there or empty.
    """
    covered = _under_present_labels(coverage_of(pipeline), ids)
    if resources:
        covered = {key: spans for key, spans in covered.items() if key[0] in resources}
        for key in _asked_scopes(resources, ids):
            covered.setdefault(key, [])
    else:
        covered = {key: spans for key, spans in covered.items() if not is_of_marks(pipeline, *key)}
    return missing(asked, covered)


def _check_policy(pipeline: dlt.Pipeline) -> None:
    """Refuses to look for, or load, what the dataset has under another policy.

    Raises:
        SettingError: Contacts would not be found, or what is filled would be stored otherwise.
    """
    check_policy(recorded_policies(pipeline), configured_privacy().recorded, "np6")


def _under_present_labels(
    covered: Mapping[tuple[str, str], Sequence[Window]], ids: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], list[Window]]:
    """The coverage, in which contacts that are given have the labels that a load gives them now."""
    privacy = configured_privacy()
    present = {
        (endpoint.name, former): label_of(one, endpoint, privacy.key)
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


def _asked_scopes(
    resources: Sequence[str], ids: Mapping[str, Sequence[str]]
) -> Iterable[tuple[str, str]]:
    key = label_key()
    for endpoint in ENDPOINTS:
        if endpoint.name not in resources:
            continue
        if endpoint.ids is None:
            yield endpoint.name, ""
        else:
            given = ids.get(str(endpoint.ids), ())
            if ChosenActions.parse(given):
                continue  # The ledger has those that were loaded.
            for scope_id in given:
                yield endpoint.name, label_of(scope_id, endpoint, key)


def _fill(
    found: Sequence[Gap], ids: Mapping[str, Sequence[str]], options: argparse.Namespace
) -> int:
    """Loads every gap, each as a backfill, and says once what came of it.

    Raises:
        SettingError: One cannot be loaded with these options; nothing is.
    """
    # Refuses what cannot be used before anything starts.
    wanted = [_arguments_of(gap, ids, options.base_url) for gap in found]
    analysts = for_analysts(options)
    pipeline = open_pipeline(options)
    analysts.check(pipeline)
    before = rows_now(pipeline)
    total = LoadReport()
    sources: list[DltSource] = []
    with ExitStack() as stack:
        if not (options.quiet or options.json):
            # What was loaded before a failure that ends the command is said all the same.
            stack.callback(lambda: _print_filled(total, found, loaded(total, pipeline, before)))
            stack.enter_context(progress.shown(lambda: metrics_of(sources[-1:])))
        signal_received = stack.enter_context(ending_between_windows())
        for gap, arguments in zip(found, wanted, strict=True):

            def next_source(
                gap: Gap = gap, arguments: dict[str, Any] = arguments, **smaller: Any
            ) -> DltSource:
                wanted = arguments | {"stop_when": signal_received} | smaller
                sources.append(read_for(make_source([gap.resource], **wanted), "fill"))
                return sources[-1]

            done = load(
                pipeline,
                next_source,
                signal_received,
                views=analysts.views,
                materialize=analysts.materialize,
                message_key=analysts.message_key,
            )
            total = added(total, done)
            if total.stopped:
                break
        analysts.make_copy(pipeline)
    status = SIGNALLED + signal_received() if total.stopped else status_of(total)
    if options.json:
        result = result_of(total, loaded(total, pipeline, before))
        print_document(
            "gaps",
            status,
            pipeline,
            {"missing": _as_json(found), "load": result},
            problems(total),
            sum(total.windows.values()),
            sum(one.get("bytes", 0) for one in metrics_of(sources).values()),
            account_of(sources[-1]) if sources else None,
        )
    else:
        print_failures(total)
    return status


def _print_filled(total: LoadReport, found: Sequence[Gap], done: Loaded) -> None:
    gaps = "1 gap" if len(found) == 1 else f"{len(found):,} gaps"
    windows = sum(total.windows.values())
    if not windows:
        Output().print(f"Nothing of {gaps} was loaded.")
    elif total.failures or total.stopped:
        Output().print(f"Part of {gaps} is loaded: {events_of(done)}.")
    else:
        Output().print(f"{gaps} loaded: {events_of(done)}.")


def _arguments_of(
    gap: Gap, ids: Mapping[str, Sequence[str]], base_url: str | None
) -> dict[str, Any]:
    """What ``np6_source`` is called with to load a gap.

    Args:
        gap: The gap.
        ids: The ids that were given, by parameter.
        base_url: Root of the API; None: as configured.

    Raises:
        SettingError: The ledger has only a digest of the id, and the id was not given; or the
            resource is not in the catalogue.
    """
    endpoint = next((e for e in ENDPOINTS if e.name == gap.resource), None)
    if endpoint is None:
        raise SettingError(
            f"{gap.resource} is not in the catalogue: fill it with np6_source(endpoints=…, start=…,"
            " end=…) where its Endpoint is known"
        )
    arguments: dict[str, Any] = {
        "start": gap.window.start,
        "end": gap.window.end,
        "on_error": "keep",
        "largest_load": CHECKPOINT,
    }
    label, classification = of_scope_key(gap.scope_id)
    if isinstance(endpoint.ids, str):
        candidates = [label, *ids.get(endpoint.ids, ())]
        key = label_key()
        by_label = {
            known: one
            for one in candidates
            for known in (label_of(one, endpoint, None), label_of(one, endpoint, key))
        }
        if label not in by_label:
            option = "--" + endpoint.ids.replace("_", "-")
            raise SettingError(f"{gap.resource}: give {option}; {label} is only a digest")
        arguments[endpoint.ids] = [by_label[label]]
    if base_url:
        arguments["base_url"] = base_url
    if endpoint.takes_classification:
        # Whatever is configured: what is missing is of this class.
        arguments["classification"] = classification
    return arguments
