"""``np6-source plan``: how much a period holds and what loading it takes, from small samples."""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..api.responses import total_count
from ..dimensions import Dimension
from ..endpoints import ID_ARGUMENTS, Endpoint
from ..errors import RUN_ENDING, RequestFailed, TryAgainLater, UnexpectedStatus, WindowTooLarge
from ..extract.facts import may_be_a_limit
from ..extract.selection import SelectedOperation, selected_operations, session_of
from ..parameters import at_least_one
from ..settings import DEFAULT_HISTORY
from ..volume.cost import Cost, cost, seconds_of, transfer
from ..volume.estimate import (
    FEW,
    NORMAL,
    PRECISE,
    QUICK,
    READ_AT_MOST,
    Estimate,
    Range,
    estimate,
    of_ids,
)
from ..volume.history import found_back_to
from ..volume.sample import SENDS, Sample, SampledEvent, sampled_event
from ..windows import DAY, SECOND, Window, iso
from .budget import Budget, Response
from .checks.findings import Finding
from .checks.resources import ids_of
from .configuration import check_names
from .document import Problem, print_document
from .options import (
    DATES,
    add_address_option,
    add_id_options,
    add_names_option,
    add_output_options,
    configure_logging,
    given_ids,
    make_source,
)
from .options import check_resources as check_names_of_resources
from .outcome import DONE, FAILED, TRY_AGAIN_LATER, Output

EFFORTS = {"quick": QUICK, "normal": NORMAL, "precise": PRECISE}
MOST_BYTES = 8 * 1024**2
"""Bytes of one response that are read, should its events be large."""
IDS_EACH = 5
"""Ids of a kind that are sampled."""
FEWEST_CUT = 20
"""Events from which on a count that comes twice may be a limit of the API's."""
CUT_WIDER = 3.0
"""By this factor at each end the range is wider where the API cuts responses: less is read then."""
NARROWER = 6
"""How often a window that the API refuses as too large is narrowed, to an eighth each time."""
APART = 0.1
"""Seconds between the starts of two requests, at least."""
DAYS_UNSAID = DEFAULT_HISTORY.days


@dataclass(frozen=True)
class Sampled:
    """What a plan of a resource cost.

    Attributes:
        requests: Requests that were sent.
        bytes: Bytes of their bodies that were read, uncompressed.
        seconds: How long it took.
    """

    requests: int
    bytes: int
    seconds: float


NOTHING_SENT = Sampled(0, 0, 0.0)


