"""``np6-source probe``: what the reference leaves open, found out for this account."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dlt

from ..api.client import ApiRequest
from ..assumptions import comparison
from ..assumptions.comparison import FINAL, LATE, Remembered, compared, remember
from ..assumptions.control import KEPT, Asking
from ..assumptions.facts import Asked, BudgetUsedUp, Refused, Response, Verdict, seen
from ..assumptions.probe import probe
from ..assumptions.questions import ALL, CAMPAIGN_BODY, DEFAULT_SPAN
from ..assumptions.visibility import EVERY, VISIBLE, watched
from ..errors import (
    IncompleteResponse,
    RequestContext,
    RequestFailed,
    SettingError,
    TryAgainLater,
    Unauthorized,
    Unreachable,
    did_you_mean,
)
from ..extract.selection import session_of
from ..parameters import TTimestampFormat, at_least_one, long_span_ms
from ..windows import SECOND
from .budget import Budget
from .configuration import check_names
from .document import Problem, installed_version, print_document
from .options import (
    Names,
    add_address_option,
    add_output_options,
    configure_logging,
    given_address,
    make_source,
)
from .outcome import DONE, FAILED, FOUND, TRY_AGAIN_LATER, Output
from .written_settings import config_file, difference, with_settings, write

NAMES = tuple(one.name for one in ALL)
APART = 0.2
"""Seconds between the starts of two requests, at least."""
UNANSWERED = 4
"""Requests without a response, one after the other, after which the API counts as down."""
ORDER = {"contradicted": 0, "cannot tell": 1, "confirmed": 2}
WIDTH = 100


@dataclass(frozen=True)
class ProbeRequest:
    """A request whose bounds are written as the question asks.

    Attributes:
        asked: What is asked for.
    """

    asked: Asked
    accept: str = "application/json"

    @property
    def method(self) -> str:
        """See ``ApiRequest``."""
        return "GET" if self.asked.body is None else "POST"

    @property
    def body(self) -> Any:
        """See ``ApiRequest``."""
        return None if self.asked.body is None else json.loads(self.asked.body)

    @property
    def path(self) -> str:
        """See ``ApiRequest``."""
        return self.asked.path

    @property
    def context(self) -> RequestContext:
        """See ``ApiRequest``."""
        return RequestContext("probe", "", f"[{self.asked.start}, {self.asked.end})")

    def parameters(self, timestamp_format: TTimestampFormat) -> dict[str, str]:
        """See ``ApiRequest``; the format is the question's own."""
        return self.asked.query()


