from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pendulum
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from np6_source.windows import DAY, SECOND, Pace, Window, gaps, iso, merged, to_datetime, to_ms

BYTES = st.sampled_from([0, 1, 2, 3, 4, 5, 9, 16, 17, 100])
"""Answer sizes around a target of 16: small, a quarter of it and beside, at it, above."""
MOMENTS = st.integers(0, to_ms(datetime(2100, 1, 1)))
SMALL_WINDOWS = st.tuples(st.integers(0, 60), st.integers(1, 12)).map(
    lambda pair: Window(pair[0], pair[0] + pair[1])
)


def covered(windows: list[Window]) -> set[int]:
    return {instant for window in windows for instant in range(window.start, window.end)}


def answers(pace: Pace, start: int, end: int, sizes: list[int | None]) -> list[Window]:
    """The windows that complete a span, given the answers in turn: a size, None a refusal."""
    done = []
    position = start
    for size in sizes:
        if position >= end:
            break
        window = pace.next_window(position, end)
        if size is None and window.width > SECOND:
            pace = pace.refused(window)
            continue
        pace = pace.answered(window, size or 0)
        done.append(window)
        position = window.end
    while position < end:
        window = pace.next_window(position, end)
        pace = pace.answered(window, 0)
        done.append(window)
        position = window.end
    return done


