"""How late events become visible, by the days that were read again. Pure.

Late events come in batches, so that days are the unit of chance: a bound over events says that it
holds in 95 of 100 cases, and held in 51 (a prototype on 300 made-up accounts); over days it holds.
A day counts once, whatever resources and ids of it were read: what comes late is in several. So
does an event: of a day and delay the resource with most late events counts, all its ids together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import comb

from ..events.lateness import BUCKET_DAYS, DELAYS, NONE
from ..windows import DAY, SECOND

LEVEL = 0.95
ENOUGH = 0.1
"""Share of days with later events that a recommendation puts up with."""
NEARLY_ALL = 0.999
"""Share of late events that a recommended overlap finds; a recheck finds the others."""
LONGEST = 90
"""Days that are recommended at most."""


@dataclass(frozen=True)
class Measurement:
    """A row of the table ``lateness``.

    Attributes:
        scope: Resource and id.
        day: The day, milliseconds since the epoch.
        age: Days from its end to the reading.
        bucket: How late the events came, see ``DELAYS``; ``NONE``: there were none.
        late_events: How many.
    """

    scope: tuple[str, str]
    day: int
    age: int
    bucket: str
    late_events: int


@dataclass(frozen=True)
class Summary:
    """What the readings together say.

    Attributes:
        days: Days read again which tell: they were first read within a day.
        late_events: Events that came late, each once. Where a day has different ones in several
            resources, as many as one of them returned: at least so many.
        by_bucket: Of them, by how late at most.
        none_later_than: Days after which none came; None where nothing was read again.
        days_that_tell: Days that were read at an age that can tell.
        told_within: The least of these ages, in days; None: there are none.
        bound: The share of days that have a later event, by that age, is at most this, at 95 %;
            1: not known.
        recommended: Value of ``recheck`` in days; None: too little was read again to say.
        overlap: Value of ``overlap`` in seconds that finds nearly all of the late events with the
            next load; None: there were none, or it would read over a day again each time.
    """

    days: int
    late_events: int
    by_bucket: dict[str, int]
    none_later_than: int | None
    days_that_tell: int
    bound: float
    recommended: int | None
    overlap: int | None = None
    told_within: int | None = None

    def __str__(self) -> str:
        if not self.days or self.none_later_than is None:
            return "no day was read again yet that had first been read within a day"
        later = f"{self.none_later_than} day{'s' if self.none_later_than > 1 else ''}"
        if not self.days_that_tell:
            return f"no event came later than {later}; no day is old enough to tell"
        days = f"{self.days_that_tell} day{'s' if self.days_that_tell > 1 else ''}"
        text = f"in {days} read again none had an event later than {later}"
        if self.bound < 0.5:
            text += f": at 95 %, at most 1 day in {int(1 / self.bound)} has one"
            text += f" within {self.told_within} days"
        return text


def summary(rows: Iterable[Measurement], days: int) -> Summary:
    """What the readings say together.

    Args:
        rows: The measurements.
        days: Up to which age days are read again, N.
    """
    rows = list(rows)
    of_scopes: dict[int, dict[tuple[str, str], int]] = {}
    latest: dict[int, float] = {}
    of_resources: dict[tuple[int, str], Counter[str]] = {}
    is_at_the_end = False
    for row in rows:
        day = row.day // DAY * DAY
        if row.day == day:  # Else it is a part of a day, which tells nothing of the others.
            ages = of_scopes.setdefault(day, {})
            ages[row.scope] = max(row.age, ages.get(row.scope, 0))
        if row.bucket == NONE or not row.late_events:
            continue
        resource, _ = row.scope
        of_resources.setdefault((day, row.bucket), Counter())[resource] += row.late_events
        latest[day] = max(BUCKET_DAYS[row.bucket], latest.get(day, 0))
        is_at_the_end = is_at_the_end or row.age >= days
    by_bucket: Counter[str] = Counter()
    for (_, bucket), counts in of_resources.items():
        by_bucket[bucket] += max(counts.values())
    # By the scope that was read the least: the others say nothing of it.
    oldest = {day: min(ages.values()) for day, ages in of_scopes.items()}
    in_order = {name: by_bucket[name] for name in BUCKET_DAYS if name in by_bucket}
    if not oldest:
        return Summary(0, sum(by_bucket.values()), in_order, None, 0, 1.0, None)

    def old_enough(delay: float) -> list[int]:
        """Days that were read when an event later than so many days could be there."""
        return [d for d, age in oldest.items() if age > delay and age >= min(2 * delay, days)]

    def tell(delay: float) -> tuple[int, int]:
        """Days with an event later than so many days, of those that were read late enough."""
        old = old_enough(delay)
        return sum(latest.get(day, 0) > delay for day in old), len(old)

    most = max(latest.values(), default=0.0)
    none_later = next(d for d in (1, 2, 4, 8, 16, 32, 64) if d >= most)
    telling = [oldest[day] for day in old_enough(none_later)]
    enough = next(
        (d for d in (1, 2, 4, 8, 16, 32) if upper_share(*tell(d)) <= ENOUGH and 2 * d <= days), None
    )
    recommended: int | None = None
    if most:
        recommended = max(round(2 * max(most, 1)), enough or 1) * (2 if is_at_the_end else 1)
    elif enough is not None:
        recommended = enough
    return Summary(
        len(oldest),
        sum(by_bucket.values()),
        in_order,
        none_later,
        len(telling),
        upper_share(0, len(telling)),
        None if recommended is None else min(recommended, LONGEST),
        _overlap(by_bucket),
        min(telling, default=None),
    )


def _overlap(by_bucket: Mapping[str, int]) -> int | None:
    """The end of the least bucket up to which nearly all late events are, in seconds."""
    total, so_far = sum(by_bucket.values()), 0
    for name, most in DELAYS:
        so_far += by_bucket.get(name, 0)
        if total and so_far >= NEARLY_ALL * total:
            return most // SECOND if most <= DAY else None
    return None


def upper_share(found: int, trials: int, level: float = LEVEL) -> float:
    """Clopper and Pearson's upper bound of a share; of none in n about 3/n.

    >>> [round(upper_share(*one), 3) for one in ((0, 30), (1, 30), (5, 100), (0, 0), (3, 3))]
    [0.095, 0.149, 0.103, 1.0, 1.0]
    """
    if found >= trials:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        share = (low + high) / 2
        at_most = sum(
            comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(found + 1)
        )
        low, high = (share, high) if at_most > 1 - level else (low, share)
    return high