@dataclass(frozen=True)
class Found:
    """What a probe found.

    Attributes:
        verdicts: One for each question.
        account: A digest of the key and the API's address.
        requests: Requests that were sent.
        bytes: Bytes of their bodies that were read, uncompressed.
        statuses: How often each HTTP status came.
        headers: Names of the headers that came.
        ended_by: What ended it for all questions; None: nothing did.
    """

    verdicts: tuple[Verdict, ...]
    account: str
    requests: int
    bytes: int
    statuses: dict[str, int]
    headers: tuple[str, ...]
    ended_by: Problem | None
    is_later: bool

    @property
    def exit_status(self) -> int:
        """0; 3 where an assumption is contradicted; 1, or 75, where the API refused to answer."""
        if self.ended_by is not None:
            return TRY_AGAIN_LATER if self.is_later else FAILED
        is_contradicted = any(one.result == "contradicted" for one in self.verdicts)
        return FOUND if is_contradicted else DONE


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Find out for this account what NP6's reference leaves open: one question after the other,"
        " with about 95 small requests about events that are over 26 hours old. A verdict says"
        " confirmed, contradicted or cannot tell. Loads nothing."
    )
    parser.epilog = (
        f"Exit status 0: nothing the connector assumes is contradicted. {FOUND}: something is."
        f" {FAILED}: the API refused the key, or did not answer. {TRY_AGAIN_LATER}: later."
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--only",
        nargs="+",
        action=Names,
        metavar="NAME",
        help=f"just these questions: {', '.join(NAMES)}",
    )
    what.add_argument(
        "--campaign-ids",
        nargs="+",
        action=Names,
        metavar="ID",
        help=f"ask which bodies the first of these campaigns takes ({CAMPAIGN_BODY.name})",
    )
    what.add_argument(
        "--wide",
        action="store_true",
        help=f"ask for windows without a start, 64 KB of each ({DEFAULT_SPAN.name})",
    )
    what.add_argument(
        "--watch",
        metavar="10m",
        help=f"ask for the newest events every 15 s for so long ({VISIBLE.name}); the other"
        " questions come first",
    )
    what.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="keep known events in FILE, for its owner alone; once it is there, ask for them again:"
        f" do they change, do others come days late ({FINAL.name}, {LATE.name})",
    )
    add_address_option(what)
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-requests", type=int, default=120, metavar="N", help="requests at most (%(default)s)"
    )
    limits.add_argument(
        "--max-bytes",
        type=int,
        default=40_000_000,
        metavar="N",
        help="bytes of responses after which nothing more is asked, uncompressed (%(default)s)",
    )
    output = parser.add_argument_group("report")
    output.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write a report that can be shared: no id, name, address, host or moment is in it",
    )
    act = parser.add_argument_group("act")
    act.add_argument(
        "--write-config",
        action="store_true",
        help="write the settings of what is contradicted into [sources.np6] of .dlt/config.toml:"
        " shows the difference, asks, and keeps a copy",
    )
    act.add_argument("--yes", action="store_true", help="do not ask")
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    at_least_one(options.max_requests, "--max-requests")
    at_least_one(options.max_bytes, "--max-bytes")
    for name in options.only or ():
        if name not in NAMES:
            known = ", ".join(NAMES)
            raise SettingError(f"--only {name}{did_you_mean(name, NAMES)}. There are {known}")
    if options.report is not None and not options.report.absolute().parent.is_dir():
        raise SettingError(f"--report {options.report}: there is no such folder")
    before = _kept(options.compare)
    if options.write_config and not options.yes and not (sys.stdin and sys.stdin.isatty()):
        raise SettingError("--write-config asks before it writes: give --yes, or call it by hand")
    for name, needed, is_there in (
        (CAMPAIGN_BODY.name, "--campaign-ids", options.campaign_ids),
        (DEFAULT_SPAN.name, "--wide", options.wide),
        (VISIBLE.name, "--watch", options.watch),
        (FINAL.name, "--compare", options.compare),
        (LATE.name, "--compare", options.compare),
    ):
        if name in (options.only or ()) and not is_there:
            raise SettingError(f"--only {name} needs {needed}")
    found = find_out(options, APART, before)
    if options.report is not None:
        options.report.write_text(json.dumps(report_of(found), indent=2) + "\n", "utf-8")
    problems = list(_problems(found))
    if options.json:
        print_document(
            "probe",
            found.exit_status,
            result={"verdicts": [_as_json(one) for one in found.verdicts]},
            problems=problems,
            requests=found.requests,
            byte_count=found.bytes,
            account=found.account,
        )
        if options.write_config:
            _write_config(found, options)
        return found.exit_status
    console = Output(quiet=options.quiet, markup=False, emoji=False)
    for line in _lines(found):
        console.print(line)
    sys.stdout.flush()
    if found.ended_by is not None:
        print(f"error: {found.ended_by.what}\n  {found.ended_by.advice}", file=sys.stderr)
    if options.write_config:
        _write_config(found, options)
    return found.exit_status


