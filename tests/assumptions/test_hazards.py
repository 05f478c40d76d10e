"""A probe of what misleads: cuts that nothing says, marks written late, events that come and go."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from np6_source.assumptions.control import Asking
from np6_source.assumptions.facts import EVENTS, Asked, Response, Seen, Verdict
from np6_source.assumptions.probe import probe
from np6_source.sandbox import Account, Variants
from tests.assumptions.hazards import Hazards, Spoilt, some_hazards
from tests.assumptions.sandboxed import Sandboxed, made_up
from tests.assumptions.server import Server
from tests.assumptions.test_probe import CASES, MAY_CONFIRM, asked_all


def false_verdicts(
    seed: int, case: str, hazards: Hazards, per_day: float | None = None
) -> list[Verdict]:
    """Verdicts that are false where an account behaves as a case says and is spoilt besides."""
    knobs, other_side = CASES[case]
    sides = other_side | hazards.other_sides()
    found = []
    for one in asked_all(
        Spoilt(Server(seed, knobs, per_day, in_bursts=seed % 2 > 0), hazards, seed)
    ):
        # A cap may lie above the largest response: then the verdict names its rows.
        may_hold = case in MAY_CONFIRM.get(one.question, ()) or one.question == "cap"
        is_false = {
            "contradicted": one.question not in sides,
            "confirmed": one.question in sides and not may_hold,
        }
        found += [one] if is_false.get(one.result) else []
    return found


def at_random(seed: int) -> tuple[str, Hazards]:
    """A case and hazards; every other account is as assumed but for these."""
    dice = random.Random(seed)
    case, hazards = dice.choice(list(CASES)), some_hazards(dice)
    return "as assumed" if seed % 4 < 2 or hazards.other_channels else case, hazards


@pytest.mark.parametrize("seed", range(30))
def test_no_verdict_is_false_under_hazards(seed: int) -> None:
    case, hazards = at_random(seed)
    assert false_verdicts(seed, case, hazards) == [], (case, hazards.changed())


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10_000, 11_000))
def test_no_verdict_is_false_under_hazards_of_many_accounts(seed: int) -> None:
    case, hazards = at_random(seed)
    assert false_verdicts(seed, case, hazards) == [], (case, hazards.changed())


@pytest.fixture(scope="module", params=[101, 107])
def mailing_account(request: pytest.FixtureRequest) -> Iterator[Account]:
    account = made_up(request.param, events=10_000, days=45)
    yield account
    account.close()


MOMENTS = {101: (1_744_151_734_140, 1_744_261_518_532), 107: (1_743_536_001_872,)}
"""Moments at which the hits of robots around a mailing were beyond the cap."""


@pytest.mark.parametrize("row_cap", [137, 250, 500])
def test_what_a_silent_cap_cut_is_not_taken_for_absent(
    mailing_account: Account, row_cap: int, request: pytest.FixtureRequest
) -> None:
    seed = request.node.callspec.params["mailing_account"]
    for now in MOMENTS[seed]:
        server = Sandboxed(mailing_account, Variants(row_cap=row_cap), now)
        verdicts = probe(server, now, most_requests=160)
        found = {one.question for one in verdicts if one.result == "contradicted"}
        assert found <= {"cap"}, (now, row_cap)
        assert any(one.result == "confirmed" for one in verdicts)


def test_a_response_of_nearly_as_many_bytes_as_the_largest_may_have_been_cut() -> None:
    def response(rows: int, byte_count: int) -> Response:
        events = tuple(Seen(f"{n}", n, None, None, None, None, None, None, {}) for n in range(rows))
        return Response(200, events, byte_count=byte_count)

    # The last of many rows, with the most bytes; one of fewer and larger events; one well below.
    there = [response(200, 100_000), response(120, 99_500), response(60, 60_000)]
    asking = Asking(lambda asked: there.pop(0), 100, 10**9)
    asked = Asked(EVENTS, None, None)
    found = [asking.once(asked) for _ in range(3)]
    assert [asking.is_all(asked, one) for one in found] == [False, False, True]
