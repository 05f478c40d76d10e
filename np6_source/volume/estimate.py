"""How many events a period has, estimated from a few hundred small windows.

Most sends of an account fall into a few hours a month, which evenly spread windows miss. But a
reaction says when its message was made (``stamp.time``), and reactions spread over days. So

1. windows spread evenly over the period tell how many *late reactions* there are, and when sends
   were;
2. windows in those ten minutes tell how many sends, and reactions within minutes, they have;
3. the share of reactions whose ten minutes other windows name as well tells how many of the sends
   are in ten minutes that no window named.

The range comes from 300 bootstrap rounds over windows and draws.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ..windows import SECOND, Window
from .sample import Sample, SampledEvent

BIN = 600 * SECOND
"""Milliseconds within which the reactions' stamps are taken together."""
BESIDE = 0.15
"""Weight of a bin beside one that a stamp names: a mailing goes on for a while."""
POWER = 0.75
"""Bins are drawn in proportion to this power of their stamps."""
LEAST_COVERAGE = 0.15
LEAST_OF_SURVEY = 0.6
FEWEST_LATE = 60
"""Late reactions below which they do not tell where sends were: of SMS without links, say."""
STEADY = 0.6
"""Width of the range that even windows alone give, up to which they are believed."""
FEW_WINDOWS = 12
"""Windows with nearly all events below which these are of few mailings: others may be missed."""
WIDER = 1.5
"""By this factor at each end the range is wider then."""
SEEN_ONCE = 0.4
"""Share of the reactions whose send other windows know, below which the range begins with the
sends that were found."""
ENOUGH_LATE = 100
"""Reactions to sends of earlier parts of the period from which on these alone tell the coverage."""

ON_AVERAGE = 120
"""Events that a window should hold."""
READ_AT_MOST = 400
"""Events that are read of a response."""
LEAST_PARTS = 150
"""A window is at most this part of the period."""
LONGEST_IN_BIN = 30 * SECOND
ANYWHERE = 0.25
"""Share of the windows in a bin that are placed anywhere in it, not around a stamp."""
FEW = 20_000
"""Events up to which all are counted instead."""
MANY_EMPTY = 3
"""Of five windows: so many without events show that most of the period has none."""
SURVEYED_IN = 16
SURVEY_REQUESTS = 48
"""Windows in which such a period is looked through at first, and requests in all."""
FEW_OF_ALL = 8
"""The part of the period that mailings take at most which are few."""
COUNTED_IN = 12
"""Windows in which they are counted."""
ROUNDS = 300

READ_OF_A_SECOND = 4_000
"""Events that are read of a second which has very many."""

TSample = Callable[[Window, int], Sample]
"""Asks for a window and reads so many events at most."""

TCoverage = tuple[float, float]
"""Reactions of a window that other windows know the ten minutes of, and all that name any."""


@dataclass(frozen=True)
class Effort:
    """How many windows an estimate takes, and by how much its range is widened.

    Attributes:
        even: Windows spread evenly.
        sends: Windows where sends are thought to be.
        low: Factor of the low end.
        high: Factor of the high end.
    """

    even: int
    sends: int
    low: float
    high: float


QUICK = Effort(48, 48, 0.65, 1.8)
NORMAL = Effort(76, 80, 0.9, 1.3)
PRECISE = Effort(120, 100, 0.9, 1.3)


@dataclass(frozen=True)
class Range:
    """A figure that is not known exactly.

    Attributes:
        low: It is hardly less.
        likely: The best single figure.
        high: It is hardly more.
    """

    low: float
    likely: float
    high: float

    def times(self, factor: float) -> Range:
        """The range of a multiple."""
        return Range(self.low * factor, self.likely * factor, self.high * factor)


@dataclass(frozen=True)
class Density:
    """Where the events of a period are, as estimated.

    Attributes:
        period: The period.
        reactions: Reactions a millisecond in each of equal parts of the period.
        sends: Pairs of a bin's first millisecond and its sends.
        send_size: Mean bytes of a send's JSON.
        reaction_size: Mean bytes of a reaction's JSON.
    """

    period: Window
    reactions: tuple[float, ...]
    sends: tuple[tuple[int, float], ...]
    send_size: float
    reaction_size: float

    def times(self, factor: float) -> Density:
        """The density of so many times as many events."""
        return replace(
            self,
            reactions=tuple(one * factor for one in self.reactions),
            sends=tuple((moment, count * factor) for moment, count in self.sends),
        )


