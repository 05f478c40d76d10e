"""Whatever the API does wrong, the tables end as those of an undisturbed load.

Each fault strikes a known number of times while ``loading.load`` is called again and again, as a
scheduler would. The table of faults in docs/reliability.md is these tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from np6_source import np6_source
from np6_source.sandbox import Account, Fault, Sandbox, generated_account

START, END = datetime(2024, 3, 4, tzinfo=timezone.utc), datetime(2024, 3, 8, tzinfo=timezone.utc)
HALF_DAY = 43_200
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@dataclass(frozen=True)
class Case:
    """A fault of the page's table.

    Attributes:
        name: What the page calls it.
        fault: The rule; how often it strikes is what the page says.
        calls: Calls of ``load`` that may fail before one must have caught up.
        options: Further parameters of ``np6_source``.
        is_long: Only among the long tests; ``test_failures`` has it in the quick ones.
    """

    name: str
    fault: Fault
    calls: int = 4
    options: tuple[tuple[str, Any], ...] = ()
    is_long: bool = False


CASES = (
    Case("500, once in a while", Fault("status", 500, times=6, every=3)),
    Case("503 until the window is halved", Fault("status", 503, times=7)),
    Case("504", Fault("status", 504, times=6, every=2), is_long=True),
    Case("413 for large responses", Fault("oversize", 30, status=413, times=12)),
    Case("429 with Retry-After", Fault("status", 429, times=6, every=2, retry_after=0)),
    Case("429 with nothing said", Fault("status", 429, times=3, every=2), is_long=True),
    Case("401", Fault("status", 401, times=2), is_long=True),
    Case("403", Fault("status", 403, times=2), is_long=True),
    Case("404", Fault("status", 404, times=2)),
    Case("redirect to another host", Fault("redirect", times=2), is_long=True),
    Case("empty body", Fault("empty", times=2), is_long=True),
    Case("page of HTML", Fault("html", times=2), is_long=True),
    Case("object in place of the array", Fault("object", times=2)),
    Case("body that is not JSON", Fault("raw", b"[{\xff\x00}]", times=2), is_long=True),
    Case("array cut inside an event", Fault("cut_event", times=2), is_long=True),
    Case("array cut right after a comma", Fault("cut_comma", times=2)),
    Case("connection dropped in the body", Fault("abort_body", times=6, every=2)),
    Case("connection dropped before the response", Fault("abort", times=6, every=2), is_long=True),
    Case("silence in the body", Fault("stall_body", 2, times=3), options=(("read_timeout", 0.3),)),
    Case("gzip claimed that is none", Fault("gzip_claimed", times=6), is_long=True),
    Case("gzip not announced", Fault("gzip_hidden", times=6)),
    Case("compression bomb", Fault("bomb", 5, times=2), options=(("largest_answer", 10**6),)),
    Case("event without id", Fault("without_id", times=2)),
    Case("event without timestamp", Fault("without_timestamp", times=2), is_long=True),
    Case("events twice in a response", Fault("duplicate", 5, times=6)),
    Case("response out of order", Fault("unsorted", times=6), is_long=True),
)


@pytest.fixture(scope="module")
def account() -> Account:
    return generated_account(events=400, seed=5, start=START, end=END)


@pytest.fixture(scope="module")
def expected(
    account: Account,
    warehouse_in: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """The tables of an undisturbed load."""
    warehouse = warehouse_in(tmp_path_factory.mktemp("undisturbed"))
    with Sandbox(account) as sandbox:
        warehouse.load(
            lambda: np6_source(sandbox.key, base_url=sandbox.url, start=START, on_error="keep")
        )
    contents = warehouse.contents()
    assert len(contents["events"]) > 300
    return contents


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.soak] if case.is_long else [], id=case.name)
        for case in CASES
    ],
)
def test_a_fault_loses_nothing_and_repeats_nothing(
    case: Case,
    account: Account,
    expected: Any,
    warehouse: Any,
    serve: Callable[..., Sandbox],
    source_of: Callable[..., Any],
) -> None:
    sandbox = serve(account, faults=[case.fault])
    options = {"start": START, "on_error": "keep", "window": HALF_DAY, "attempts": 2}
    options |= dict(case.options)

    for _ in range(case.calls):
        report = warehouse.load(lambda: source_of(sandbox, **options))
        if not report.failures and case.fault.times == sandbox.fault_counts[case.fault.kind]:
            break

    assert not report.failures
    assert sandbox.fault_counts[case.fault.kind] == case.fault.times
    assert warehouse.contents() == expected


def test_the_page_lists_these_faults_and_how_often_they_strike() -> None:
    page = PAGE.read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| ([^|]+?) \| (\d+) \| 0 \| 0 \|$", page, re.MULTILINE))
    for case in CASES:
        assert listed.get(case.name) == str(case.fault.times)


@pytest.mark.soak
def test_many_faults_at_once_over_many_calls_change_nothing(
    warehouse: Any,
    new_warehouse: Callable[..., Any],
    serve: Callable[..., Sandbox],
    source_of: Callable[..., Any],
) -> None:
    account = generated_account(events=5_000, seed=8, start=START, end=END)
    options = {"start": START, "end": END, "on_error": "keep", "window": 7_200}
    options["largest_load"] = 1_000
    undisturbed = new_warehouse("undisturbed")
    quiet = serve(account)
    undisturbed.load(lambda: source_of(quiet, **options))
    rules = [
        Fault(case.fault.kind, case.fault.value, probability=0.01, seed=number)
        for number, case in enumerate(CASES)
        if case.fault.kind not in ("oversize", "stall_body")
    ]
    sandbox = serve(account, faults=rules)
    for _ in range(60):
        report = warehouse.load(lambda: source_of(sandbox, **options))
        if not report.failures:
            break
    assert not report.failures
    assert sum(sandbox.fault_counts.values()) > 30
    assert warehouse.contents() == undisturbed.contents()