def settings_of(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """The settings that help where an assumption is contradicted; the larger of two numbers."""
    settings: dict[str, Any] = {}
    for one in verdicts:
        if one.result == "contradicted" and one.setting is not None:
            name, value = one.setting
            before = settings.get(name)
            is_first = before is None or isinstance(value, str)
            settings[name] = value if is_first else max(before, value)
    return settings


def _write_config(found: Found, options: argparse.Namespace) -> None:
    """Shows the settings, asks, and writes them; all messages go to standard error."""
    settings = settings_of(found.verdicts)
    file = config_file()
    before = file.read_text("utf-8") if file.exists() else ""
    after = with_settings(before, settings) if settings else before
    if after == before:
        print(f"{file}: nothing to write", file=sys.stderr)
        return
    print("\n".join(difference(before, after, file)), file=sys.stderr)
    if not options.yes:
        print(f"Write {file}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("Nothing was written.", file=sys.stderr)
            return
    copy = write(file, before, after)
    kept = "" if copy is None else f"; what was there is in {copy}"
    print(f"{file} is written{kept}", file=sys.stderr)


def find_out(options: argparse.Namespace, apart: float, before: dict[str, Any] | None) -> Found:
    """Asks the questions.

    Args:
        options: The command's options.
        apart: Seconds between the starts of two requests, at least.
        before: What an earlier call has kept to compare with; None: nothing.

    Raises:
        SettingError: A setting cannot be used.
    """
    arguments = given_address(options)
    session = session_of(make_source(None, **arguments))
    if before is not None and before.get("account") != session.key:
        raise SettingError(f"--compare {options.compare}: it is of another account, or another key")
    watch = 0 if options.watch is None else long_span_ms(options.watch, "--watch")
    by_waiting = {VISIBLE.name, FINAL.name, LATE.name}
    wanted = [name for name in options.only or () if name not in by_waiting]
    more = watch // EVERY + 3 + comparison.REQUESTS
    budget = Budget(session, options.max_requests + more, apart=apart)
    asker = _Asker(budget)
    with closing(budget.client):
        has_no_other = bool(options.only) and not wanted
        verdicts = (
            []
            if has_no_other
            else probe(
                asker.ask,
                int(time.time() * SECOND),
                wanted,
                options.max_requests,
                options.max_bytes,
                options.campaign_ids or (),
                options.wide,
            )
        )
        if options.watch is not None and asker.refused is None:
            asking = Asking(asker.ask, watch // EVERY + 3 + KEPT, options.max_bytes)
            clock = session.clock.now
            settle = session.settings.settle
            verdicts.append(watched(asking, watch, settle, clock, time.sleep))
        if options.compare is not None and asker.refused is None:
            asking = Asking(asker.ask, comparison.REQUESTS + KEPT, options.max_bytes)
            verdicts += _compared(asking, options.compare, session.key, before)
    ended_by = None
    if asker.refused is not None:
        error = asker.refused
        ended_by = Problem("error", type(error).__name__, error.problem, None, None, error.advice)
    return Found(
        tuple(sorted(verdicts, key=lambda one: ORDER[one.result])),
        session.key,
        budget.requests,
        budget.byte_count,
        dict(sorted(asker.statuses.items())),
        tuple(sorted(asker.headers)),
        ended_by,
        isinstance(asker.refused, TryAgainLater),
    )


def _kept(file: Path | None) -> dict[str, Any] | None:
    """What an earlier call has kept to compare with; None where there is none.

    Raises:
        SettingError: The file has something else, or cannot be read.
    """
    if file is None or not file.exists():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        Remembered.of_json(content)
    except (OSError, ValueError) as error:
        raise SettingError(f"--compare {file}: cannot be read: {error}") from None
    return dict(content)


def _compared(
    asking: Asking, file: Path, account: str, before: dict[str, Any] | None
) -> list[Verdict]:
    """Verdicts by what an earlier call has kept; where there is none, keeps it for a later one.

    Raises:
        SettingError: The file cannot be written.
    """
    now = int(time.time() * SECOND)
    if before is not None:
        return compared(asking, Remembered.of_json(before), now)
    try:
        kept = remember(asking, now)
    except (BudgetUsedUp, Refused) as error:
        return [one.no(str(error)) for one in (FINAL, LATE)]
    if kept is None:
        return [one.no("no events that stay were found") for one in (FINAL, LATE)]
    try:
        with open(file, "w", encoding="utf-8", opener=_for_its_owner) as target:
            json.dump({"account": account, **kept.as_json()}, target)
    except OSError as error:
        raise SettingError(f"--compare {file}: {error.strerror or error}") from None
    text = f"{len(kept.events)} events are kept: ask again in some days"
    return [one.no(text) for one in (FINAL, LATE)]


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@dataclass
class _Asker:
    """Sends requests, and notes what can be reported without revealing the account.

    Attributes:
        budget: Sends them.
        statuses: How often each status came.
        headers: Names of the headers that came.
        unanswered: The last requests that had no response.
        refused: Why nothing more is sent; None: something may be.
    """

    budget: Budget
    unanswered: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    headers: set[str] = field(default_factory=set)
    refused: RequestFailed | None = None

    def ask(self, asked: Asked) -> Response:
        """Sends a request.

        Raises:
            Refused: The API refuses the key, asks to wait, or cannot be reached.
        """
        if self.refused is not None:
            raise Refused(self.refused.problem)
        request: ApiRequest = ProbeRequest(asked)
        response = self.budget.send(request, most_bytes=asked.most_bytes)
        self.statuses[str(response.status)] += 1
        self.headers |= {name.lower() for name in response.headers}
        failure = response.failure
        self.unanswered = self.unanswered + 1 if response.status is None else 0
        never_answered = isinstance(failure, Unreachable) and not self.statuses["200"]
        is_down = response.status is None and (never_answered or self.unanswered >= UNANSWERED)
        if failure is not None and (is_down or isinstance(failure, (Unauthorized, TryAgainLater))):
            self.refused = failure
            raise Refused(failure.problem)
        if failure is not None:
            more = isinstance(failure, IncompleteResponse)
            return Response(
                response.status,
                None,
                says_more=more,
                headers=response.headers,
                received_at=self.budget.headed_at,
            )
        elements = response.elements
        return Response(
            response.status,
            None if elements is None else tuple(filter(None, map(seen, elements))),
            response.is_whole,
            headers=response.headers,
            is_empty=response.byte_count == 0,
            byte_count=response.byte_count,
            received_at=self.budget.headed_at,
        )


def report_of(found: Found) -> dict[str, Any]:
    """What can be shared: versions, the day, verdicts, counts, statuses, names of headers."""
    return {
        "np6-source": installed_version(),
        "dlt": dlt.__version__,
        "python": platform.python_version(),
        "day": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "requests": found.requests,
        "bytes": found.bytes,
        "statuses": found.statuses,
        "headers": list(found.headers),
        "verdicts": [_as_json(one) for one in found.verdicts],
    }


def _as_json(verdict: Verdict) -> dict[str, Any]:
    setting = verdict.setting
    return {
        "question": verdict.question,
        "assumed": verdict.assumed,
        "result": verdict.result,
        "evidence": verdict.evidence,
        "meaning": verdict.meaning or None,
        "setting": None if setting is None else {"name": setting[0], "value": setting[1]},
    }


def _problems(found: Found) -> Iterator[Problem]:
    if found.ended_by is not None:
        yield found.ended_by
    for one in found.verdicts:
        if one.result == "contradicted":
            what = f"not so: {one.assumed}: {one.evidence}"
            yield Problem("warning", one.question, what, None, None, _advice(one) or None)


def _advice(verdict: Verdict) -> str:
    setting = "" if verdict.setting is None else f" ({verdict.setting[0]} = {verdict.setting[1]!r})"
    return verdict.meaning + setting


def _lines(found: Found) -> Iterator[str]:
    reason = found.ended_by.what if found.ended_by is not None else None
    left = [one for one in found.verdicts if one.evidence == reason]
    for one in found.verdicts:
        if one in left:
            continue
        yield f"{one.result:<14}{one.question:<16}{one.assumed}"
        advice = _advice(one) if one.result == "contradicted" else ""
        for text in (one.evidence, advice):
            for line in textwrap.wrap(text, WIDTH - 30):
                yield f"{'':<30}{line}"
    if reason is not None and left:
        # One reason for many questions is said once.
        names = textwrap.wrap(", ".join(one.question for one in left), WIDTH - 14)
        for number, line in enumerate(names):
            yield f"{'' if number else 'cannot tell':<14}{line}"
        for line in textwrap.wrap(reason, WIDTH - 30):
            yield f"{'':<30}{line}"
    counts: Counter[str] = Counter(one.result for one in found.verdicts)
    told = ", ".join(f"{counts[name]} {name}" for name in ORDER if counts[name])
    requests = f"{found.requests:,} request{'s' if found.requests != 1 else ''}"
    yield f"{told}; {requests}, {found.bytes / 1e6:,.1f} MB."