@dataclass(frozen=True)
class Estimate:
    """How many events a period has.

    Attributes:
        events: Their number.
        bytes: Bytes of their JSON.
        density: Where they are.
        is_counted: Whether all of them were read, so that the number is exact.
        is_of_few: Whether they are those of few mailings: the range is wider then.
    """

    events: Range
    bytes: Range
    density: Density
    is_counted: bool
    is_of_few: bool = False

    def wider(self, factor: float) -> Estimate:
        """The same with a range that is so many times as wide at each end."""
        each = (self.events, self.bytes)
        events, size = (Range(one.low / factor, one.likely, one.high * factor) for one in each)
        return replace(self, events=events, bytes=size)


def estimate(
    period: Window, sample: TSample, effort: Effort, rng: random.Random, has_sends: bool = True
) -> Estimate:
    """Estimates a period's events.

    Args:
        period: The period.
        sample: Asks for a window.
        effort: How many windows to ask for.
        rng: The random generator.
        has_sends: Whether the operation may return sends beside reactions.
    """
    width, first = _width([period], sample, rng)
    if sum(one.rate(one.events) for one in first) / len(first) * period.width < FEW:
        counted = _count(period, sample)
        if counted is not None:
            return counted
    survey = Survey((period,), (), (), 0)
    if sum(not one.events for one in first) >= MANY_EMPTY:
        survey = surveyed(period, sample)
        if not survey.full:
            return _all_counted(period, survey.counted)
        if survey.width * FEW_OF_ALL > period.width:
            survey = Survey((period,), (), (), 0)
        else:
            width, _ = _width(survey.full, sample, rng)
    full = survey.width
    windows = _even_windows(survey.full, effort.even, width, rng)
    even = [_look(window, sample, rng) for window in windows]
    stamps = [one.bins(period) for one in even]
    shown = survey.bins()
    weights = _within(survey.full, _weights([*stamps, shown])) if has_sends else {}
    moments = sorted(
        [
            event.stamped_at
            for one in even
            for event, _ in one.seen
            if not event.is_send and event.stamped_at is not None
        ]
        + [event.stamped_at for event in survey.named() if event.stamped_at is not None]
    )
    draws = _draws(weights, moments, period, effort.sends, width, sample, rng) if weights else []
    late = [one.bins(period, with_bursts=False) for one in even]
    coverage = _coverage(stamps, late, survey.full, period.end, shown)
    is_of_few = survey.full != (period,)
    of_time = 1.0 if is_of_few else min(1.0, sum(one.window.width for one in even) / full)
    is_told = _late_reactions(even) >= FEWEST_LATE
    # A survey leaves nothing out but mailings behind others.
    least_share = LEAST_OF_SURVEY if is_of_few else LEAST_COVERAGE
    share = _share(coverage) if is_told else _share_by_time(of_time, 0.5, least_share)
    # Each mailing is seen by one window then: how many none has seen, the reactions do not tell.
    is_seen_once = is_told and share < SEEN_ONCE
    share = math.sqrt(share) if is_seen_once else share
    # Where no reaction points to sends, only the even windows tell of them.
    rates = [one.rate(with_bursts=not weights) for one in even]
    likely = _total(full, rates, share, [value for _, value in draws])
    totals = sorted(
        _total(
            full,
            rng.choices(rates, k=len(rates)),
            _share(rng.choices(coverage, k=len(coverage)))
            ** (min(1.0, 1.5 * rng.random()) if is_seen_once else 1)
            if is_told
            else _share_by_time(of_time, rng.random(), least_share),
            rng.choices([value for _, value in draws], k=len(draws)) if draws else [],
        )
        for _ in range(ROUNDS)
    )
    low = totals[int(0.025 * ROUNDS)] * effort.low
    high = totals[int(0.975 * ROUNDS) - 1] * effort.high
    if not is_told or is_of_few:
        low, high = low / WIDER, high * WIDER
    if is_of_few:
        high *= WIDER
    if not weights and _windows_that_tell(rates) < FEW_WINDOWS:
        is_of_few = True
        low, high = low / WIDER, high * WIDER**2
    density = _density(period, even, draws, share, rates, weights, survey)
    steady = _steady_total(full, even, rng)
    if steady is not None and steady.likely > likely:
        density = density.times(steady.likely / likely) if likely else density
        likely, high = steady.likely, max(high, steady.high)
    exact, least = len(survey.counted), survey.least
    events = Range(
        max(min(low, likely), least) + exact,
        max(likely, least) + exact,
        max(high, likely, least) + exact,
    )
    likely = events.likely
    per_event = density_bytes(density) / max(1.0, likely)
    return Estimate(events, events.times(per_event), density, is_counted=False, is_of_few=is_of_few)


