"""How many events a period has, estimated from small windows."""

from __future__ import annotations

import bisect
import random
from contextlib import closing
from datetime import datetime, timedelta, timezone
from statistics import median

import pytest

from np6_source.sandbox import generated_account
from np6_source.sandbox.query import EventQuery
from np6_source.volume.estimate import (
    FEW,
    NORMAL,
    PRECISE,
    QUICK,
    Effort,
    Estimate,
    estimate,
    of_ids,
)
from np6_source.volume.sample import Sample, SampledEvent, sampled_event
from np6_source.windows import DAY, SECOND, Window, to_ms
from tests.volume.accounts import BurstyAccount

OF_ACTIONS = EventQuery(channels=("email", "sms"))
MONTH = Window(1_700_000_000_000, 1_700_000_000_000 + 30 * DAY)

YEAR = Window(1_730_000_000_000, 1_730_000_000_000 + 365 * DAY)


class Listed:
    """An account whose events are given."""

    def __init__(self, events: list[SampledEvent]) -> None:
        self.events = sorted(events, key=lambda event: event.timestamp)
        self.moments = [event.timestamp for event in self.events]
        self.requests = 0
        self.read = 0

    def sample(self, window: Window, most_events: int) -> Sample:
        self.requests += 1
        first = bisect.bisect_left(self.moments, window.start)
        inside = self.events[first : bisect.bisect_left(self.moments, window.end)]
        self.read += min(len(inside), most_events)
        return Sample(window, tuple(inside[:most_events]), len(inside) <= most_events)


def plain(count: int, start: int, step: int, is_send: bool = False) -> list[SampledEvent]:
    return [SampledEvent(start + n * step, is_send, None, 1_000) for n in range(count)]


def of_mailings_without_reactions(seed: int) -> list[SampledEvent]:
    """Mailings of a year, some over in a minute: executions, activations, and a few bounces."""
    rng = random.Random(seed)
    found = []
    for _ in range(rng.randrange(20, 60)):
        start = YEAR.start + int(rng.random() * (YEAR.width - DAY))
        lasts = rng.choice((60, 3_600)) * SECOND
        for _ in range(rng.randrange(300, 2_000)):
            stamp = start + int(rng.random() * lasts)
            sent = stamp + rng.randrange(1_000, 20_000)
            found += [SampledEvent(one, True, stamp, 700) for one in (stamp + 100, sent)]
            if rng.random() < 0.03:
                found.append(SampledEvent(sent + rng.randrange(60) * SECOND, False, stamp, 700))
    return found


def of_triggers(seed: int) -> list[SampledEvent]:
    """12,000 messages, one at a time by day; one in ten is opened, six to 13 times in some days."""
    rng = random.Random(seed)
    found = []
    for _ in range(12_000):
        day = YEAR.start + rng.randrange(350) * DAY
        stamp = day + DAY // 3 + int(rng.random() * DAY / 2)
        found += [SampledEvent(stamp + after, True, stamp, 700) for after in (100, 5_000)]
        if rng.random() < 0.1:
            for _ in range(rng.randrange(6, 14)):
                after = 6_000 + int(rng.expovariate(1 / (4 * DAY)))
                found.append(SampledEvent(stamp + after, False, stamp, 700))
    return found


def held(seeds: range, effort: Effort) -> tuple[int, float]:
    """In how many made-up accounts the truth is in the range; the median of estimate / truth."""
    inside, shares = 0, []
    for seed in seeds:
        account = BurstyAccount(seed)
        found = estimate(account.period, account.sample, effort, random.Random(seed + 1))
        inside += found.events.low <= account.truth <= found.events.high
        shares.append(found.events.likely / account.truth)
    return inside, median(shares)


