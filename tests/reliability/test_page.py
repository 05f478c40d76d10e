"""docs/reliability.md shows what was injected and what came of it, and nothing was lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.kinds import KINDS, Kind
from tests.reliability.page import table, written
from tests.reliability.playing import Tally
from tests.support import ROOT

RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "reliability.md"
RULES_OF_THE_TESTS_THAT_COUNT_OTHERWISE = {19, 21}
"""Lakes of years, and the counting of fields, are injected elsewhere."""


@pytest.fixture(scope="module")
def kept() -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = json.loads(RESULTS.read_text("utf-8"))
    return results


def test_the_page_is_made_from_the_kept_results(kept: list[dict[str, Any]]) -> None:
    page = PAGE.read_text("utf-8")
    assert written(page, kept) == page
    assert table(kept) in page


def test_every_kind_was_injected(kept: list[dict[str, Any]]) -> None:
    assert [row["kind"] for row in kept] == [kind.name for kind in KINDS]
    assert all(row["injected"] > 0 for row in kept)


def test_there_is_a_kind_for_every_promise() -> None:
    promised = set(range(1, 22)) - RULES_OF_THE_TESTS_THAT_COUNT_OTHERWISE
    assert {kind.rule for kind in KINDS} == promised


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_nothing_was_lost_and_every_call_said_what_it_should(
    kind: Kind, kept: list[dict[str, Any]]
) -> None:
    (row,) = (row for row in kept if row["kind"] == kind.name)
    assert _problems(row, kind) == []


def _problems(row: Mapping[str, Any], kind: Kind) -> list[str]:
    problems = [name for name in ("lost", "twice", "leaks") if row[name]]
    problems += [name for name in ("said", "whole") if row[name] != row["injected"]]
    allowed = {str(status) for status in kind.statuses}
    return problems + sorted(set(row["statuses"]) - allowed)


def test_whatever_goes_wrong_shows_in_what_is_kept() -> None:
    kind = KINDS[0]
    bad = Tally(injected=2, lost=1, twice=1, said=1, whole=1, leaks=1)
    bad.statuses[99] = 2
    expected = ["lost", "twice", "leaks", "said", "whole", "99"]
    assert _problems(bad.as_json(kind), kind) == expected