def of_ids(period: Window, some: Sequence[Sample], count: int) -> Estimate:
    """Estimates the events of many ids from those of a few.

    Ids differ by orders of magnitude, and few are looked at: the range is wide, unless all are.

    Args:
        period: The period.
        some: The events of some ids over the whole period, or the first of them.
        count: Ids in all.
    """
    least = [float(len(one.events)) for one in some]
    most = [one.rate(one.events) * period.width for one in some]
    others = count - len(some)
    likely = _mean([(low + high) / 2 for low, high in zip(least, most, strict=True)]) * count
    events = Range(
        sum(least) + others * min(least, default=0.0) / 2,
        likely,
        sum(most) + others * 2 * max(most, default=0.0),
    )
    mean = _mean([event.size for one in some for event in one.events])
    is_counted = not others and all(one.is_whole for one in some)
    density = Density(period, (likely / period.width,), (), mean, mean)
    return Estimate(events, events.times(mean), density, is_counted)


def density_bytes(density: Density) -> float:
    """Bytes of all events of a density."""
    part = density.period.width / max(1, len(density.reactions))
    reactions = sum(density.reactions) * part
    sends = sum(count for _, count in density.sends)
    return reactions * density.reaction_size + sends * density.send_size


@dataclass(frozen=True)
class Survey:
    """Where the events of a period are.

    Attributes:
        full: Windows with more events than are read of a response, in order.
        counted: All events of the other windows.
        heads: The first events of the full ones.
        least: How many events the full ones have at least.
    """

    full: tuple[Window, ...]
    counted: tuple[SampledEvent, ...]
    heads: tuple[SampledEvent, ...]
    least: int

    @property
    def width(self) -> int:
        """Milliseconds of the full windows."""
        return sum(window.width for window in self.full)

    def named(self) -> list[SampledEvent]:
        """The events that tell when sends were: sends themselves, too, where a window begins."""
        return [*self.heads, *(one for one in self.counted if not one.is_send)]

    def bins(self) -> dict[int, float]:
        """How many of these name each bin."""
        stamps = (one.stamped_at for one in self.named())
        return {bin_: float(n) for bin_, n in Counter(s // BIN for s in stamps if s).items()}


def surveyed(period: Window, sample: TSample) -> Survey:
    """Narrows a period of few mailings to where these are: most of it is empty.

    Evenly spread windows miss a mailing whose reactions come within days. Here no part of the
    period is left out: what has few events is counted. What has more begins with its first event,
    and what follows its first eighth is requested once more, of the widest first.
    """
    counted: list[SampledEvent] = []
    heads: list[SampledEvent] = []
    full: list[tuple[int, Window, int]] = []

    least = 0

    def look(window: Window) -> None:
        nonlocal least
        found = sample(window, READ_AT_MOST)
        if found.is_whole:
            counted.extend(found.events)
            return
        heads.extend(found.events)
        # The newest ones come once more with what is left of their window.
        least += len(found.events) if found.whole_from is None else 0
        moments = [one.timestamp for one in found.events]
        if found.is_ordered and moments and found.whole_from is None:
            window = Window(max(window.start, moments[0] // SECOND * SECOND), window.end)
        read_until = max(moments, default=window.start) // SECOND * SECOND + SECOND
        if found.whole_from is not None:
            read_until = window.start + SECOND
        heapq.heappush(full, (-window.width, window, read_until))

    for n in range(SURVEYED_IN):
        start = period.start + period.width * n // SURVEYED_IN
        end = period.start + period.width * (n + 1) // SURVEYED_IN
        if start < end:
            look(Window(start, end))
    for _ in range(SURVEY_REQUESTS - SURVEYED_IN):
        if not full or full[0][1].width < BIN:
            break
        _, widest, read_until = heapq.heappop(full)
        cut = max(read_until, (widest.start + widest.width // 8) // SECOND * SECOND)
        if cut >= widest.end:
            # No wider than what was read: it counts as narrow.
            heapq.heappush(full, (0, widest, read_until))
            continue
        head = Window(widest.start, cut)
        heapq.heappush(full, (-head.width, head, read_until))
        look(Window(cut, widest.end))
    windows = sorted((window for _, window, _ in full), key=lambda one: one.start)
    return Survey(tuple(windows), tuple(counted), tuple(heads), least)


def _windows_that_tell(rates: Sequence[float]) -> float:
    """How many equal windows would tell as much: one that has most of the events tells alone."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / squares if squares else 0.0


def _within(spans: Sequence[Window], weights: Mapping[int, float]) -> dict[int, float]:
    """The bins that lie in some windows, in part at least."""
    return {
        number: weight
        for number, weight in weights.items()
        if any(number * BIN < span.end and (number + 1) * BIN > span.start for span in spans)
    }


def _width(
    spans: Sequence[Window], sample: TSample, rng: random.Random
) -> tuple[int, list[Sample]]:
    """The width of windows that hold enough events, and the last windows that were requested."""
    widest = max(SECOND, sum(span.width for span in spans) // LEAST_PARTS)
    width = max(SECOND, min(widest, 60 * SECOND))
    while True:
        windows = _even_windows(spans, 5, width, rng)
        found = [sample(window, READ_AT_MOST) for window in windows]
        mean = sum(one.rate(one.events) for one in found) / len(found) * width
        if mean >= ON_AVERAGE or width >= widest:
            return width, found
        wanted = ON_AVERAGE / mean if mean else 16.0
        width = min(widest, int(width * min(16.0, max(2.0, wanted))))


def _even_windows(
    spans: Sequence[Window], count: int, width: int, rng: random.Random
) -> list[Window]:
    """A window at a random place of each of equal parts of all spans, one after the other."""
    found = []
    whole = sum(span.width for span in spans)
    for number in range(count):
        start, end = whole * number // count, whole * (number + 1) // count
        taken = max(1, min(width, end - start))
        span, place = _place(spans, start + int(rng.random() * (end - start - taken)))
        earliest = max(span.start, span.start + start - _before(spans, span))
        first = max(place // SECOND * SECOND, earliest)
        found.append(Window(first, max(first + 1, min(first + taken, span.end))))
    return found


def _place(spans: Sequence[Window], offset: int) -> tuple[Window, int]:
    """The span and the moment at so many milliseconds of all spans."""
    for span in spans:
        if offset < span.width:
            return span, span.start + offset
        offset -= span.width
    return spans[-1], spans[-1].end


def _before(spans: Sequence[Window], span: Window) -> int:
    """Milliseconds of the spans before one."""
    return sum(one.width for one in spans if one.start < span.start)


def _count(period: Window, sample: TSample) -> Estimate | None:
    """Counts all events; None where they are more than thought."""
    parts = [
        Window(
            period.start + period.width * n // COUNTED_IN,
            period.start + period.width * (n + 1) // COUNTED_IN,
        )
        for n in range(min(COUNTED_IN, period.width))
    ]
    found: list[Sample] = []
    for part in parts:
        found.append(sample(part, FEW - sum(len(one.events) for one in found)))
        if not found[-1].is_whole:
            return None
    return _all_counted(period, [event for one in found for event in one.events])


def _all_counted(period: Window, events: Sequence[SampledEvent]) -> Estimate:
    sizes = sum(event.size for event in events)
    mean = sizes / len(events) if events else 0.0
    part = period.width / COUNTED_IN
    held = Counter(int((event.timestamp - period.start) / part) for event in events)
    rates = tuple(held[n] / part for n in range(COUNTED_IN))
    density = Density(period, rates, (), mean, mean)
    exact = float(len(events))
    return Estimate(
        Range(exact, exact, exact), Range(sizes, sizes, sizes), density, is_counted=True
    )


def in_burst(event: SampledEvent) -> bool:
    """Whether an event is part of a mailing's burst: a send, or a reaction within minutes."""
    stamped_at = event.stamped_at
    return event.is_send or (stamped_at is not None and event.timestamp - stamped_at < BIN)


@dataclass(frozen=True)
class _Look:
    """What is known of an even window.

    Attributes:
        window: The window.
        seen: The events that were read, each with how many of the window it stands for.
    """

    window: Window
    seen: tuple[tuple[SampledEvent, float], ...]

    def rate(self, with_bursts: bool) -> float:
        """Late reactions a millisecond, or all events."""
        seen = (weight for event, weight in self.seen if with_bursts or not in_burst(event))
        return sum(seen) / self.window.width

    def bins(self, period: Window, with_bursts: bool = True) -> dict[int, float]:
        """How many of the window's reactions, or of its late ones, name each bin of the period."""
        found: dict[int, float] = {}
        for event, weight in self.seen:
            stamped_at = event.stamped_at
            if stamped_at is None or event.is_send or (not with_bursts and in_burst(event)):
                continue
            if period.start <= stamped_at < period.end:
                number = stamped_at // BIN
                found[number] = found.get(number, 0.0) + weight
        return found


def _look(window: Window, sample: TSample, rng: random.Random, deep: int = 2) -> _Look:
    """Reads a window's first events, and where there are more, some of the rest.

    What was read ends where the events are densest: it does not stand for the rest. A mailing may
    be published within a second, which is read to its end then.
    """
    first = sample(window, READ_AT_MOST)
    if first.is_whole or not first.is_ordered or not first.events or not deep:
        return _Look(window, tuple((one, window.width / first.covered) for one in first.events))
    if first.whole_from is not None:
        return _look_back(window, first, first.whole_from, sample, rng, deep)
    last = first.whole_until or first.events[-1].timestamp
    second = Window(max(window.start, last // SECOND * SECOND), last // SECOND * SECOND + SECOND)
    seen = [(one, 1.0) for one in first.events if one.timestamp < second.start]
    if first.events[len(first.events) // 2].timestamp >= second.start:
        dense = sample(second, READ_OF_A_SECOND)
        seen += [(one, second.width / dense.covered) for one in dense.events]
        beyond = second.end
    else:
        beyond = second.start
    rest = window.end - beyond
    if rest < SECOND:
        return _Look(window, tuple(seen))
    taken = max(SECOND, rest // 4)
    start = beyond + int(rng.random() * (rest - taken)) // SECOND * SECOND
    some = _look(Window(start, start + taken), sample, rng, deep - 1)
    seen += [(one, weight * rest / taken) for one, weight in some.seen]
    return _Look(window, tuple(seen))


def _look_back(
    window: Window, last: Sample, whole_from: int, sample: TSample, rng: random.Random, deep: int
) -> _Look:
    """As ``_look``, where the API has cut the response and keeps the newest events."""
    seen = [(one, 1.0) for one in last.events if one.timestamp >= whole_from]
    rest = whole_from - window.start
    if rest < SECOND:
        return _Look(window, tuple(seen))
    taken = max(SECOND, rest // 4)
    start = window.start + int(rng.random() * (rest - taken)) // SECOND * SECOND
    some = _look(Window(start, start + taken), sample, rng, deep - 1)
    seen += [(one, weight * rest / taken) for one, weight in some.seen]
    return _Look(window, tuple(seen))


def _weights(stamps: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """How likely sends are in a bin: by stamps that name it, or one beside it."""
    weights: dict[int, float] = {}
    for bins in stamps:
        for number, count in bins.items():
            for shift, share in ((-1, BESIDE), (0, 1.0), (1, BESIDE)):
                weights[number + shift] = weights.get(number + shift, 0.0) + share * count
    return weights


def _coverage(
    stamps: Sequence[Mapping[int, float]],
    late: Sequence[Mapping[int, float]],
    spans: Sequence[Window],
    end: int,
    shown: Collection[int],
) -> list[TCoverage]:
    """For each window, how many reactions name a bin that other windows name too, of how many.

    Most reactions come within hours: without the window that sees them, a bin is less known than it
    is with it. So those count that name a bin of an earlier part of the period than their window's,
    where there are enough of them; else those that came when the mailing was over.

    Args:
        stamps: How many of each window's reactions name each bin.
        late: The same of those that are part of no burst.
        spans: What the windows are spread over.
        end: End of the period.
        shown: Bins that a survey names.
    """
    near_shown = {number + shift for number in shown for shift in (-1, 0, 1)}
    named_by: Counter[int] = Counter(dict.fromkeys(near_shown, 2))
    for bins in stamps:
        near = {number + shift for number in bins for shift in (-1, 0, 1)}
        named_by.update(near)
    whole = sum(span.width for span in spans)
    of_earlier = [
        _known(bins, named_by, _place(spans, whole * part // len(stamps))[1])
        for part, bins in enumerate(stamps)
    ]
    if sum(count for _, count in of_earlier) >= ENOUGH_LATE:
        return of_earlier
    return [_known(bins, named_by, end) for bins in late]


def _steady_total(width: int, even: Sequence[_Look], rng: random.Random) -> Range | None:
    """All events as the even windows alone tell them; None: these differ much.

    Where sends spread evenly, people who react several times name the same few minutes from several
    windows, and more sends seem to be known than are.
    """
    rates = [one.rate(with_bursts=True) for one in even]
    totals = sorted(_total(width, rng.choices(rates, k=len(rates)), 1.0, []) for _ in range(ROUNDS))
    found = Range(
        totals[int(0.025 * ROUNDS)],
        _total(width, rates, 1.0, []),
        totals[int(0.975 * ROUNDS) - 1],
    )
    return found if found.high - found.low <= STEADY * found.likely else None


def _late_reactions(even: Sequence[_Look]) -> int:
    """Reactions that came when the mailing they follow was over."""
    return sum(not in_burst(event) for one in even for event, _ in one.seen)


def _known(bins: Mapping[int, float], named_by: Mapping[int, int], before: int) -> TCoverage:
    counted = {number: count for number, count in bins.items() if number * BIN < before}
    known = sum(count for number, count in counted.items() if named_by[number] > 1)
    return known, sum(counted.values())


def _draws(
    weights: Mapping[int, float],
    moments: Sequence[int],
    period: Window,
    count: int,
    width: int,
    sample: TSample,
    rng: random.Random,
) -> list[tuple[int, float]]:
    """Bins drawn by weight, each with its sends over the probability with which it was drawn.

    A mailing may be over within seconds: a window is placed around one of the bin's stamps, or, one
    time in four, anywhere in the bin. Each send counts for the inverse of its chance to be seen.
    """
    inside = {
        number: weight**POWER
        for number, weight in weights.items()
        if number * BIN < period.end and (number + 1) * BIN > period.start
    }
    numbers = sorted(inside)
    summed = list(itertools.accumulate(inside[number] for number in numbers))
    taken = max(SECOND, min(width // 6, LONGEST_IN_BIN) // SECOND * SECOND)
    found = []
    for _ in range(count):
        number = numbers[bisect.bisect_left(summed, rng.random() * summed[-1])]
        placement = _Placement.of(number, moments, period, taken)
        start = placement.drawn(rng)
        seen = _look(Window(start, start + taken), sample, rng)
        sends = sum(
            weight / placement.chance(event.timestamp)
            for event, weight in seen.seen
            if in_burst(event) and placement.start <= event.timestamp < placement.end
        )
        found.append((number, sends * summed[-1] / inside[number]))
    return found


@dataclass(frozen=True)
class _Placement:
    """Where in a bin a window is placed.

    Attributes:
        start: First millisecond of the bin.
        end: First millisecond after it.
        taken: Width of the window.
        stamps: The stamps in the bin, in order.
        sums: Their sums, from the first to each.
    """

    start: int
    end: int
    taken: int
    stamps: Sequence[int]
    sums: Sequence[int]

    @classmethod
    def of(cls, number: int, moments: Sequence[int], period: Window, taken: int) -> _Placement:
        start, end = max(number * BIN, period.start), min((number + 1) * BIN, period.end)
        first, last = bisect.bisect_left(moments, start), bisect.bisect_left(moments, end)
        stamps = moments[first:last]
        return cls(start, end, taken, stamps, [0, *itertools.accumulate(stamps)])

    def drawn(self, rng: random.Random) -> int:
        """Where a window begins."""
        back = int(rng.random() * self.taken)
        if self.stamps and rng.random() >= ANYWHERE:
            return rng.choice(self.stamps) - back
        return self.start + int(rng.random() * (self.end - self.start)) - back

    def chance(self, moment: int) -> float:
        """The probability that a window holds a moment of the bin."""
        ways = range(max(self.start, moment - self.taken), min(self.end, moment + self.taken))
        anywhere = (
            _triangle(ways.stop - moment, self.taken) + _triangle(moment - ways.start, self.taken)
        ) / (self.end - self.start)
        if not self.stamps:
            return anywhere
        stamps, sums = self.stamps, self.sums
        low = bisect.bisect_left(stamps, moment - self.taken)
        middle = bisect.bisect_left(stamps, moment)
        high = bisect.bisect_left(stamps, moment + self.taken)
        distance = (middle - low) * moment - (sums[middle] - sums[low])
        distance += (sums[high] - sums[middle]) - (high - middle) * moment
        near = (high - low - distance / self.taken) / len(stamps)
        return ANYWHERE * anywhere + (1 - ANYWHERE) * near


def _triangle(reach: int, taken: int) -> float:
    """The integral of ``1 - x / taken`` from 0 to ``reach``."""
    return reach - reach * reach / (2 * taken)


def _total(
    width: int,
    rates: Sequence[float],
    share: float,
    sends: Sequence[float],
) -> float:
    reactions = sum(rates) / len(rates) * width
    in_bins = sum(sends) / len(sends) if sends else 0.0
    return reactions + in_bins / share


def _share(coverage: Sequence[TCoverage]) -> float:
    known = sum(named for named, _ in coverage)
    return max(LEAST_COVERAGE, (known + 0.5) / (sum(total for _, total in coverage) + 1))


def _share_by_time(of_time: float, chance: float, least: float) -> float:
    """The share of the sends that is known where only windows in the midst of them tell.

    At most the share of the time that the windows take: of many events some are read.
    """
    low, high = sorted((least, of_time))
    return float(low * (high / low) ** chance)


def _density(
    period: Window,
    even: Sequence[_Look],
    draws: Sequence[tuple[int, float]],
    share: float,
    rates: Sequence[float],
    weights: dict[int, float],
    survey: Survey,
) -> Density:
    """Spreads the sends over the bins by their stamps."""
    events = [*survey.counted, *(event for one in even for event, _ in one.seen)]
    sizes = {
        is_send: _mean([event.size for event in events if event.is_send == is_send])
        for is_send in (False, True)
    }
    either = _mean([event.size for event in events])
    all_sends = _mean([value for _, value in draws]) / share if draws else 0.0
    inside = {n: w for n, w in weights.items() if period.start <= n * BIN < period.end}
    whole = sum(inside.values()) or 1.0
    # The rates are those of equal parts of the full windows.
    part = period.width / len(rates)
    held = [0.0] * len(rates)
    each = survey.width / len(rates)
    for one, rate in zip(even, rates, strict=True):
        held[min(len(held) - 1, int((one.window.start - period.start) / part))] += rate * each
    for event in survey.counted:
        held[min(len(held) - 1, int((event.timestamp - period.start) / part))] += 1
    return Density(
        period,
        tuple(count / part for count in held),
        tuple((n * BIN, all_sends * w / whole) for n, w in sorted(inside.items())),
        sizes[True] or either,
        sizes[False] or either,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
