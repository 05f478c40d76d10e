"""What a probe finds out, against a server with a knob for each open question: no false verdict."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest

from np6_source.assumptions.control import Asking
from np6_source.assumptions.facts import (
    Asked,
    BudgetUsedUp,
    Refused,
    Response,
    Seen,
    Verdict,
    seen,
)
from np6_source.assumptions.probe import probe
from np6_source.assumptions.question import Known
from np6_source.assumptions.questions import ALL
from tests.assumptions.server import NOW, Knobs, Server

NAMES = [one.name for one in ALL if one.name not in ("visible", "final", "late")]
UNDER_SELECTION = {
    "filter", "bounds", "precision", "numbers", "offset", "naive", "reactivity-end", "identity",
    "cap", "sort",
}  # fmt: skip

CASES: dict[str, tuple[Knobs, set[str]]] = {
    "as assumed": (Knobs(), set()),
    "whole seconds only": (Knobs(whole_seconds=True), set()),
    "start exclusive": (Knobs(start="exclusive"), {"bounds", "precision"}),
    "end inclusive": (Knobs(end="inclusive"), {"bounds", "precision"}),
    "cut to the second": (Knobs(cut=1000), {"precision"}),
    "cut up to the second": (Knobs(cut=1000, cut_up=True), {"precision"}),
    "cut to the minute": (Knobs(cut=60_000), {"bounds", "precision"}),
    "numbers are seconds": (Knobs(numbers="s"), {"numbers"}),
    "numbers refused": (Knobs(numbers="refused"), {"numbers"}),
    "numbers ignored": (Knobs(numbers="ignored"), {"numbers"}),
    "offsets refused": (Knobs(offsets="refused"), {"offset"}),
    "offsets ignored": (Knobs(offsets="ignored"), {"offset"}),
    "naive is Paris": (Knobs(naive="paris"), {"naive"}),
    "sort ignored": (Knobs(sort="ignored"), {"sort"}),
    "always ascending": (Knobs(sort="ascending"), {"sort"}),
    "selected by stamp": (Knobs(selection="stamp"), UNDER_SELECTION),
    "end bounds activations": (Knobs(reactivity_end="activations"), {"reactivity-end"}),
    "no sends": (Knobs(sends=False), {"sends"}),
    "no cancellations": (Knobs(lacking=("cancellation",)), {"sends"}),
    "activations alone": (Knobs(lacking=("execution", "cancellation")), {"sends"}),
    "other ids": (Knobs(identity="ids"), {"identity"}),
    "other timestamps": (Knobs(identity="timestamps"), {"identity"}),
    "other content": (Knobs(identity="content"), {"identity"}),
    "capped": (Knobs(cap=500), {"cap"}),
    "capped with a header": (Knobs(cap=500, cap_header=True), {"cap"}),
    "types left out": (Knobs(types=False), {"type"}),
    "own stamps": (Knobs(stamps="own"), {"stamps"}),
    "unknown ids are empty": (Knobs(unknown=200), {"unknown-id"}),
    "unknown ids are 400": (Knobs(unknown=400), {"unknown-id"}),
    "titled are 404": (Knobs(titled=404), {"unconfirmed"}),
    "titled are 403": (Knobs(titled=403), set()),
    "empty is 204": (Knobs(empty="204"), {"empty"}),
    "empty is nothing": (Knobs(empty="nothing"), {"empty"}),
    "empty is 404": (Knobs(empty="404"), set()),
    "repeats": (Knobs(repeats=0.02), {"once"}),
    "requests fail": (Knobs(failing=0.02), set()),
    "another spelling": (Knobs(robots_parameter="classifications"), {"classification"}),
    "no parameter for robots": (Knobs(robots_parameter="none"), set()),
    "a class returns all": (Knobs(classified="all"), {"classification"}),
    "robots come without": (Knobs(plain_robots=True), {"classification"}),
    "mixed without robots": (Knobs(mixed_robots=False), {"mixed-robots"}),
    "no robots": (Knobs(robots=False), set()),
    "unknown values are taken": (Knobs(sort_checked=False), {"refused"}),
    "no Date": (Knobs(date=None), {"date"}),
    "five minutes ahead": (Knobs(date=300), {"date"}),
    "five minutes behind": (Knobs(date=-300), {"date"}),
    "Reset is a moment": (Knobs(reset="epoch"), set()),
    "Reset is a moment in ms": (Knobs(reset="ms"), set()),
    "Reset is a date": (Knobs(reset="date"), set()),
    "Reset is a moment in microseconds": (Knobs(reset="microseconds"), set()),
    "Reset is text": (Knobs(reset="text"), {"rate-limit"}),
    "Reset is of another time": (Knobs(reset="long ago"), {"rate-limit"}),
    "no rate limit": (Knobs(reset=None), set()),
    "no gzip": (Knobs(gzip=False), {"gzip"}),
    "campaigns take hits only": (Knobs(campaign="hits"), {"campaign-body"}),
    "campaigns need items": (Knobs(campaign="items"), {"campaign-body"}),
    "campaigns take no body": (Knobs(campaign="none"), set()),
    "bounds act on the stamp, too": (Knobs(selection="either"), UNDER_SELECTION),
    "start ignored": (Knobs(ignored="start"), UNDER_SELECTION),
    "end ignored": (Knobs(ignored="end"), UNDER_SELECTION),
    "offsets are not read": (Knobs(offsets="unreadable"), {"offset"}),
    "naive bounds are not read": (Knobs(naive="unreadable"), {"naive"}),
    "types left out of contacts' events": (Knobs(contact_types=False), {"type"}),
    "each class returns all robots": (Knobs(all_robots=True), {"classification"}),
    "an unknown type returns nothing": (Knobs(campaign="empty"), {"campaign-body"}),
    "other ids in single-type operations": (Knobs(own_ids=True), set()),
    "a day without a start": (Knobs(default_days=1), {"default-span"}),
    "a week without a start": (Knobs(default_days=7), {"default-span"}),
}
"""Other sides of the questions, and which verdicts may be "contradicted" there."""

UNSTABLE = {"flapping": Knobs(flapping=0.1), "vanishing": Knobs(vanishing=True)}


def asked_all(server: Server, most_requests: int = 160) -> list[Verdict]:
    """Verdicts on every question there is."""
    return probe(server, NOW, (), most_requests, campaign_ids=["CAM"], is_wide=True)


def false_verdicts(case: str, seed: int) -> tuple[list[Verdict], Counter[str]]:
    """Verdicts that are false, and how often each question of the case was undecided."""
    knobs, other_side = CASES[case]
    verdicts = asked_all(Server(seed, knobs))
    wrong = []
    for one in verdicts:
        is_other = one.question in other_side
        holds = case in MAY_CONFIRM.get(one.question, ())
        if one.result == ("confirmed" if is_other and not holds else "contradicted"):
            wrong += [] if is_other and one.result == "contradicted" else [one]
    undecided = Counter(one.question for one in verdicts if one.result == "cannot tell")
    return wrong, undecided


MAY_CONFIRM = {
    # What holds all the same: the events of a window by stamp are ordered, whole and so on.
    "sort": (
        "selected by stamp",
        "bounds act on the stamp, too",
        "start ignored",
        "end ignored",
    ),
}


def false_ones(seed: int, cases: Iterable[str]) -> dict[str, list[Verdict]]:
    """False verdicts of an account, by case."""
    found = {case: false_verdicts(case, seed)[0] for case in cases}
    return {case: wrong for case, wrong in found.items() if wrong}


@pytest.mark.parametrize("seed", range(1_000, 1_020))
def test_no_verdict_is_false(seed: int) -> None:
    # Each case on four of the twenty accounts; `make soak` takes every case on 200.
    assert false_ones(seed, list(CASES)[seed % 5 :: 5]) == {}


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5_000, 5_200))
def test_no_verdict_is_false_on_200_seeds(seed: int) -> None:
    assert false_ones(seed, CASES) == {}


@pytest.mark.parametrize("case", [name for name, (_, sides) in CASES.items() if sides])
def test_the_other_side_is_found_in_a_large_account(case: str) -> None:
    knobs, other_side = CASES[case]
    # An account of 40 days shows a week; a larger one is made for four.
    per_day = 200 if "default-span" in other_side else 2_000
    verdicts = {one.question: one for one in asked_all(Server(7, knobs, per_day=per_day))}
    found = {name for name in other_side if verdicts[name].result == "contradicted"}
    assert found, {name: verdicts[name] for name in other_side}


def test_a_server_as_assumed_is_confirmed() -> None:
    server = Server(7, Knobs(), per_day=2_000)
    found = {one.question: one.result for one in asked_all(server)}
    # That no span is assumed shows in an account of over a month only.
    assert found == {**dict.fromkeys(NAMES, "confirmed"), "default-span": "cannot tell"}
    assert server.requests < 110
    old = Server(7, Knobs(), per_day=200)
    (verdict,) = probe(old, NOW, only=["default-span"], is_wide=True)
    assert verdict.result == "confirmed"


@pytest.mark.parametrize(
    "reset",
    [
        *("ms left", "ms left of a second", "minutes left", "length of the window"),
        *("begin of the window", "in Paris", "in Montreal"),
    ],
)
def test_a_reset_that_may_be_of_another_unit_or_zone_is_not_confirmed(reset: str) -> None:
    server = Server(7, Knobs(reset=reset), per_day=2_000)
    (verdict,) = probe(server, NOW, only=["rate-limit"])
    assert verdict.result == "cannot tell"


@pytest.mark.parametrize(
    ("knobs", "question"),
    [
        (Knobs(paths="any"), "unconfirmed"),
        (Knobs(off_dates=3), "date"),
        (Knobs(plain_mpp=True), "classification"),
        (Knobs(own_ids=True, mixed_robots=True), "mixed-robots"),
        (Knobs(cut=3_600_000), "filter"),
        (Knobs(cut=3_600_000), "numbers"),
    ],
)
def test_what_is_so_in_part_only_is_not_told(knobs: Knobs, question: str) -> None:
    verdicts = {one.question: one for one in asked_all(Server(7, knobs, per_day=2_000))}
    assert verdicts[question].result == "cannot tell", verdicts[question]


def test_a_value_that_only_empty_windows_take_is_refused() -> None:
    server = Server(7, Knobs(), per_day=2_000)

    def ask(asked: Asked) -> Response:
        return Response(200, ()) if (asked.start or "").startswith("2000") else server(asked)

    (verdict,) = probe(ask, NOW, only=["refused"])
    assert verdict.result == "confirmed"


def test_a_response_of_as_many_rows_as_a_cap_may_have_is_not_whole() -> None:
    # The older half of the window is empty: that the newer one is cut does not show.
    server = Server(7, Knobs(cap=1_000), per_day=2_000)
    verdicts = {one.question: one for one in asked_all(server)}
    assert verdicts["cap"].result != "confirmed"


@pytest.mark.parametrize("knobs", [Knobs(cap=500), Knobs(cap=1_037)])
def test_a_limit_of_rows_is_named(knobs: Knobs) -> None:
    (verdict,) = probe(Server(7, knobs, per_day=2_000), NOW, only=["cap"])
    assert verdict.setting == ("row_limit", knobs.cap)


def test_as_many_rows_and_as_many_bytes_name_no_limit_of_rows() -> None:
    (verdict,) = probe(Server(7, Knobs(cap=500, same_size=True), per_day=2_000), NOW, only=["cap"])
    assert (verdict.result, verdict.setting) == ("contradicted", None)


def test_windows_that_are_cut_at_some_days_name_no_limit_of_rows() -> None:
    (verdict,) = probe(Server(7, Knobs(most_days=3), per_day=200), NOW, only=["cap"])
    assert (verdict.result, verdict.setting) == ("contradicted", None)


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_bounds_that_are_cut_to_the_minute_do_not_hide_that_they_act_on_the_stamp(
    seed: int,
) -> None:
    server = Server(seed, Knobs(selection="either", cut=60_000), per_day=2_000)
    (verdict,) = probe(server, NOW, only=["filter"])
    assert verdict.result != "confirmed"


@pytest.mark.parametrize(("cut", "seconds"), [(1_000, 1.0), (60_000, 60.0)])
def test_bounds_are_widened_by_as_much_as_they_are_cut(cut: int, seconds: float) -> None:
    for only in ([], ["precision"]):
        verdicts = probe(Server(7, Knobs(cut=cut), per_day=2_000), NOW, only=only)
        settings = {one.setting for one in verdicts if one.question in ("bounds", "precision")}
        # Whether whole seconds are kept is not asked for in the second call.
        assert ("widen_bounds", seconds if not only else 60.0) in settings


def test_an_end_that_is_inside_asks_for_no_wider_bounds() -> None:
    (verdict,) = probe(Server(7, Knobs(end="inclusive"), per_day=2_000), NOW, only=["bounds"])
    assert (verdict.result, verdict.setting) == ("contradicted", None)


def test_operations_that_are_404_where_there_are_no_events_are_not_said_to_lack() -> None:
    server = Server(7, Knobs(empty="404", titled=404), per_day=2_000)
    (verdict,) = probe(server, NOW, only=["unconfirmed"])
    assert verdict.result == "cannot tell"


@pytest.mark.parametrize(("apart_ms", "result"), [(300, "contradicted"), (240_000, "cannot tell")])
def test_stamps_of_two_messages_of_a_contact_are_not_compared(apart_ms: int, result: str) -> None:
    """A contact may get several messages of an action within minutes."""

    def event(number: int, kind: str, part: str, ms: int) -> Seen:
        message = {"id": "A", "stamp": {"id": f"{kind}-{number}", "time": NOW + ms}}
        person = {"receiver": {"id": f"C{number}"}}
        content = {
            **{"id": f"{kind}-{number}", "type": kind, "timestamp": NOW + ms},
            "source": {"detail": {part: message | person}},
        }
        found = seen(content)
        assert found is not None
        return found

    asking = Asking(Server(7, Knobs()), 40, 40_000_000)
    for number in range(12):
        for one in (
            event(number, "execution", "execution", 0),
            event(number, "activation", "activation", apart_ms),
        ):
            asking.mixed[one.id] = one
    (question,) = (one for one in ALL if one.name == "stamps")
    verdict = question.rule(Known(asking, NOW, None, None), question)
    assert verdict.result == result


def test_empty_responses_of_an_outage_do_not_confirm_where_reactions_end() -> None:
    server = Server(7, Knobs(reactivity_end="activations"), per_day=2_000)
    asked_of_reactions: list[Asked] = []

    def ask(asked: Asked) -> Response:
        if asked.path != "/actions/reactivities":
            return server(asked)
        asked_of_reactions.append(asked)
        # The first is for the reactions that could come, the others are up to an earlier end.
        return server(asked) if len(asked_of_reactions) == 1 else Response(200, ())

    (verdict,) = probe(ask, NOW, only=["reactivity-end"])
    assert len(asked_of_reactions) == 4
    assert verdict.result == "cannot tell"


@pytest.mark.parametrize("name", UNSTABLE)
def test_responses_that_are_not_stable_prove_nothing(name: str) -> None:
    for seed in range(5):
        verdicts = probe(Server(seed, UNSTABLE[name], per_day=500), NOW)
        assert {one.result for one in verdicts} == {"cannot tell"}, seed
        assert all(one.evidence.startswith("responses are not stable: ") for one in verdicts)


@pytest.mark.parametrize("seed", range(8))
def test_empty_responses_of_an_outage_prove_nothing(seed: int) -> None:
    """Three in ten, in runs: a window may be empty as often as it is requested."""
    server, rng = Server(seed, Knobs(), per_day=2_000), random.Random(seed)
    lasts = 0

    def ask(asked: Asked) -> Response:
        nonlocal lasts
        response = server(asked)
        lasts = lasts - 1 if lasts else (4 if rng.random() < 0.1 else 0)
        return replace(response, events=()) if lasts and response.events else response

    assert [one for one in probe(ask, NOW) if one.result == "contradicted"] == []


def test_a_budget_ends_the_asking_and_keeps_what_was_found() -> None:
    server = Server(7, Knobs(), per_day=2_000)
    results = Counter(one.result for one in probe(server, NOW, most_requests=30))
    assert server.requests <= 30
    assert results["confirmed"] > 0
    assert results["cannot tell"] > 5


def test_only_some_questions() -> None:
    server = Server(7, Knobs(), per_day=2_000)
    (verdict,) = probe(server, NOW, only=["unknown-id"])
    assert (verdict.question, verdict.result) == ("unknown-id", "confirmed")
    assert server.requests < 25


@pytest.mark.parametrize("status", [None, 403, 404, 500])
def test_an_api_that_does_not_answer_shows_nothing(status: int | None) -> None:
    verdicts = probe(lambda asked: Response(status, None), NOW)
    told = {one.question for one in verdicts if one.result != "cannot tell"}
    assert told <= {"unknown-id", "unconfirmed"}


def test_a_refused_key_ends_it_at_once() -> None:
    asked: list[Asked] = []

    def ask(one: Asked) -> Response:
        asked.append(one)
        raise Refused("key refused (401)")

    verdicts = probe(ask, NOW)
    assert len(asked) == 1
    assert {one.evidence for one in verdicts} == {"key refused (401)"}
    assert not issubclass(Refused, BudgetUsedUp)