class TestRanges:
    def test_hold_the_truth_in_bursty_accounts(self) -> None:
        inside, share = held(range(50_000, 50_012), NORMAL)
        assert inside >= 11
        # Without the sends that no window knows of, it is 0.8.
        assert 0.9 <= share <= 1.25

    @pytest.mark.parametrize("seed", [0, 1])
    def test_hold_the_truth_where_sends_spread_evenly(self, seed: int) -> None:
        """Messages that something triggers; who reacts does so several times, over days."""
        account = Listed(of_triggers(seed))
        found = estimate(YEAR, account.sample, NORMAL, random.Random(seed)).events
        truth = len(account.events)
        assert found.low <= truth <= found.high
        assert 0.75 * truth <= found.likely <= 1.33 * truth

    @pytest.mark.parametrize(
        ("seed", "effort"), [(0, QUICK), (1, QUICK), (9, QUICK), (4, PRECISE), (6, PRECISE)]
    )
    def test_hold_the_truth_where_hardly_anyone_reacts(self, seed: int, effort: Effort) -> None:
        """SMS without links: no reaction says later where sends were."""
        account = Listed(of_mailings_without_reactions(seed))
        found = estimate(YEAR, account.sample, effort, random.Random(seed))
        assert not found.is_counted
        assert found.events.low <= len(account.events) <= found.events.high

    @pytest.mark.soak
    @pytest.mark.parametrize("effort", [QUICK, NORMAL, PRECISE])
    def test_hold_the_truth_in_19_of_20(self, effort: Effort) -> None:
        inside, _ = held(range(60_000, 60_200), effort)
        assert inside >= 190 - 6  # Two standard deviations.

    @pytest.mark.soak
    @pytest.mark.parametrize("effort", [QUICK, NORMAL, PRECISE])
    def test_hold_the_truth_of_mailings_that_are_over_in_seconds(self, effort: Effort) -> None:
        """The sandbox's mailings, in accounts that end at any moment of the day."""
        inside = 0
        for seed in range(61_000, 61_060):
            dice = random.Random(seed)
            end = datetime(2026, 10, 1, tzinfo=timezone.utc) + timedelta(
                minutes=dice.randrange(72_000)
            )
            days, events = dice.choice((20, 30, 60, 90)), dice.choice((30_000, 60_000, 100_000))
            with closing(
                generated_account(
                    events,
                    seed=seed,
                    start=end - timedelta(days=days),
                    end=end,
                    unequal_mailings=seed % 2 > 0,
                )
            ) as made_up:
                found = [sampled_event(one, 1_000, None) for one in made_up.events(OF_ACTIONS)]
            account = Listed([one for one in found if one is not None])
            period = Window(to_ms(end) - days * DAY, to_ms(end))
            told = estimate(period, account.sample, effort, random.Random(seed + 1)).events
            inside += told.low <= len(account.events) <= told.high
        assert inside >= 57 - 3  # Two standard deviations.

    def test_are_narrower_than_what_evenly_spread_windows_allow(self) -> None:
        account = BurstyAccount(50_100)
        found = estimate(account.period, account.sample, NORMAL, random.Random(1))
        assert found.events.high < 10 * found.events.low
        assert account.requests < 400

    def test_of_a_mailing_that_is_published_within_a_second(self) -> None:
        mailing = MONTH.start + 12 * DAY
        sends = [SampledEvent(mailing + n % 700, True, mailing - 1, 700) for n in range(3_000)]
        hits = [
            SampledEvent(mailing + n * DAY // 200, False, mailing - 1, 1_000) for n in range(900)
        ]
        others = plain(26_000, MONTH.start, 30 * DAY // 26_000)
        account = Listed(sends + hits + others)
        found = estimate(MONTH, account.sample, NORMAL, random.Random(3))
        assert found.events.low <= len(account.events) <= found.events.high
        assert found.events.low > 26_000


class TestFewMailings:
    @pytest.mark.parametrize("effort", [QUICK, NORMAL])
    @pytest.mark.parametrize("day", [20, 300, 362])
    def test_are_not_missed(self, day: int, effort: Effort) -> None:
        """One mailing in a year; most of its reactions come within a day."""
        rng, mailing = random.Random(day), YEAR.start + day * DAY
        found = []
        for _ in range(12_000):
            stamp = mailing + int(rng.random() * 600) * SECOND
            found += [SampledEvent(stamp + after, True, stamp, 700) for after in (100, 5_000)]
            after = 6_000 + int(rng.expovariate(6 / DAY))
            found.append(SampledEvent(stamp + after, False, stamp, 900))
        for has_sends in (True, False):
            account = Listed([one for one in found if has_sends or not one.is_send])
            told = estimate(YEAR, account.sample, effort, random.Random(day), has_sends)
            inside = sum(YEAR.start <= moment < YEAR.end for moment in account.moments)
            assert told.events.low <= inside <= told.events.high
            assert told.is_counted or (told.is_of_few and told.events.low > 2_000)
            assert account.requests < 400


class TestFewEvents:
    def test_are_counted(self) -> None:
        account = Listed(plain(900, MONTH.start + DAY, 50 * SECOND))
        found = estimate(MONTH, account.sample, NORMAL, random.Random(1))
        assert (found.is_counted, found.events.low, found.events.high) == (True, 900, 900)
        assert found.bytes.likely == 900_000
        assert account.requests < 40

    def test_no_events_are_none(self) -> None:
        found = estimate(MONTH, Listed([]).sample, NORMAL, random.Random(1))
        assert (found.is_counted, found.events.high) == (True, 0)

    def test_a_mailing_that_no_window_met_ends_the_counting(self) -> None:
        """Few at first sight, and a burst of three times what is counted."""
        account = Listed(plain(3 * FEW, MONTH.start + 7 * DAY, 1, is_send=True))
        found = estimate(MONTH, account.sample, QUICK, random.Random(1))
        assert not found.is_counted
        assert account.read < 4 * FEW


class TestIds:
    def test_all_of_few_are_counted(self) -> None:
        some = [Sample(MONTH, tuple(plain(n, MONTH.start, SECOND)), is_whole=True) for n in (3, 5)]
        found = of_ids(MONTH, some, 2)
        assert (found.is_counted, found.events.low, found.events.high) == (True, 8, 8)

    def test_some_of_many_give_a_wide_range(self) -> None:
        some = [Sample(MONTH, tuple(plain(n, MONTH.start, SECOND)), is_whole=True) for n in (3, 5)]
        found: Estimate = of_ids(MONTH, some, 100)
        assert not found.is_counted
        assert found.events.low < 400 == found.events.likely < found.events.high

    def test_none_are_no_events(self) -> None:
        assert of_ids(MONTH, [], 0).events.high == 0


@pytest.mark.parametrize("element", [None, [], {}, {"timestamp": "x"}, {"timestamp": True}])
def test_what_is_no_event_counts_for_nothing(element: object) -> None:
    assert sampled_event(element, 10, None) is None


def test_the_stamp_of_an_execution_or_an_activation_is_taken() -> None:
    for part in ("execution", "activation"):
        source = {"detail": {part: {"stamp": {"time": 5}}}}
        found = sampled_event({"timestamp": 7, "source": source}, 10, "hit")
        assert found == SampledEvent(7, False, 5, 10)