class TestPace:
    @given(
        span=st.tuples(st.integers(0, 10**13), st.integers(1, 100 * SECOND)),
        width=st.integers(SECOND, 200 * SECOND),
        sizes=st.lists(st.none() | BYTES, max_size=60),
    )
    def test_windows_cover_a_span_exactly_whatever_the_responses(
        self, span: tuple[int, int], width: int, sizes: list[int | None]
    ) -> None:
        start, end = span[0], span[0] + span[1]

        done = answers(Pace(width, target_bytes=16), start, end, sizes)

        assert done[0].start == start
        assert done[-1].end == end
        for before, after in pairwise(done):
            assert before.end == after.start

    @given(start=st.integers(0, 10**13), width=st.integers(SECOND, DAY))
    def test_windows_are_cut_at_whole_seconds(self, start: int, width: int) -> None:
        window = Pace(width).next_window(start, start + 2 * DAY)

        assert window.start == start
        assert window.end % SECOND == 0
        assert window.end <= start + width

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            pytest.param(0, DAY, id="wider than the pace"),
            pytest.param(0, 7, id="narrower than the pace"),
            pytest.param(999, 1_000, id="a millisecond"),
        ],
    )
    def test_a_window_never_goes_beyond_the_span(self, start: int, end: int) -> None:
        assert Pace(DAY // 2).next_window(start, end).end == min(end, DAY // 2)

    @given(
        width=st.integers(SECOND, 400 * DAY),
        sizes=st.lists(st.none() | BYTES, max_size=40),
        widest=st.integers(SECOND, 400 * DAY),
    )
    def test_a_pace_is_never_narrower_than_a_second(
        self, width: int, sizes: list[int | None], widest: int
    ) -> None:
        pace = Pace(width, target_bytes=16, widest=widest)
        for size in sizes:
            window = pace.next_window(0, 10_000 * DAY)
            pace = pace.refused(window) if size is None else pace.answered(window, size)

            assert SECOND <= pace.width <= max(width, widest)

    @given(sizes=st.lists(st.none() | BYTES, max_size=30), start=st.integers(0, 10**13))
    def test_the_same_responses_give_the_same_windows(
        self, sizes: list[int | None], start: int
    ) -> None:
        pace, end = Pace(60 * SECOND, target_bytes=16), start + 300 * SECOND

        assert answers(pace, start, end, sizes) == answers(pace, start, end, sizes)

    @pytest.mark.parametrize("width", [DAY, 600 * SECOND, 90 * SECOND, 1_500], ids=str)
    @pytest.mark.parametrize("refusals", [1, 4, 8, 20])
    def test_it_widens_again_once_the_responses_are_small_again(
        self, width: int, refusals: int
    ) -> None:
        pace, start, end = Pace(width, target_bytes=16), 1_500, 10_000 * DAY
        for _ in range(refusals):
            pace = pace.refused(pace.next_window(start, end))

        for _ in range(20):
            window = pace.next_window(start, end)
            pace, start = pace.answered(window, 1), window.end

        assert pace.width > width

    def test_it_narrows_to_half_of_what_was_refused(self) -> None:
        assert Pace(DAY).refused(Window(0, DAY)).width == DAY // 2

    def test_a_wide_window_refused_late_does_not_widen_a_pace_narrower_by_now(self) -> None:
        assert Pace(60 * SECOND).refused(Window(0, DAY)).width == 60 * SECOND

    def test_it_widens_while_responses_are_at_most_a_quarter_of_the_target(self) -> None:
        window = Window(0, DAY)

        assert Pace(DAY, target_bytes=16).answered(window, 4).width == 4 * DAY
        assert Pace(DAY, target_bytes=16).answered(window, 5).width == DAY

    def test_it_narrows_after_a_response_over_the_target(self) -> None:
        window = Window(0, DAY)

        assert Pace(DAY, target_bytes=16).answered(window, 16).width == DAY
        assert Pace(DAY, target_bytes=16).answered(window, 17).width == DAY // 2

    def test_a_small_response_of_a_window_cut_short_says_nothing(self) -> None:
        assert Pace(DAY, target_bytes=16).answered(Window(0, DAY - SECOND), 1).width == DAY

    def test_a_large_response_of_a_window_wider_than_the_pace_says_nothing(self) -> None:
        assert Pace(DAY, target_bytes=16).answered(Window(0, 2 * DAY), 17).width == DAY

    def test_it_does_not_widen_beyond_the_widest(self) -> None:
        pace = Pace(DAY, target_bytes=16, widest=2 * DAY)

        assert pace.answered(Window(0, DAY), 1).width == 2 * DAY

    def test_a_first_width_beyond_the_widest_is_kept(self) -> None:
        pace = Pace(9 * DAY, target_bytes=16, widest=2 * DAY)

        assert pace.answered(Window(0, 9 * DAY), 1).width == 9 * DAY


class TestWindow:
    @given(start=st.integers(0, 10**13), width=st.integers(SECOND + 1, 400 * DAY))
    @example(start=1_500, width=1_001)
    @example(start=1_999, width=1_001)
    def test_halves_cover_it_and_meet_at_a_whole_second(self, start: int, width: int) -> None:
        window = Window(start, start + width)

        first, second = window.halves()

        assert (first.start, second.end) == (window.start, window.end)
        assert first.end == second.start
        assert first.end % SECOND == 0

    @given(start=st.integers(0, 10**13), seconds=st.integers(2, 10**6))
    def test_halves_differ_by_a_second_at_most(self, start: int, seconds: int) -> None:
        first, second = Window(start, start + seconds * SECOND).halves()

        assert abs(first.width - second.width) <= 2 * SECOND

    @pytest.mark.parametrize("width", [1, 999, 1_000])
    def test_a_second_is_not_halved(self, width: int) -> None:
        with pytest.raises(ValueError, match="not split below one second"):
            Window(1_500, 1_500 + width).halves()

    @given(start=st.integers(0, 10**12), width=st.integers(1, 3 * DAY))
    def test_halving_again_and_again_ends(self, start: int, width: int) -> None:
        window, steps = Window(start, start + width), 0
        while window.width > SECOND:
            window, steps = max(window.halves(), key=lambda half: half.width), steps + 1

        assert steps <= 40

    @pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5)])
    def test_an_empty_one_cannot_be_made(self, start: int, end: int) -> None:
        with pytest.raises(ValueError, match="Empty window"):
            Window(start, end)

    def test_it_shows_as_a_half_open_interval(self) -> None:
        assert str(Window(0, 1_500)) == "[1970-01-01T00:00:00Z, 1970-01-01T00:00:01.500Z)"