@dataclass(frozen=True)
class ResourcePlan:
    """What is planned of a resource.

    Attributes:
        resource: The resource.
        period: What would be loaded.
        estimate: Its events; None where the API did not answer.
        cost: What loading them takes; None likewise.
        sampled: What finding it out took.
        ids: Ids that it would be loaded by; None: it covers the account.
        history: Timestamp of the oldest event that was found; None: not looked for, or none.
        problems: What is to object to.
    """

    resource: str
    period: Window
    estimate: Estimate | None
    cost: Cost | None
    sampled: Sampled
    ids: int | None = None
    history: int | None = None
    problems: tuple[Problem, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        found, takes = self.estimate, self.cost
        return {
            "resource": self.resource,
            "ids": self.ids,
            "start": iso(self.period.start),
            "end": iso(self.period.end),
            "events": _rounded(found.events) if found else None,
            "bytes": _rounded(found.bytes) if found else None,
            "requests": _rounded(takes.requests) if takes else None,
            "seconds": _rounded(takes.seconds) if takes else None,
            "disk": _rounded(takes.disk) if takes else None,
            "is_counted": found.is_counted if found else None,
            "sampled": {**asdict(self.sampled), "seconds": round(self.sampled.seconds, 1)},
            "history": None if self.history is None else iso(self.history),
        }


@dataclass(frozen=True)
class Plan:
    """What is planned of all resources.

    Attributes:
        resources: Each of them.
        account: A digest of the key and the API's address.
        requests: Requests that were sent.
        bytes: Bytes of their bodies that were read, uncompressed.
        is_later: Whether what went wrong passes by itself.
    """

    resources: tuple[ResourcePlan, ...]
    account: str
    requests: int
    bytes: int
    is_later: bool

    @property
    def problems(self) -> list[Problem]:
        """All that is to object to."""
        return [problem for one in self.resources for problem in one.problems]

    @property
    def exit_status(self) -> int:
        """0; 1 where a resource could not be sampled; 75 where that passes by itself."""
        if not any(problem.severity == "error" for problem in self.problems):
            return DONE
        return TRY_AGAIN_LATER if self.is_later else FAILED


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Say how many events, bytes and requests a period holds, how long loading it takes and how"
        " much room, as ranges that hold the truth in 19 of 20 accounts. Asks for small windows"
        f" ({READ_AT_MOST} events of a response are read), of ids for {IDS_EACH} of a kind."
        " Loads nothing. " + DATES
    )
    parser.epilog = (
        f"Exit status 0: done. {FAILED}: a resource could not be sampled. {TRY_AGAIN_LATER}: it"
        " passes by itself."
    )
    what = parser.add_argument_group("what")
    add_names_option(
        what,
        "--resources",
        "just these resources; default: those that a load takes",
    )
    what.add_argument(
        "--start", metavar="DATE", help=f"default: as configured, else {DAYS_UNSAID} days ago"
    )
    what.add_argument("--end", metavar="DATE", help="default: now")
    what.add_argument(
        "--history",
        action="store_true",
        help="find out as well how far back there are events, with about 30 requests more",
    )
    add_address_option(what)
    limits = parser.add_argument_group("requests")
    effort = limits.add_mutually_exclusive_group()
    effort.add_argument(
        "--quick", action="store_true", help="about 120 requests a resource in place of 180"
    )
    effort.add_argument(
        "--precise", action="store_true", help="about 240 requests, and a narrower range"
    )
    limits.add_argument(
        "--max-requests",
        type=int,
        default=1_000,
        metavar="N",
        help="requests to send at most (%(default)s)",
    )
    add_id_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    at_least_one(options.max_requests, "--max-requests")
    if options.resources:
        check_names_of_resources(options.resources)
    found = plan(options, APART)
    if options.json:
        print_document(
            "plan",
            found.exit_status,
            result={"resources": [one.as_json() for one in found.resources]},
            problems=found.problems,
            requests=found.requests,
            byte_count=found.bytes,
            account=found.account,
        )
        return found.exit_status
    console = Output(quiet=options.quiet, markup=False, emoji=False)
    for line in _lines(found, options):
        console.print(line)
    sys.stdout.flush()
    for problem in found.problems:
        if problem.severity == "error" or not options.quiet:
            advice = f"\n  {problem.advice}" if problem.advice else ""
            where = problem.resource or problem.rule
            print(f"{problem.severity}: {where}: {problem.what}{advice}", file=sys.stderr)
    return found.exit_status


def plan(options: argparse.Namespace, apart: float) -> Plan:
    """Plans every selected resource.

    Args:
        options: The command's options.
        apart: Seconds between the starts of two requests, at least.

    Raises:
        SettingError: A setting cannot be used.
    """
    arguments: dict[str, Any] = dict(given_ids(options))
    for name in ("base_url", "start", "end"):
        if getattr(options, name) is not None:
            arguments[name] = getattr(options, name)
    source = make_source(options.resources, **arguments)
    session = session_of(source)
    now = int(time.time() * SECOND) // SECOND * SECOND
    end = session.settings.end or now
    start = session.settings.start
    period = Window(end - DAYS_UNSAID * DAY if start is None else start, end)
    budget = Budget(session, options.max_requests, attempts=3, longest_wait=30.0, apart=apart)
    found: list[ResourcePlan] = []
    ended: RequestFailed | None = None
    with closing(budget.client):
        for operation in selected_operations(source):
            if isinstance(operation.row, Dimension):
                continue
            sampler = _Sampler(budget, operation)
            began = time.monotonic()
            try:
                if ended is not None:
                    raise ended
                one = _plan_of(sampler, period, options)
            except RequestFailed as error:
                ended = error if isinstance(error, RUN_ENDING) else None
                one = _not_planned(operation, period, error.problem, error.advice)
            except _UsedUp:
                text = "not sampled to the end: --max-requests is reached"
                one = _not_planned(operation, period, text, "Give more, or fewer --resources.")
            sampled = Sampled(sampler.requests, sampler.byte_count, time.monotonic() - began)
            found.append(
                replace(one, sampled=sampled, problems=(*sampler.problems(), *one.problems))
            )
    is_later = isinstance(ended, TryAgainLater)
    return Plan(tuple(found), session.key, budget.requests, budget.byte_count, is_later)


class _UsedUp(Exception):
    """No further request may be sent."""


