"""Made-up accounts that send in bursts, answered lazily: what an estimate is judged by.

Written from what mailings are like, not from the estimate: sends spread evenly over minutes to
hours, sizes that differ by orders of magnitude, reactions within seconds to weeks, growth, nights.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from dataclasses import dataclass

from np6_source.volume.sample import Sample, SampledEvent
from np6_source.windows import DAY, SECOND, Window

HOUR = DAY // 24
DELAYS = ((0.06, 20.0 * SECOND), (0.44, 1.2 * HOUR), (0.32, 10.0 * HOUR), (0.18, 3.0 * DAY))
"""Shares of the reactions, and after how many milliseconds on average they come."""
PER_MESSAGE = 2
"""Sends of a message: an execution and an activation."""
BEFORE = 30 * DAY
"""Milliseconds before the period in which there were mailings, too."""


@dataclass(frozen=True)
class Mailing:
    """A mailing, its moments in milliseconds since the epoch."""

    start: float
    width: float
    messages: float
    reactions: float

    def reached(self, moment: float) -> float:
        """The share of its reactions that have come."""
        return sum(share * self._reached(moment - self.start, mean) for share, mean in DELAYS)

    def _reached(self, t: float, mean: float) -> float:
        if t <= 0:
            return 0.0
        if t < self.width:
            return (t - mean * (1 - math.exp(-t / mean))) / self.width
        return 1 - mean / self.width * (math.exp(-(t - self.width) / mean) - math.exp(-t / mean))

    def sent(self, start: float, end: float) -> float:
        """Its sends in a span."""
        inside = max(0.0, min(end, self.start + self.width) - max(start, self.start))
        return self.messages * PER_MESSAGE * inside / self.width


class BurstyAccount:
    """An account of 180 days.

    Attributes:
        period: The days.
        truth: Its events in them, as expected.
        requests: Windows that were asked for.
    """

    def __init__(self, seed: int, days: int = 180) -> None:
        dice = random.Random(seed)
        self._seed = seed
        end = 1_760_000_000_000
        self.period = Window(end - days * DAY, end)
        self.requests = 0
        per_day = math.exp(dice.uniform(math.log(300), math.log(300_000)))
        self._growth = dice.uniform(0.5, 3)
        in_mailings = dice.uniform(0.3, 0.9)
        a_month = math.exp(dice.uniform(0, math.log(25)))
        self._reactions = dice.uniform(0.15, 1.0)
        messages = per_day * days / (PER_MESSAGE + self._reactions)
        count = max(1, round(a_month * days / 30 * (days * DAY + BEFORE) / (days * DAY)))
        places = [dice.uniform(-BEFORE, days * DAY) for _ in range(count)]
        weights = [dice.lognormvariate(0, 1.3) * self._grown(place) for place in places]
        inside = sum(w for w, place in zip(weights, places, strict=True) if place >= 0) or 1.0
        self._mailings = []
        for weight, place in zip(weights, places, strict=True):
            size = messages * in_mailings * weight / inside
            start = place // DAY * DAY + int(dice.gauss(10, 3) % 24 * HOUR)
            a_minute = 10 ** dice.uniform(1.5, 3.5)
            width = min(max(60.0 * SECOND, size / a_minute * 60 * SECOND), 8.0 * HOUR)
            reactions = self._reactions * dice.uniform(0.5, 1.5)
            self._mailings.append(Mailing(self.period.start + start, width, size, reactions))
        self._background = messages * (1 - in_mailings) / (days * DAY)
        self._night = dice.uniform(0, 0.95)
        hours = (self.period.start + (n + 0.5) * HOUR for n in range(24 * days))
        self.truth = sum(map(self._base, hours)) * HOUR * (PER_MESSAGE + self._reactions)
        for one in self._mailings:
            self.truth += one.sent(self.period.start, self.period.end)
            came = one.reached(self.period.end) - one.reached(self.period.start)
            self.truth += one.messages * one.reactions * came

    def _grown(self, place: float) -> float:
        return 1 + (self._growth - 1) * max(0.0, place) / self.period.width

    def _base(self, moment: float) -> float:
        """Messages a millisecond outside of mailings."""
        hour = moment % DAY / DAY
        by_day = 1 - self._night * math.cos(2 * math.pi * (hour - 1 / 12))
        grown = self._grown(moment - self.period.start) / ((1 + self._growth) / 2)
        return self._background * grown * by_day

    def sample(self, window: Window, most_events: int) -> Sample:
        """The first events of a window; the same for the same window."""
        self.requests += 1
        dice = random.Random(f"{self._seed} {window.start} {window.end}")
        near = [
            one
            for one in self._mailings
            if window.start - BEFORE < one.start < window.end and one.messages
        ]
        found: list[SampledEvent] = []
        slices = 24
        for n in range(slices):
            start = window.start + window.width * n / slices
            end = window.start + window.width * (n + 1) / slices
            kinds = list(self._kinds(near, start, end))
            sums = list(itertools.accumulate(count for _, _, count in kinds))
            moment = start + dice.expovariate(sums[-1] / (end - start))
            while moment < end:
                place = min(bisect.bisect_left(sums, dice.random() * sums[-1]), len(kinds) - 1)
                is_send, mailing, _ = kinds[place]
                found.append(_event(dice, is_send, mailing, moment))
                if len(found) > most_events:
                    return Sample(window, tuple(found[:most_events]), is_whole=False)
                moment += dice.expovariate(sums[-1] / (end - start))
        return Sample(window, tuple(found), is_whole=True)

    def _kinds(
        self, near: list[Mailing], start: float, end: float
    ) -> list[tuple[bool, Mailing | None, float]]:
        base = self._base((start + end) / 2) * (end - start)
        kinds: list[tuple[bool, Mailing | None, float]] = [
            (True, None, base * PER_MESSAGE),
            (False, None, base * self._reactions),
        ]
        for one in near:
            kinds.append((True, one, one.sent(start, end)))
            came = one.reached(end) - one.reached(start)
            kinds.append((False, one, one.messages * one.reactions * max(0.0, came)))
        return kinds


def _event(
    dice: random.Random, is_send: bool, mailing: Mailing | None, moment: float
) -> SampledEvent:
    if is_send:
        return SampledEvent(int(moment), True, int(moment - dice.uniform(1, 20) * SECOND), 700)
    if mailing is None:
        (mean,) = dice.choices([mean for _, mean in DELAYS], [share for share, _ in DELAYS])
        return SampledEvent(int(moment), False, int(moment - dice.expovariate(1 / mean)), 1_100)
    since = max(1.0, moment - mailing.start)
    least = max(0.0, since - mailing.width)
    chances = [
        share * (math.exp(-least / mean) - math.exp(-since / mean)) for share, mean in DELAYS
    ]
    if sum(chances) <= 0:
        return SampledEvent(int(moment), False, int(mailing.start + mailing.width), 1_100)
    (mean,) = dice.choices([mean for _, mean in DELAYS], chances)
    low, high = math.exp(-least / mean), math.exp(-since / mean)
    delay = -mean * math.log(max(low - dice.random() * (low - high), 1e-300))
    return SampledEvent(int(moment), False, int(moment - min(max(delay, least), since)), 1_100)