class TestCoverage:
    @given(st.lists(SMALL_WINDOWS, max_size=8))
    def test_merged_windows_cover_the_same(self, windows: list[Window]) -> None:
        assert covered(merged(windows)) == covered(windows)

    @given(st.lists(SMALL_WINDOWS, max_size=8))
    def test_merged_windows_neither_touch_nor_overlap(self, windows: list[Window]) -> None:
        result = merged(windows)

        for before, after in pairwise(result):
            assert before.end < after.start

    @given(asked=SMALL_WINDOWS, windows=st.lists(SMALL_WINDOWS, max_size=8))
    def test_gaps_are_exactly_what_no_window_covers(
        self, asked: Window, windows: list[Window]
    ) -> None:
        missing = gaps(asked, windows)

        assert covered(missing) == covered([asked]) - covered(windows)
        assert missing == merged(missing)

    def test_touching_windows_leave_no_gap(self) -> None:
        assert gaps(Window(0, 30), [Window(10, 20), Window(20, 30), Window(0, 10)]) == []


class TestInstants:
    @given(MOMENTS)
    def test_milliseconds_and_datetimes_go_both_ways(self, ms: int) -> None:
        assert to_ms(to_datetime(ms)) == ms

    @given(MOMENTS)
    def test_iso_text_names_the_same_instant(self, ms: int) -> None:
        assert to_ms(datetime.fromisoformat(iso(ms).replace("Z", "+00:00"))) == ms

    @given(MOMENTS)
    def test_iso_text_has_a_fraction_only_where_there_is_one(self, ms: int) -> None:
        pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z"

        found = re.fullmatch(pattern, iso(ms))

        assert found is not None
        assert (found[1] is None) == (ms % SECOND == 0)

    @given(
        st.datetimes(
            datetime(1990, 1, 1),
            datetime(2060, 1, 1),
            timezones=st.sampled_from(
                [ZoneInfo(name) for name in ("Europe/Paris", "America/New_York", "Asia/Kolkata")]
            ),
        )
    )
    def test_local_times_are_taken_at_their_offset(self, moment: datetime) -> None:
        exact = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) / timedelta(microseconds=1)
        assume(abs(exact) < 2**53)

        assert to_ms(moment) == exact // 1_000

    @pytest.mark.parametrize(
        ("fold", "utc_hour"),
        [pytest.param(0, 0, id="first, in summer time"), pytest.param(1, 1, id="second")],
    )
    def test_the_hour_that_comes_twice_in_autumn_is_told_apart(
        self, fold: int, utc_hour: int
    ) -> None:
        moment = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=fold)

        assert to_datetime(to_ms(moment)) == datetime(
            2024, 10, 27, utc_hour, 30, tzinfo=timezone.utc
        )

    @given(st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)))
    def test_a_naive_value_is_utc(self, moment: datetime) -> None:
        assert to_ms(moment) == to_ms(moment.replace(tzinfo=timezone.utc))

    @given(MOMENTS, st.sampled_from(["UTC", "Europe/Paris", "America/New_York"]))
    def test_pendulum_datetimes_are_exact(self, ms: int, zone: str) -> None:
        moment = pendulum.instance(to_datetime(ms)).in_timezone(zone)

        assert to_ms(moment) == ms

    @pytest.mark.parametrize(
        ("microsecond", "ms"), [(1_999, 1), (999_999, 999), (1_000, 1), (999, 0)]
    )
    def test_microseconds_are_rounded_down(self, microsecond: int, ms: int) -> None:
        assert to_ms(datetime(1970, 1, 1, microsecond=microsecond)) == ms
        assert to_ms(datetime(1969, 12, 31, 23, 59, 59, microsecond)) == ms - SECOND
