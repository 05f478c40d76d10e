"""Alarms, on the ledgers of made-up accounts: none where all is well, and one for every trouble.

An account has nights, weekends, growth, newsletters, mailings and quiet holidays; its ledger is as
a schedule of the connector writes it, with the overlap in every window.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pytest

from np6_source.alarms import LOOKS_BACK_MS, Alarm, alarms, loaded, types_of_week, unknown
from np6_source.schema import LOAD_WINDOWS
from np6_source.windows import SECOND, to_datetime, to_ms

HOUR, DAY, WEEK = 3_600, 86_400, 604_800
BEGIN = 1_772_409_600  # A Monday of 2026, midnight UTC.
ALL, REACTIONS = "actions_events", "actions_reactivities"
STEP = 300


@dataclass
class MadeUp:
    """An account of some weeks, in events per five minutes.

    Attributes:
        sends: Executions.
        reactions: Other events.
    """

    sends: list[int]
    reactions: list[int]


def made_up(seed: int, weeks: int = 6, a_day: float | None = None) -> MadeUp:
    """An account on a seed: 200 to 200,000 events a day, growing or shrinking."""
    rng = random.Random(seed)
    daily = a_day or 10 ** rng.uniform(math.log10(200), math.log10(200_000))
    steps = weeks * WEEK // STEP
    weekend, growth = rng.uniform(0.3, 1.0), rng.uniform(0.7, 1.8)
    holidays = rng.sample(range(14, 7 * weeks), 2)
    level = []
    for step in range(steps):
        hour, day = step * STEP // HOUR % 24, step * STEP // DAY
        usual = 0.15 + 0.85 * max(0.0, math.sin((hour - 5) / 19 * math.pi))
        usual *= weekend if day % 7 >= 5 else 1.0
        usual *= 0.5 if day in holidays else 1.0
        level.append(usual * growth ** (step / steps))
    scale = daily * weeks * 7 / sum(level)
    share = rng.uniform(0.2, 0.6)
    sends = [scale * share * one for one in level]
    reactions = [scale * (1 - share) * one for one in level]
    for _ in range(rng.randrange(1, 20) * weeks // 4):
        at, lasts = rng.randrange(steps), rng.randrange(1, 18)
        size = daily * (rng.paretovariate(1.5) - 1) * 0.3
        for step in range(at, min(steps, at + lasts)):
            sends[step] += size / lasts
        for step in range(at, min(steps, at + 1000)):
            reactions[step] += 0.4 * size * math.exp(-(step - at) / 140) / 140
    return MadeUp([poisson(rng, one) for one in sends], [poisson(rng, one) for one in reactions])


def poisson(rng: random.Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    count, rest = 0, rng.random()
    while rest > math.exp(-mean):
        count, rest = count + 1, rest * rng.random()
    return count


@dataclass
class Ledger:
    """What a schedule writes into ``load_windows``.

    Attributes:
        rows: The rows.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, resource: str, start: int, end: int, at: int, n: int, /, **values: Any
    ) -> dict[str, Any]:
        row = {
            "resource": resource,
            "scope_id": "",
            "window_start": to_datetime(start * SECOND),
            "window_end": to_datetime(end * SECOND),
            "requested_at": to_datetime(at * SECOND),
            "event_count": n,
            "distinct_count": n,
            "purpose": "load",
            "unmapped_paths": "{}",
            "type_counts": "{}",
            "_dlt_load_id": str(at),
        } | values
        self.rows.append(row)
        return row

    def table(self) -> pa.Table:
        return pa.Table.from_pylist(self.rows, schema=LOAD_WINDOWS.arrow_schema)


TTrouble = Callable[[str, int, int, int], tuple[int, int] | None]
"""Resource, time, sends and reactions of a window; what the response has of them, None: no row."""

LADDER = (1, 2, 4, 8, 14)


def as_it_is(resource: str, at: int, sends: int, reactions: int) -> tuple[int, int]:
    """No trouble."""
    return sends, reactions


@dataclass(frozen=True)
class Later:
    """What a second reading shows beside the first.

    Attributes:
        late: Reactions of each five minutes that come after the first reading, before the next
            night.
        erased: By day, the night from which on NP6 lacks so many of its reactions.
    """

    late: list[int]
    erased: dict[int, tuple[int, int]] = field(default_factory=dict)