class _Sampler:
    """Asks for windows of one operation.

    Attributes:
        operation: The operation.
        requests: Requests that were sent.
        byte_count: Bytes of their bodies that were read.
        sizes: Bytes of each response.
        seconds: What each took.
    """

    def __init__(self, budget: Budget, operation: SelectedOperation) -> None:
        self.operation = operation
        self.requests = 0
        self.byte_count = 0
        self.sizes: list[int] = []
        self.seconds: list[float] = []
        self._budget = budget
        self._refused: list[tuple[int, RequestFailed]] = []
        self._is_unordered = False
        self._counts: set[tuple[str, int]] = set()
        self._limits: set[int] = set()
        self._announced: int | None = None
        self._keeps: Literal["first", "last"] | None = None
        self._rows = 0

    def sample(self, window: Window, most_events: int = READ_AT_MOST, scope_id: str = "") -> Sample:
        """The first events of a window. One that is refused as too large is narrowed.

        Raises:
            RequestFailed: It has no usable response.
            _UsedUp: No further request may be sent.
        """
        asked = window
        for _ in range(NARROWER):
            try:
                found = self._sent(asked, scope_id, most_events)
            except WindowTooLarge as error:
                self._refused.append((asked.width, error))
                if asked.width <= SECOND:
                    raise
                asked = Window(asked.start, asked.start + max(SECOND, asked.width // 8))
                continue
            if found.is_whole and self._is_cut(found, scope_id):
                if found.is_ordered and found.events and asked == window:
                    if self._keeps == "first":
                        return replace(found, is_whole=False)
                    if self._keeps == "last":
                        oldest = found.events[0].timestamp // SECOND * SECOND + SECOND
                        return replace(found, is_whole=False, whole_from=min(oldest, window.end))
                # Which of its events it lacks, nobody knows.
                found = replace(found, is_whole=False)
                if asked.width <= SECOND:
                    break
                asked = Window(asked.start, asked.start + max(SECOND, asked.width // 8))
                continue
            if found.is_whole and asked != window:
                return Sample(window, found.events, is_whole=False, whole_until=asked.end)
            if found.is_whole or found.is_ordered:
                return replace(found, window=window)
            # Of events in no order, those that were read say nothing of those that were not.
            self._is_unordered = True
            if asked.width <= SECOND:
                break
            asked = Window(asked.start, asked.start + max(SECOND, asked.width // 8))
        return replace(found, window=window, is_whole=False)

    def first(self, window: Window) -> int | None:
        """The first timestamp of a window; None: it is empty."""
        moments = [event.timestamp for event in self._sent(window, "", 1).events]
        return min(moments, default=None)

    def ids(self, window: Window) -> Sequence[str] | Finding:
        """The ids that the operation is called with, an empty one for the account."""
        before = self._budget.requests, self._budget.byte_count
        found = ids_of(self.operation, self._budget, window)
        self.requests += self._budget.requests - before[0]
        self.byte_count += self._budget.byte_count - before[1]
        return found

    def _is_cut(self, found: Sample, scope_id: str) -> bool:
        """Whether the API has cut a response that was read to its end.

        By its headers, by ``row_limit``, or because the parts of its window have more events. They
        are requested where the count is a likely limit, or was another response's.

        Args:
            found: The response, the last one.
            scope_id: The id.
        """
        window, count = found.window, self._rows
        if self._announced is not None and self._announced > count:
            self._limits.add(count)
            return True
        limits = self.operation.session.limits
        is_suspicious = may_be_a_limit(count) or (
            count >= FEWEST_CUT and (scope_id, count) in self._counts
        )
        self._counts.add((scope_id, count))
        if is_suspicious and not limits.is_known(count) and window.width >= 2 * SECOND:
            parts, known = _parts(found)
            others = [one for part in parts for one in self._sent(part, scope_id, count).events]
            (limits.prove if len(others) > known else limits.disprove)(count)
            if len(others) > known:
                self._keeps = _kept_end(found, others)
        if limits.is_proven(count):
            self._limits.add(count)
            return True
        return False

    @property
    def is_cut(self) -> bool:
        """Whether the API has cut a response that was not known to be cut."""
        return bool(self._limits)

    def problems(self) -> Iterator[Problem]:
        """What was noticed on the way."""
        name = self.operation.row.name
        if self._refused:
            width, error = min(self._refused, key=lambda one: one[0])
            status = error.context.status or "no status"
            what = f"{error.problem}: a window of {_span(width)} ({status})"
            advice = "A load halves such windows by itself; window says how wide the first are."
            yield Problem("warning", "window", what, name, None, advice)
        if self._limits:
            count = min(self._limits)
            what = f"the API cuts responses at {count:,} events: the range is wider"
            advice = f"A load notices it, most of the time; row_limit = {count} makes it sure."
            yield Problem("warning", "row_limit", what, name, None, advice)
        if self._is_unordered:
            what = "events do not come in the order of their timestamps; long responses say less"
            yield Problem("warning", "sort", what, name)

    def _sent(self, window: Window, scope_id: str, most_events: int) -> Sample:
        if self._budget.is_used_up:
            raise _UsedUp
        before = self._budget.requests
        request = self.operation.request(window, scope_id)
        response = self._budget.send(request, most_bytes=MOST_BYTES, most_events=most_events)
        self.requests += self._budget.requests - before
        self.byte_count += response.byte_count
        if response.failure is not None:
            raise response.failure
        if response.elements is None:
            raise UnexpectedStatus(
                request.context, "the response is no JSON array", "`np6-source check` looks closer."
            )
        self._announced = total_count(response.headers)
        self.sizes.append(response.byte_count)
        self.seconds.append(seconds_of(response.ms))
        events = tuple(self._events(response))
        self._rows = len(events)
        # Others come where widen_bounds asks for them, or the API does not keep to bounds.
        inside = tuple(one for one in events if window.start <= one.timestamp < window.end)
        if not response.is_whole and not inside and most_events < FEW:
            return self._sent(window, scope_id, min(FEW, 20 * most_events))
        return Sample(window, inside, response.is_whole)

    def _events(self, response: Response) -> Iterator[SampledEvent]:
        row = self.operation.row
        assert isinstance(row, Endpoint)
        for element in response.elements or ():
            size = len(json.dumps(element, separators=(",", ":"), ensure_ascii=False))
            event = sampled_event(element, size, row.event_type)
            if event is not None:
                yield event


def _parts(found: Sample) -> tuple[list[Window], int]:
    """Windows whose events tell whether a response was cut, and how many of them it had.

    The window is split between its events: all of a mailing may lie in one half of it, which is cut
    just as the whole is. Where all are of one second, the parts are what lies around it.
    """
    window, moments = found.window, [event.timestamp // SECOND * SECOND for event in found.events]
    first, last = min(moments, default=window.start), max(moments, default=window.start)
    if first < last:
        middle = (first + last) // 2 // SECOND * SECOND + SECOND
        return [Window(window.start, middle), Window(middle, window.end)], len(moments)
    around = ((window.start, first), (first + SECOND, window.end))
    return [Window(start, end) for start, end in around if start < end], 0


def _kept_end(found: Sample, others: Sequence[SampledEvent]) -> Literal["first", "last"] | None:
    """Which events a response has kept that was cut; None: that does not show.

    Args:
        found: The response.
        others: The events of the parts of its window, which may be cut as well.
    """
    moments = [event.timestamp for event in found.events]
    is_later = any(one.timestamp > max(moments) for one in others)
    is_earlier = any(one.timestamp < min(moments) for one in others)
    if is_later == is_earlier:
        return None
    return "first" if is_later else "last"


def _plan_of(sampler: _Sampler, period: Window, options: argparse.Namespace) -> ResourcePlan:
    operation = sampler.operation
    row, session = operation.row, operation.session
    assert isinstance(row, Endpoint)
    ids = sampler.ids(period)
    if isinstance(ids, Finding):
        return _not_planned(operation, period, ids.what, ids.advice)
    chosen = next((name for name in EFFORTS if getattr(options, name, False)), "normal")
    # The same account, period and effort: the same windows.
    dice = random.Random(f"{row.name} {period} {chosen}")
    if operation.takes_ids:
        some = dice.sample(list(ids), min(IDS_EACH, len(ids)))
        found = of_ids(period, [sampler.sample(period, scope_id=one) for one in some], len(ids))
    else:
        has_sends = row.window == "events" and row.event_type is None
        found = estimate(period, sampler.sample, EFFORTS[chosen], dice, has_sends)
    if sampler.is_cut and not found.is_counted:
        found = found.wider(CUT_WIDER)
    settings, client = session.settings, session.client_settings
    takes = cost(
        found,
        settings.window,
        client.concurrency,
        client.interval,
        transfer(sampler.sizes, sampler.seconds),
        len(ids),
    )
    problems = []
    if row.event_type in SENDS and not operation.takes_ids and not found.is_counted:
        text = "sends come in bursts that evenly spread windows miss: the range may be too narrow"
        problems.append(Problem("warning", "plan", text, row.name))
    if found.is_of_few:
        text = "the events are those of few mailings: the range is wider"
        problems.append(Problem("warning", "plan", text, row.name))
    history = None
    if options.history and not operation.takes_ids:
        history = found_back_to(period.end, sampler.first)
    return ResourcePlan(
        row.name,
        period,
        found,
        takes,
        NOTHING_SENT,
        len(ids) if operation.takes_ids else None,
        history,
        tuple(problems),
    )


def _not_planned(
    operation: SelectedOperation, period: Window, what: str, advice: str | None
) -> ResourcePlan:
    name = operation.row.name
    problem = Problem("error", "plan", what, name, None, advice)
    return ResourcePlan(name, period, None, None, NOTHING_SENT, problems=(problem,))


# --- As it is printed ---


def _lines(found: Plan, options: argparse.Namespace) -> Iterator[str]:
    for one in found.resources:
        yield from _lines_of(one)
    events = sum(one.estimate.events.likely for one in found.resources if one.estimate)
    is_estimate = any(one.estimate and not one.estimate.is_counted for one in found.resources)
    narrower = "Narrower: --precise. " if is_estimate and not options.precise else ""
    if events and found.exit_status == DONE:
        yield f"{narrower}Load it: {_load_command(found, options)}"


def _lines_of(one: ResourcePlan) -> Iterator[str]:
    days = one.period.width / DAY
    name = one.resource + (f" ({one.ids:,} ids)" if one.ids is not None else "")
    span = f"{iso(one.period.start)[:10]} to {iso(one.period.end)[:10]}, {days:,.0f} days"
    took = (
        f"sampled: {one.sampled.requests} request{'s' if one.sampled.requests != 1 else ''},"
        f" {_bytes(one.sampled.bytes)}, {_duration(one.sampled.seconds)}"
    )
    yield f"{f'{name}  {span}':<58}{took:>42}".rstrip()
    if one.estimate is None or one.cost is None:
        yield "  not known"
        return
    events, takes = one.estimate.events, one.cost
    if one.estimate.is_counted:
        counted = f"events  {events.likely:,.0f}, all counted"
    else:
        counted = f"events  {_range(events, _count)}, most likely {_count(events.likely)}"
    yield f"  {counted:<48}requests  {_range(takes.requests, _count)}"
    yield (
        f"  {f'bytes   {_range(one.estimate.bytes, _bytes)}':<48}"
        f"time      {_range(takes.seconds, _duration)}"
    )
    history = f"found back to {iso(one.history)[:10]}" if one.history is not None else ""
    yield f"  {history:<48}disk      {_range(takes.disk, _bytes)}"


def _load_command(found: Plan, options: argparse.Namespace) -> str:
    words = ["np6-source load"]
    for name in ("start", "end"):
        if getattr(options, name) is not None:
            words.append(f"--{name} {getattr(options, name)}")
    if options.resources:
        words.append("--resources " + " ".join(options.resources))
    given = [name for name in ID_ARGUMENTS if getattr(options, name)]
    return " ".join([*words, *(f"--{name.replace('_', '-')} …" for name in given)])


def _range(of: Range, shown: Callable[[float], str]) -> str:
    low, high = shown(of.low), shown(of.high)
    if low == high:
        return low
    number, _, unit = high.partition(" ")
    if unit and low.endswith(f" {unit}"):
        low = low.partition(" ")[0]
    return f"{low} to {number}{' ' if unit else ''}{unit}"


def _count(value: float) -> str:
    if value >= 1e6:
        return f"{_short(value / 1e6)} million"
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 100 else f"{value:,.0f}"


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if value >= size:
            return f"{_short(value / size)} {unit}"
    return f"{value:,.0f} bytes"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 172_800), ("hours", 7_200), ("minutes", 120)):
        if seconds >= size:
            one = {"days": 86_400, "hours": 3_600, "minutes": 60}[unit]
            return f"{_short(seconds / one)} {unit}"
    return f"{max(1, math.ceil(seconds)):,} s"


def _short(value: float) -> str:
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def _span(milliseconds: int) -> str:
    return _duration(seconds_of(milliseconds))


def _rounded(of: Range) -> dict[str, int]:
    return {"low": int(of.low), "likely": round(of.likely), "high": math.ceil(of.high)}
