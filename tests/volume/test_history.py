"""How far back events are found."""

from __future__ import annotations

import bisect
import random

import pytest

from np6_source.volume.history import found_back_to
from np6_source.windows import DAY, Window

NOW = 1_760_000_000_000


def search(moments: list[int]) -> tuple[int | None, int]:
    asked = 0

    def first(window: Window) -> int | None:
        nonlocal asked
        asked += 1
        place = bisect.bisect_left(moments, window.start)
        return moments[place] if place < len(moments) and moments[place] < window.end else None

    return found_back_to(NOW, first), asked


@pytest.mark.parametrize("days", [2, 40, 365, 2_000])
@pytest.mark.parametrize("a_day", [4, 400])
def test_it_is_found_within_days_and_few_requests(days: int, a_day: int) -> None:
    dice = random.Random(days)
    moments = sorted(NOW - dice.randrange(days * DAY) for _ in range(days * a_day))
    oldest, asked = search(moments)
    assert oldest is not None
    assert moments[0] <= oldest <= moments[0] + max(DAY, days * DAY // 16)
    assert asked < 45


def test_an_account_without_events_has_no_history() -> None:
    oldest, asked = search([])
    assert oldest is None
    assert asked < 6