def a_little_later(account: MadeUp, seed: int) -> Later:
    """Up to 1 % of the events are late, in some nights more; a person is erased now and then."""
    rng = random.Random(seed)
    usual = rng.uniform(0, 0.005)
    days = range(len(account.reactions) * STEP // DAY)
    shares = [usual * rng.uniform(0, 2) for _ in days]
    late = [
        min(count, poisson(rng, count * shares[step * STEP // DAY]))
        for step, count in enumerate(account.reactions)
    ]
    erased = {day: (day + rng.randrange(2, 15), rng.randrange(1, 5)) for day in days if not day % 9}
    return Later(late, erased)


def ledger(
    account: MadeUp,
    every: int = HOUR,
    trouble: TTrouble = as_it_is,
    twice_from: float = math.inf,
    later: Later | None = None,
) -> Ledger:
    """The ledger of a schedule over an account, which reads days again each night.

    Rows are cut as the connector cuts them: where the progress was, and at midnights.
    """
    made, overlap, settle = Ledger(), 600, STEP
    steps = len(account.sends)
    later = later or Later([0] * steps)
    sends, reactions, late = (
        [0, *accumulate(counts)] for counts in (account.sends, account.reactions, later.late)
    )
    until: dict[str, int] = {}
    last_night = -1

    def there(resource: str, start: int, end: int) -> tuple[int, int]:
        first, last = start // STEP, end // STEP
        of_sends = sends[last] - sends[first] if resource == ALL else 0
        return of_sends, reactions[last] - reactions[first]

    def read_first(resource: str, run: int) -> None:
        end, before = run - settle, until.get(resource, 0)
        edges = {max(0, before - overlap), before, end}
        edges |= set(range((before // DAY + 1) * DAY, end, DAY))
        spans = list(itertools.pairwise(sorted(edges)))
        parts = []
        for start, last in spans:
            of_sends, others = there(resource, start, last)
            if start >= before:
                others = max(0, others - late[last // STEP] + late[start // STEP])
            parts.append((of_sends, others))
        found = trouble(resource, run, sum(p[0] for p in parts), sum(p[1] for p in parts))
        if found is None:
            return
        until[resource] = end
        counts = zip(
            *(shared(n, [p[kind] for p in parts]) for kind, n in enumerate(found)), strict=True
        )
        for (start, last), (of_sends, others) in zip(spans, counts, strict=True):
            n = of_sends + others
            made.add(
                *(resource, BEGIN + start, BEGIN + last, BEGIN + run),
                n * 2 if run > twice_from else n,
                distinct_count=n,
                byte_count=100 if start == spans[0][0] else 0,
                request_id=f"{resource} {run}",
                type_counts=json.dumps({"execution": of_sends, "hit": others}),
            )

    def read_again(resource: str, run: int, day: int, age: int) -> None:
        start = day * DAY
        found = trouble(resource, run, *there(resource, start, start + DAY))
        if start < 0 or until.get(resource, 0) < start + DAY or found is None:
            return
        night, count = later.erased.get(day, (math.inf, 0))
        n = sum(found) - (count if day + age >= night else 0)
        new = late[(start + DAY) // STEP] - late[start // STEP]
        made.add(
            *(resource, BEGIN + start, BEGIN + start + DAY, BEGIN + run + 60, n),
            purpose="recheck",
            new_count=new if age == 1 else 0,
            byte_count=100,
            request_id=f"{resource} {run} {age}",
            type_counts=json.dumps({"execution": found[0], "hit": n - found[0]}),
            _dlt_load_id=f"again {run}",
        )

    for run in range(every, steps * STEP + 1, every):
        for resource in (ALL, REACTIONS):
            read_first(resource, run)
        night = run // DAY
        if night > last_night and run % DAY >= min(3 * HOUR, every):
            last_night = night
            for resource, age in itertools.product((ALL, REACTIONS), LADDER):
                read_again(resource, run, night - 1 - age, age)
    return made


def shared(total: int, parts: list[int]) -> list[int]:
    """A number in whole parts, in proportion."""
    sums = [0, *accumulate(parts)]
    cuts = [round(total * one / sums[-1]) if sums[-1] else 0 for one in sums]
    return [last - first for first, last in itertools.pairwise(cuts)]


def evaluated(made: Ledger, times: Iterable[int]) -> Iterable[tuple[int, tuple[Alarm, ...]]]:
    """Alarms at moments, of the rows that a run would read then: see ``LOOKS_BACK_MS``."""
    made.rows.sort(key=lambda row: row["requested_at"])
    moments = [to_ms(row["requested_at"]) for row in made.rows]
    table = made.table()
    for at in times:
        now = (BEGIN + at) * SECOND
        last = bisect.bisect_right(moments, now)
        first = bisect.bisect_left(moments, moments[last - 1] - LOOKS_BACK_MS)
        yield at, alarms(table.slice(first, last - first), now)


def healthy(seed: int, every_evaluation: int) -> list[tuple[int, Alarm]]:
    """Alarms that a healthy account sets off."""
    every = random.Random(seed).choice((900, HOUR, HOUR, HOUR, 6 * HOUR, DAY))
    account = made_up(seed)
    made = ledger(account, every, later=a_little_later(account, seed))
    times = range(2 * WEEK + 120, 6 * WEEK, every_evaluation)
    return [(at, alarm) for at, found in evaluated(made, times) for alarm in found]


@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_account_sets_off_nothing(seed: int) -> None:
    assert healthy(seed, 29 * HOUR + 1234) == []


@pytest.mark.parametrize("seed", [4, 21])
def test_a_first_load_of_a_month_sets_off_nothing_at_any_hour(seed: int) -> None:
    """Its windows are days; of the last day little has passed."""
    account = made_up(seed, a_day=60)
    for hour in (1, 5, 9, 13):
        made, until = Ledger(), 5 * WEEK + hour * HOUR
        midnight = until // DAY * DAY
        for start, end in itertools.pairwise([*range(midnight - 30 * DAY, until, DAY), until]):
            first, last = start // STEP, end // STEP
            sends, others = sum(account.sends[first:last]), sum(account.reactions[first:last])
            types = json.dumps({"execution": sends, "hit": others})
            for resource, n in ((ALL, sends + others), (REACTIONS, others)):
                at = BEGIN + until + 30
                made.add(resource, BEGIN + start, BEGIN + end, at, n, type_counts=types)
        assert list(evaluated(made, [until + 60])) == [(until + 60, ())]


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(1000, 1100))
def test_a_hundred_healthy_accounts_set_off_nothing(seed: int) -> None:
    assert healthy(seed, 5 * HOUR + 777) == []


def only_mailings(seed: int, weeks: int = 8) -> Ledger:
    """Reactions, by the hour, to 2 to 6 mailings a week at any hour, and nothing else."""
    rng = random.Random(seed)
    hours = weeks * WEEK // HOUR
    a_week, usual, night = rng.uniform(2, 6), 10 ** rng.uniform(2, 5), rng.uniform(0.1, 1)
    soon, long, share = rng.uniform(5, 42), rng.uniform(50, 170), rng.uniform(0, 0.4)
    level = [0.0] * hours
    for _ in range(round(a_week * weeks)):
        at, size = rng.randrange(hours), usual * rng.paretovariate(1.5) ** 0.7
        for hour in range(at, min(hours, at + 700)):
            of_soon, of_long = (math.exp(-(hour - at) / mean) / mean for mean in (soon, long))
            level[hour] += size * ((1 - share) * of_soon + share * of_long)
    made = Ledger()
    for hour, one in enumerate(level):
        day = max(0.0, math.sin((hour % 24 - 5) / 19 * math.pi))
        start = BEGIN + hour * HOUR
        n = poisson(rng, one * (night + (1 - night) * day))
        made.add(REACTIONS, start, start + HOUR, start + HOUR + 60, n)
    return made


def low_of_mailings(seed: int, hours: Iterable[int]) -> list[int]:
    """In which of the hours ``low`` is on for an account of nothing but mailings."""
    times = (hour * HOUR + 120 for hour in hours)
    return [
        at // HOUR
        for at, found in evaluated(only_mailings(seed), times)
        if any(alarm.rule == "low" for alarm in found)
    ]


@pytest.mark.parametrize(("seed", "lull"), [(6, 1232), (8, 700), (9, 774), (11, 784)])
def test_a_lull_between_mailings_at_any_hour_is_not_low(seed: int, lull: int) -> None:
    """Under a third of the lowest of four weeks, each: so long had no lull been."""
    assert low_of_mailings(seed, [lull - 3, lull]) == []


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(3000, 3020))
def test_no_lull_between_mailings_of_many_accounts_is_low(seed: int) -> None:
    assert low_of_mailings(seed, range(3 * 168, 8 * 168, 6)) == []


def newsletter(sent: Iterable[int], until: int) -> Ledger:
    """Reactions, by 6 hours, to newsletters at the given hours, and nothing else."""
    moments, made = sorted(sent), Ledger()
    for hour in range(0, until, 6):
        ages = [hour - at for at in moments if at <= hour]
        n = round(sum(40_000 * math.exp(-age / 24) for age in ages))
        start = BEGIN + hour * HOUR
        made.add(REACTIONS, start, start + 6 * HOUR, start + 6 * HOUR + 60, n)
    return made


def test_a_newsletter_that_pauses_for_a_week_is_no_trouble_and_one_that_stops_is() -> None:
    """Its reactions run out before nothing comes any more; in an outage they end at once."""
    mondays = [9 + 168 * week for week in range(8) if week != 6]
    times = [hour * HOUR + 120 for hour in range(5 * 168, 7 * 168, 6)]
    assert [one for one in evaluated(newsletter(mondays, 8 * 168), times) if one[1]] == []
    made = newsletter(mondays, 8 * 168)
    stops = BEGIN + (5 * 168 + 60) * HOUR
    for row in made.rows:
        if to_ms(row["window_start"]) >= stops * SECOND:
            row["event_count"] = row["distinct_count"] = 0
    ((_, found),) = evaluated(made, [stops - BEGIN + 24 * HOUR + 120])
    assert [alarm.rule for alarm in found] == ["no news"]


def office(holiday: int, empty_from: float = math.inf) -> Ledger:
    """Messages on working days from 7 to 19, hardly any on Sundays; reactions at all hours.

    Args:
        holiday: A day without a message.
        empty_from: The hour from which on every response is empty.
    """
    made = Ledger()
    for hour in range(7 * 168):
        day, start = hour // 24, BEGIN + hour * HOUR
        is_busy = 7 <= hour % 24 < 19 and day % 7 < 5
        sends = 0 if day == holiday else 300 if is_busy else 3 * (9 <= hour % 24 < 21)
        n = sends + 20 + hour % 7 + 80 * is_busy * (day != holiday)
        if hour >= empty_from:
            sends = n = 0
        types = json.dumps({"execution": sends, "hit": n - sends})
        made.add(ALL, start, start + HOUR, start + HOUR + 60, n, type_counts=types)
    return made


def test_a_holiday_is_like_a_sunday_and_an_outage_is_not() -> None:
    holiday = 5 * 7 + 2
    times = [hour * HOUR + 120 for hour in range(5 * 168, 6 * 168, 3)]
    assert [one for one in evaluated(office(holiday), times) if one[1]] == []
    stops = holiday * 24 + 10
    looks = evaluated(office(0, stops), [(stops + 24) * HOUR + 120])
    assert {alarm.rule for _, found in looks for alarm in found} >= {"no news"}


BEGINS = 5 * WEEK + 10 * HOUR
"""When troubles begin: on a Monday morning."""


def none_after(*resources: str) -> TTrouble:
    """No window is completed any more."""
    return lambda resource, at, sends, reactions: (
        None if at > BEGINS and resource in resources else (sends, reactions)
    )


def part_after(resources: tuple[str, ...], of_sends: float, of_reactions: float) -> TTrouble:
    """Responses have a part of their events only."""
    return lambda resource, at, sends, reactions: (
        (round(sends * of_sends), round(reactions * of_reactions))
        if at > BEGINS and resource in resources
        else (sends, reactions)
    )


def capped_after(limit: int) -> TTrouble:
    """Responses end after so many rows."""

    def trouble(resource: str, at: int, sends: int, reactions: int) -> tuple[int, int]:
        if at <= BEGINS or sends + reactions <= limit:
            return sends, reactions
        kept = round(sends * limit / (sends + reactions))
        return kept, limit - kept

    return trouble


@dataclass(frozen=True)
class Trouble:
    """A trouble, and the rule that is to find it.

    Attributes:
        rule: The rule.
        resource: The resource that it names.
        of: What the responses have.
        hours: In how many hours at most.
        twice: Whether every response has each event twice.
        late: Share of the reactions that come hours later.
    """

    rule: str
    resource: str
    of: TTrouble
    hours: int = 24
    twice: bool = False
    late: float = 0.0


TROUBLES = {
    "no run": Trouble("lag", ALL, none_after(ALL, REACTIONS), 4),
    "progress stuck": Trouble("lag", REACTIONS, none_after(REACTIONS), 4),
    "every response empty": Trouble("no news", ALL, part_after((ALL, REACTIONS), 0, 0)),
    "reactivities empty": Trouble("no news", REACTIONS, part_after((REACTIONS,), 0, 0)),
    "sends missing": Trouble("no news", ALL, part_after((ALL,), 0, 1)),
    "six of seven gone": Trouble("low", ALL, part_after((ALL,), 1 / 7, 1 / 7), 48),
    "rows capped": Trouble("capped", ALL, capped_after(150), 48),
    "everything twice": Trouble("repeats", ALL, as_it_is, 24, twice=True),
    # Both are seen by reading again only. Fewer events are in the ledger where they were accepted.
    "a tenth missing": Trouble("fewer on re-reading", ALL, part_after((ALL,), 0.9, 0.9), 24),
    "a quarter late": Trouble("late", ALL, as_it_is, 72, late=0.25),
}


def found_after(trouble: Trouble, seed: int, looks: Iterable[int]) -> int | None:
    """Hours until the trouble is found; None: it is not. Nothing is on before it begins.

    Args:
        trouble: The trouble.
        seed: Of the account.
        looks: After how many hours the alarms are asked for.
    """
    account = made_up(seed, a_day=random.Random(seed).uniform(8_000, 60_000))
    later = a_little_later(account, seed)
    if trouble.late:
        begins = BEGINS // STEP
        much = [round(trouble.late * count) for count in account.reactions[begins:]]
        later = replace(later, late=later.late[:begins] + much)
    made = ledger(account, HOUR, trouble.of, BEGINS if trouble.twice else math.inf, later)
    assert [alarm for _, found in evaluated(made, [BEGINS]) for alarm in found] == []
    for at, found in evaluated(made, (BEGINS + hour * HOUR + 120 for hour in looks)):
        if any((a.rule, a.resource) == (trouble.rule, trouble.resource) for a in found):
            return (at - BEGINS) // HOUR
    return None


@pytest.mark.parametrize("name", TROUBLES)
def test_a_trouble_is_found(name: str) -> None:
    trouble = TROUBLES[name]
    assert found_after(trouble, seed=3, looks=[trouble.hours]) is not None


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(2000, 2010))
@pytest.mark.parametrize("name", TROUBLES)
def test_troubles_of_many_accounts_are_found(name: str, seed: int) -> None:
    trouble = TROUBLES[name]
    assert found_after(trouble, seed, range(2, trouble.hours + 1, 2)) is not None


class TestWhatRowsSay:
    """Figures of the ledger beside alarms."""

    NOW = BEGIN + 3 * DAY

    @pytest.fixture
    def made(self) -> Ledger:
        """An hourly schedule of one resource: an event a minute, 10 minutes read again."""
        made = Ledger()
        for run in range(BEGIN + HOUR, self.NOW + 1, HOUR):
            start = max(BEGIN, run - HOUR - 600)
            n = (run - start) // 60
            types = json.dumps({"execution": n})
            made.add(ALL, start, run, run, n, byte_count=1000, type_counts=types)
        return made

    def test_what_the_overlap_reads_again_does_not_count_twice(self, made: Ledger) -> None:
        (of_all,) = loaded(made.table(), self.NOW * SECOND)
        assert (of_all.events, of_all.bytes) == (60, 1000)
        assert (of_all.events_of_week, of_all.bytes_of_week) == (72 * 60, 72_000)
        assert of_all.last_run == self.NOW * SECOND
        assert types_of_week(made.table(), self.NOW * SECOND) == {"execution": 72 * 60}

    def test_repeats_are_not_known_where_no_row_has_them(self, made: Ledger) -> None:
        for row in made.rows:
            row["distinct_count"] = None
        (of_all,) = loaded(made.table(), self.NOW * SECOND)
        assert of_all.repeats_of_week is None
        assert alarms(made.table(), self.NOW * SECOND) == ()

    def test_a_type_and_a_path_never_seen_are_a_warning_for_a_day(self, made: Ledger) -> None:
        made.rows[-1] |= {
            "type_counts": json.dumps({"hit": 3, "dismiss": 2}),
            "unmapped_paths": json.dumps({"source.mood": 5}),
        }
        first, second = alarms(made.table(), self.NOW * SECOND)
        assert {first.rule, second.rule} == {"unknown"}
        assert {first.severity, second.severity} == {"warning"}
        assert "'dismiss'" in first.what + second.what
        assert "'source.mood'" in first.what + second.what
        later = (self.NOW + DAY + HOUR) * SECOND
        named = {(one.kind, one.name, one.is_new) for one in unknown(made.table(), later)}
        assert named == {("type", "dismiss", False), ("path", "source.mood", False)}
        assert "unknown" not in {alarm.rule for alarm in alarms(made.table(), later)}

    def test_a_schedule_that_stopped_weeks_ago_is_still_an_alarm(self, made: Ledger) -> None:
        (alarm,) = alarms(made.table(), (self.NOW + 30 * DAY) * SECOND)
        assert (alarm.rule, alarm.severity) == ("lag", "error")
        assert "30 days ago; it is loaded every 60 min" in alarm.what

    def test_backfills_are_no_schedule(self, made: Ledger) -> None:
        for row in made.rows:
            row["purpose"] = "backfill"
        assert alarms(made.table(), (self.NOW + 30 * DAY) * SECOND) == ()

    def test_ids_that_are_asked_for_no_more_are_a_warning(self, made: Ledger) -> None:
        for row in made.rows:
            row |= {"resource": "action_events_bounces", "scope_id": "000PE4"}
        (alarm,) = alarms(made.table(), (self.NOW + DAY) * SECOND)
        assert (alarm.rule, alarm.severity) == ("lag of ids", "warning")

    def test_a_limit_shows_on_the_first_day(self, made: Ledger) -> None:
        for row in made.rows[-6:]:
            row["event_count"] = row["distinct_count"] = 250
        (alarm,) = alarms(made.table(), self.NOW * SECOND)
        assert (alarm.rule, alarm.severity) == ("capped", "error")
        assert "6 windows of the last 48 hours have exactly 250 events" in alarm.what

    def test_requests_after_the_moment_are_not_looked_at(self, made: Ledger) -> None:
        before = alarms(made.table(), self.NOW * SECOND)
        made.add(ALL, BEGIN, self.NOW, self.NOW + HOUR, 5, type_counts='{"dismiss": 5}')
        assert alarms(made.table(), self.NOW * SECOND) == before == ()

    def test_a_request_of_this_very_moment_is_looked_at(self, made: Ledger) -> None:
        moment = self.NOW * SECOND + 700
        row = made.add(ALL, BEGIN, self.NOW, self.NOW, 5, type_counts='{"dismiss": 5}')
        row["requested_at"] = to_datetime(moment)
        (alarm,) = alarms(made.table(), moment)
        assert alarm.rule == "unknown"

    def test_a_class_of_robots_is_read_beside_the_others(self, made: Ledger) -> None:
        for row in list(made.rows):
            made.rows.append(
                row | {"classification": "mpp", "event_count": row["event_count"] // 2}
            )
        (of_all,) = loaded(made.table(), self.NOW * SECOND)
        assert of_all.events == 60 + 30


UNEVEN = sum(hour % 7 for hour in range(24))
"""What the hours of a day have beside the even share."""


class TestDaysReadAgain:
    """An hourly schedule that reads yesterday again each night, for two weeks."""

    DAYS = 14
    A_DAY = 24 * 98 + UNEVEN

    def made(self, late: dict[int, int], fewer: dict[int, int], rechecks: bool = True) -> Ledger:
        """Late and missing events by day; each day's own night finds them."""
        made = Ledger()
        for day in range(self.DAYS + 1):
            # The night after the last day as well, up to when the alarms are asked.
            for hour in range(24 if day < self.DAYS else 4):
                start = BEGIN + day * DAY + hour * HOUR
                # No hour is as the one before: equal counts look like a limit of rows.
                n = (self.A_DAY - UNEVEN - late.get(day, 0)) // 24 + hour % 7
                made.add(ALL, start - 600, start, start + HOUR + 60, 10, purpose="load")
                made.add(ALL, start, start + HOUR, start + HOUR + 60, n, byte_count=0)
            if not 1 <= day < self.DAYS or not rechecks:
                continue
            start = BEGIN + (day - 1) * DAY
            n = self.A_DAY - fewer.get(day - 1, 0)
            at = start + 2 * DAY + 3 * HOUR
            new = late.get(day - 1, 0)
            # A large day is read in two windows.
            for half in (0, 1):
                begin = start + half * DAY // 2
                made.add(
                    ALL,
                    begin,
                    begin + DAY // 2,
                    at + half,
                    n // 2,
                    purpose="recheck",
                    new_count=new // 2,
                    _dlt_load_id=f"again {day}",
                )
        return made

    def rules(self, made: Ledger, day: int | None = None) -> list[str]:
        at = BEGIN + (self.DAYS if day is None else day) * DAY + 4 * HOUR
        return [alarm.rule for alarm in alarms(made.table(), at * SECOND)]

    def test_nothing_is_on_where_they_are_as_they_were(self) -> None:
        assert self.rules(self.made({}, {})) == []

    def test_a_little_lateness_is_usual(self) -> None:
        usual = dict.fromkeys(range(self.DAYS), 24)
        assert self.rules(self.made(usual, {})) == []
        # Much, where it always is much.
        assert self.rules(self.made(dict.fromkeys(range(self.DAYS), 240), {})) == []

    def test_a_share_that_comes_late_is_a_warning(self) -> None:
        last = self.DAYS - 2
        made = self.made({**dict.fromkeys(range(self.DAYS), 24), last: 600}, {})
        assert self.rules(made) == ["late"]
        (alarm,) = alarms(made.table(), (BEGIN + self.DAYS * DAY + 4 * HOUR) * SECOND)
        assert f"600 of {self.A_DAY:,} events" in alarm.what
        assert "usually 1.0% do" in alarm.what
        assert self.rules(self.made({last: 600}, {}, rechecks=False)) == []

    def test_fewer_events_that_were_accepted_are_an_error_until_the_next_recheck(self) -> None:
        made = self.made({}, {self.DAYS - 2: 240})
        assert self.rules(made) == ["fewer on re-reading"]
        (alarm,) = alarms(made.table(), (BEGIN + self.DAYS * DAY + 4 * HOUR) * SECOND)
        assert f"240 of {self.A_DAY:,} events fewer" in alarm.what
        assert self.rules(self.made({}, {self.DAYS - 3: 240})) == []
        assert self.rules(self.made({}, {self.DAYS - 2: 8})) == []


def test_a_cap_is_found_in_rows_that_are_cut() -> None:
    made = Ledger()
    for hour in range(60):
        start = BEGIN + hour * HOUR
        at, n = start + HOUR + 60, 150 if hour > 40 else 100 + hour % 7
        made.add(ALL, start - 600, start, at, 20, byte_count=9_000, request_id=f"r{hour}")
        made.add(ALL, start, start + HOUR, at, n - 20, byte_count=0, request_id=f"r{hour}")
    found = alarms(made.table(), (BEGIN + 60 * HOUR + 120) * SECOND)
    assert [alarm.rule for alarm in found] == ["capped"]
    assert "150 events" in found[0].what
