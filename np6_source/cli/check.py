"""``np6-source check``: whether a load would succeed, found out without loading anything."""

from __future__ import annotations

import argparse
import shlex
import sys
import textwrap
from contextlib import closing
from typing import Any

from dlt.extract import DltSource

from ..endpoints import ID_ARGUMENTS
from ..extract.selection import selected_operations, session_of
from ..parameters import at_least_one
from .budget import Budget
from .checks.api import answers, check_api, clock_difference_s, rate_limit_of
from .checks.configured import check_configuration, check_key, check_versions
from .checks.findings import Finding, Report, ResourceCheck, Step, skipped
from .checks.pending import check_packages, check_privacy, check_progress
from .checks.resources import check_resources
from .checks.writable import check_destination, finding_of
from .configuration import check_values
from .document import print_document
from .options import (
    add_address_option,
    add_id_options,
    add_names_option,
    add_output_options,
    add_pipeline_options,
    configure_logging,
    given_address,
    given_ids,
    make_source,
)
from .options import check_resources as check_names_of_resources
from .outcome import DONE, FAILED, TRY_AGAIN_LATER, Output

PERSONAL = ("target_unicities", "target_hashes")
"""Id options whose values are shown nowhere."""
WIDTH = 100


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Look at the configuration, the key, the API, every selected resource (one hour of events),"
        " the destination, and what earlier loads left. Loads nothing and changes nothing."
    )
    parser.epilog = (
        f"Exit status 0: a load would succeed. {FAILED}: something would fail it."
        f" {TRY_AGAIN_LATER}: it would fail now, and passes by itself."
    )
    what = parser.add_argument_group("what")
    add_names_option(
        what,
        "--resources",
        "just these resources; default: those that a load takes",
    )
    add_names_option(
        what,
        "--dimensions",
        "names for ids as well, as in load",
    )
    add_address_option(what)
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-requests",
        type=int,
        default=40,
        metavar="N",
        help="requests to send at most (%(default)s)",
    )
    add_id_options(parser)
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    at_least_one(options.max_requests, "--max-requests")
    if options.resources:
        check_names_of_resources(options.resources)
    report = check(options)
    advised = next_command(options, report.exit_status)
    if options.json:
        print_document(
            "check",
            report.exit_status,
            report.pipeline,
            result={
                "steps": [step.as_json() for step in report.steps],
                "resources": [one.as_json() for one in report.resources],
                "clock_difference_s": report.clock_difference_s,
                "rate_limit": report.rate_limit,
                "next": advised,
            },
            problems=report.problems(),
            requests=report.requests,
            byte_count=report.byte_count,
            account=report.account,
        )
        return report.exit_status
    _print(report, advised, options.quiet)
    return report.exit_status


def check(options: argparse.Namespace) -> Report:
    """Takes all steps; one that fails skips those that need it, and no others."""
    steps = [check_versions(), check_configuration(), check_key()]
    needs = None if steps[-1].finding.ok else "the key"
    source = None
    if needs is None:
        try:
            check_values()  # In the words of every other command; dlt has others.
            source = _source(options)
        except Exception as error:
            steps.append(Step("settings", finding_of(error)))
            needs = "the settings"
    written, pipeline = check_destination(options)
    after = [*written, *_left_behind(options, source, is_reachable=written[0].finding.ok)]
    if source is None:
        assert needs is not None
        steps += [Step("API", skipped(needs)), Step("resources", skipped(needs))]
        return Report((*steps, *after), pipeline=pipeline)
    session = session_of(source)
    budget = Budget(session, options.max_requests)
    resources: list[ResourceCheck] = []
    with closing(budget.client):
        step, first = check_api(budget, session)
        steps.append(step)
        finding = skipped("the API")
        if answers(first):
            resources = check_resources(budget, selected_operations(source), first)
            finding = Finding(f"{len({one.name for one in resources})} selected")
        steps.append(Step("resources", finding))
    return Report(
        steps=(*steps, *after),
        resources=tuple(resources),
        clock_difference_s=clock_difference_s(session),
        rate_limit=rate_limit_of(first),
        account=session.key,
        pipeline=pipeline,
        requests=budget.requests,
        byte_count=budget.byte_count,
    )


def _source(options: argparse.Namespace) -> DltSource:
    arguments: dict[str, Any] = {**given_ids(options), **given_address(options)}
    if options.dimensions:
        arguments["dimensions"] = ",".join(options.dimensions)
    return make_source(options.resources, **arguments)


def _left_behind(
    options: argparse.Namespace, source: DltSource | None, is_reachable: bool
) -> list[Step]:
    session = None if source is None else session_of(source)
    base_url, key = (None, None) if session is None else (session.base_url, session.key)
    try:
        progress = check_progress(options, base_url, key, is_reachable)
    except Exception as error:
        progress = Step("progress", finding_of(error))
    try:
        policy = check_privacy(options, source, is_reachable)
    except Exception as error:
        policy = Step("policy", finding_of(error))
    return [check_packages(options), policy, progress]


def next_command(options: argparse.Namespace, status: int) -> str:
    """What to call next: the load where it would succeed, else this command again."""
    words = ["np6-source", "load" if status == DONE else "check"]
    for name in ("pipeline", "destination", "duckdb_file", "dataset", "pipelines_dir", "base_url"):
        value = getattr(options, name)
        if value is not None and value != {"pipeline": "np6_to_duckdb", "dataset": "np6"}.get(name):
            words += ["--" + name.replace("_", "-"), str(value)]
    for name in ("resources", "dimensions", *ID_ARGUMENTS):
        values = getattr(options, name)
        if values:
            shown = [one if name not in PERSONAL or one[:1] in "@-" else "…" for one in values]
            words += ["--" + name.replace("_", "-"), *dict.fromkeys(shown)]
    return shlex.join(words)


def _print(report: Report, advised: str, quiet: bool) -> None:
    console = Output(quiet=quiet, markup=False, emoji=False)
    for step in report.steps:
        for line in table_lines(step.name, step.finding.what, step.finding.verdict):
            console.print(line)
        if step.name == "resources":
            widest = max((len(_label(one.name, one.id)) for one in report.resources), default=0)
            for one in report.resources:
                ms = "" if one.ms is None else f"{one.ms} ms"
                what = f"{_label(one.name, one.id):<{widest}}  {one.status or '':>3}  {ms:>7}  "
                for line in table_lines("", what + one.finding.what, one.finding.verdict):
                    console.print(line)
    problems = report.problems()
    errors = sum(problem.severity == "error" for problem in problems)
    found = "No problem." if not errors else f"{errors} problem{'' if errors == 1 else 's'}."
    console.print(f"{found} Next: {advised}")
    sys.stdout.flush()
    for problem in problems:
        # The table has the rest.
        if problem.severity == "error" or (problem.advice and not quiet):
            where = _label(problem.resource or problem.rule, problem.id or "")
            lines = [problem.what, *(problem.advice or "").splitlines()]
            text = "\n  ".join(lines)
            print(f"{problem.severity}: {where}: {text}", file=sys.stderr)


def _label(name: str, scope_id: str) -> str:
    return f"{name} {scope_id}" if scope_id else name


def table_lines(name: str, what: str, verdict: str) -> list[str]:
    """A row of the table, at most ``WIDTH`` wide: its first line says the verdict."""
    first, *others = textwrap.wrap(what, WIDTH - 26, drop_whitespace=False) or [""]
    return [
        f"{name:<14}{first:<{WIDTH - 26}}  {verdict}".rstrip(),
        *(f"{'':<16}{other.strip()}" for other in others),
    ]
