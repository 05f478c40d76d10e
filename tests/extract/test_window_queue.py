from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from np6_source.errors import NotFound, RequestContext, RequestFailed, WindowTooLarge
from np6_source.extract.progress import Scope
from np6_source.extract.window_queue import Completed, Failed, Finished, windows_in_order
from np6_source.windows import SECOND, Pace, Window

MINUTE = 60 * SECOND
START = 1_714_557_600_000


@dataclass
class Loaded:
    window: Window
    byte_count: int = 10
    is_discarded: bool = False

    def discard(self) -> None:
        self.is_discarded = True


def context(window: Window) -> RequestContext:
    return RequestContext("action_events", "000PE4", str(window))


def too_large(window: Window) -> WindowTooLarge:
    return WindowTooLarge(context(window), "the API failed", "Nothing was loaded.")


def not_found(window: Window) -> NotFound:
    return NotFound(context(window), "NP6 does not know this id", "Check the id.")


@dataclass
class Api:
    """Answers windows, each after some time; remembers what it was asked for.

    Attributes:
        answer: Gives or raises the answer of a window.
        delay: Seconds to wait before an answer.
        asked: The windows asked for, in the order they were handed to the executor.
        loaded: Everything that was answered.
        busiest: Most requests that ran at once.
    """

    answer: Callable[[Scope, Window], Loaded] = lambda scope, window: Loaded(window)
    delay: Callable[[], float] = lambda: 0.0
    asked: list[tuple[str, Window]] = field(default_factory=list)
    loaded: list[Loaded] = field(default_factory=list)
    busiest: int = 0
    _running: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, scope: Scope, window: Window) -> Loaded:
        with self._lock:
            self._running += 1
            self.busiest = max(self.busiest, self._running)
        try:
            time.sleep(self.delay())
            loaded = self.answer(scope, window)
            with self._lock:
                self.loaded.append(loaded)
            return loaded
        finally:
            with self._lock:
                self._running -= 1


class Recording(ThreadPoolExecutor):
    """A pool that keeps the order in which windows were handed to it."""

    def __init__(self, api: Api, workers: int) -> None:
        super().__init__(workers)
        self._api = api

    def submit(self, fn, /, *args, **kwargs) -> Future:  # type: ignore[no-untyped-def,override,type-arg]
        scope, window = args
        self._api.asked.append((scope.id, window))
        return super().submit(fn, *args, **kwargs)


Step = Completed | Failed | Finished


def steps(
    api: Api, scopes: list[Scope], pace: Pace | None = None, concurrency: int = 3
) -> Iterator[Step]:
    with Recording(api, concurrency) as executor:
        generator = windows_in_order(scopes, pace or Pace(MINUTE), api.fetch, executor, concurrency)
        with closing(generator):
            yield from generator


def scope(name: str = "a", minutes: float = 5, start: int = START) -> Scope:
    return Scope(name, name, start, start + int(minutes * MINUTE))


def told(found: list[Step]) -> list[tuple[str, str, object]]:
    """The steps as plain values."""
    return [
        (
            step.scope.id,
            type(step).__name__,
            step.loadable.window if isinstance(step, Completed) else None,
        )
        for step in found
    ]


def windows_of(found: list[Step], name: str = "a") -> list[Window]:
    return [s.loadable.window for s in found if isinstance(s, Completed) and s.scope.id == name]


def covers(windows: list[Window], start: int, end: int) -> bool:
    """Whether the windows, as they stand, cover the span exactly."""
    cuts = [start, *(window.end for window in windows)]
    return [window.start for window in windows] == cuts[:-1] and cuts[-1] == end


def jitter(seed: int) -> Callable[[], float]:
    generator = random.Random(seed)
    return lambda: generator.random() * 0.004


class TestOrder:
    @pytest.mark.parametrize("seed", range(3))
    def test_windows_come_in_order_however_long_their_answers_take(self, seed: int) -> None:
        api = Api(delay=jitter(seed))

        found = list(steps(api, [scope("a", 8), scope("b", 3)], Pace(MINUTE, target_bytes=10)))

        assert told(found) == [
            *(("a", "Completed", Window(START + i * MINUTE, START + (i + 1) * MINUTE))
              for i in range(8)),
            ("a", "Finished", None),
            *(("b", "Completed", Window(START + i * MINUTE, START + (i + 1) * MINUTE))
              for i in range(3)),
            ("b", "Finished", None),
        ]  # fmt: skip

    def test_a_first_answer_that_comes_last_is_handed_on_first(self) -> None:
        second_is_there = threading.Event()

        def answer(scope: Scope, window: Window) -> Loaded:
            if window.start == START:
                assert second_is_there.wait(60)
            else:
                second_is_there.set()
            return Loaded(window)

        found = list(steps(Api(answer), [scope(minutes=3)]))

        assert covers(windows_of(found), START, START + 3 * MINUTE)

    def test_a_scope_without_anything_to_read_is_finished_at_once(self) -> None:
        found = list(steps(Api(), [Scope("a", "a", START, START), scope("b", 1)]))

        assert [(s.scope.id, type(s).__name__) for s in found] == [
            ("a", "Finished"),
            ("b", "Completed"),
            ("b", "Finished"),
        ]

    def test_no_scope_no_step(self) -> None:
        assert list(steps(Api(), [])) == []

    def test_an_answer_sets_the_width_of_the_very_next_window(self) -> None:
        api = Api(lambda scope, window: Loaded(window, 1))

        found = list(steps(api, [scope(minutes=85)], Pace(MINUTE, target_bytes=16), 1))

        assert [window.width // MINUTE for window in windows_of(found)] == [1, 4, 16, 64]

    @pytest.mark.parametrize("seeds", [(1, 2), (3, 4), (5, 6)], ids=str)
    def test_what_is_asked_for_depends_on_the_answers_and_not_on_their_timing(
        self, seeds: tuple[int, int]
    ) -> None:
        def answer(scope: Scope, window: Window) -> Loaded:
            if scope.id == "b" and window.start > START + 4 * MINUTE:
                raise not_found(window)
            if window.width > 70 * SECOND:
                raise too_large(window)
            return Loaded(window, window.start // SECOND % 7)

        def run(seed: int) -> tuple[object, object]:
            api = Api(answer, jitter(seed))
            scopes = [scope("a", 9.3), scope("b", 20), scope("c", 4)]
            return told(list(steps(api, scopes, Pace(5 * MINUTE, target_bytes=5)))), api.asked

        assert run(seeds[0]) == run(seeds[1])


class TestTooLarge:
    def test_a_window_is_halved_until_it_is_answered(self) -> None:
        def answer(scope: Scope, window: Window) -> Loaded:
            if window.width > 10 * SECOND:
                raise too_large(window)
            return Loaded(window)

        api = Api(answer)
        found = list(steps(api, [scope(minutes=4)]))

        assert covers(windows_of(found), START, START + 4 * MINUTE)
        assert isinstance(found[-1], Finished)

    def test_later_windows_are_narrower_from_the_start(self) -> None:
        def answer(scope: Scope, window: Window) -> Loaded:
            if window.width > 30 * SECOND:
                raise too_large(window)
            return Loaded(window, 64 * 1024 * 1024)

        api = Api(answer)
        list(steps(api, [scope(minutes=60)]))

        refused = [window for _, window in api.asked if window.width > 30 * SECOND]
        assert len(refused) <= 4

    def test_a_second_that_is_too_large_fails_and_says_so(self) -> None:
        crowded = START + 61 * SECOND

        def answer(scope: Scope, window: Window) -> Loaded:
            if window.start <= crowded < window.end:
                raise too_large(window)
            return Loaded(window)

        api = Api(answer)
        found = list(steps(api, [scope(minutes=4)]))

        failed = found[-1]
        assert isinstance(failed, Failed)
        assert isinstance(failed.failure, WindowTooLarge)
        assert "even a window of one second fails: the API failed" in str(failed.failure)
        assert str(Window(crowded, crowded + SECOND)) in str(failed.failure)
        assert covers(windows_of(found), START, crowded)

    @pytest.mark.parametrize("offset", [0, 1, 500, 999])
    def test_no_window_below_a_second_is_asked_for(self, offset: int) -> None:
        def answer(scope: Scope, window: Window) -> Loaded:
            raise too_large(window)

        api = Api(answer)
        found = list(steps(api, [scope(minutes=1, start=START + offset)], concurrency=1))

        assert [type(step) for step in found] == [Failed]
        narrow = [window for _, window in api.asked if window.width < SECOND]
        assert all(window.start % SECOND or window.end % SECOND for window in narrow)


class TestFailures:
    def test_a_failure_ends_its_scope_and_no_other(self) -> None:
        def answer(scope: Scope, window: Window) -> Loaded:
            if scope.id == "b" and window.start >= START + 2 * MINUTE:
                raise not_found(window)
            return Loaded(window)

        api = Api(answer, jitter(1))
        found = list(steps(api, [scope(n, 4) for n in "abc"], Pace(MINUTE, target_bytes=10), 4))

        assert covers(windows_of(found, "a"), START, START + 4 * MINUTE)
        assert covers(windows_of(found, "b"), START, START + 2 * MINUTE)
        assert covers(windows_of(found, "c"), START, START + 4 * MINUTE)
        assert [(s.scope.id, type(s)) for s in found if not isinstance(s, Completed)] == [
            ("a", Finished),
            ("b", Failed),
            ("c", Finished),
        ]

    def test_windows_behind_a_failure_are_discarded(self) -> None:
        others_are_there = threading.Event()

        def answer(scope: Scope, window: Window) -> Loaded:
            if window.start == START:
                assert others_are_there.wait(60)
                raise not_found(window)
            if window.start == START + 2 * MINUTE:
                others_are_there.set()
            return Loaded(window)

        api = Api(answer)
        found = list(steps(api, [scope()], concurrency=3))

        assert [type(step) for step in found] == [Failed]
        assert len(api.loaded) >= 1
        assert all(loaded.is_discarded for loaded in api.loaded)

    def test_the_failure_is_handed_on_as_it_is(self) -> None:
        failure = not_found(Window(START, START + MINUTE))

        def answer(scope: Scope, window: Window) -> Loaded:
            raise failure

        (step,) = steps(Api(answer), [scope()])

        assert isinstance(step, Failed)
        assert step.failure is failure

    def test_an_unforeseen_error_is_raised_and_everything_else_discarded(self) -> None:
        def answer(scope: Scope, window: Window) -> Loaded:
            if window.start == START + 2 * MINUTE:
                raise ZeroDivisionError
            return Loaded(window)

        api = Api(answer)
        handed_on = []
        with pytest.raises(ZeroDivisionError):
            handed_on.extend(
                step.loadable
                for step in steps(api, [scope()], Pace(MINUTE, target_bytes=10))
                if isinstance(step, Completed)
            )

        assert sum(not loaded.is_discarded for loaded in api.loaded) == 2

    def test_every_failure_of_many_ids_is_told(self) -> None:
        def answer(scope: Scope, window: Window) -> Loaded:
            raise not_found(window)

        found = list(steps(Api(answer, jitter(2)), [scope(str(i)) for i in range(9)]))

        assert [(s.scope.id, type(s)) for s in found] == [(str(i), Failed) for i in range(9)]
        assert all(isinstance(s.failure, RequestFailed) for s in found if isinstance(s, Failed))


class TestMovingEnds:
    def test_a_window_that_ends_early_ends_its_scope_there(self) -> None:
        settled = START + 2 * MINUTE + 7 * SECOND

        def answer(scope: Scope, window: Window) -> Loaded:
            if scope.id == "a" and window.end > settled > window.start:
                return Loaded(Window(window.start, settled))
            return Loaded(window)

        api = Api(answer, jitter(3))
        found = list(steps(api, [scope("a"), scope("b")], Pace(MINUTE, target_bytes=10), 4))

        assert covers(windows_of(found, "a"), START, settled)
        assert covers(windows_of(found, "b"), START, START + 5 * MINUTE)
        handed_on = len(windows_of(found, "a")) + len(windows_of(found, "b"))
        assert sum(not loaded.is_discarded for loaded in api.loaded) == handed_on

    @pytest.mark.parametrize("concurrency", [1, 2, 7])
    def test_a_scope_may_be_extended_while_it_is_read(self, concurrency: int) -> None:
        found: list[Step] = []
        only = scope(minutes=2)
        for step in steps(Api(), [only], Pace(MINUTE, target_bytes=10), concurrency):
            found.append(step)
            if isinstance(step, Completed) and len(found) <= 6:
                only.end += MINUTE

        assert covers(windows_of(found), START, START + 8 * MINUTE)
        assert isinstance(found[-1], Finished)

    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_a_scope_may_be_extended_at_its_last_window(self, concurrency: int) -> None:
        found: list[Step] = []
        only = scope(minutes=1)
        for step in steps(Api(), [only], Pace(MINUTE, target_bytes=10), concurrency):
            found.append(step)
            if isinstance(step, Completed) and len(found) <= 3:
                only.end += MINUTE

        assert covers(windows_of(found), START, START + 4 * MINUTE)

    def test_an_extension_does_not_undo_an_early_end(self) -> None:
        settled = START + 30 * SECOND
        only = scope(minutes=2)
        found: list[Step] = []
        api = Api(lambda scope, window: Loaded(Window(window.start, settled)))
        for step in steps(api, [only]):
            found.append(step)
            only.end = max(only.end, START + 10 * MINUTE)

        assert covers(windows_of(found), START, settled)

    def test_extending_scopes_of_many_leaves_no_gap(self) -> None:
        scopes = [scope(name, 2) for name in "abcd"]
        found: list[Step] = []
        for step in steps(Api(delay=jitter(5)), scopes, Pace(MINUTE, target_bytes=10), 3):
            found.append(step)
            if isinstance(step, Completed) and step.scope.end < START + 5 * MINUTE:
                step.scope.end += 30 * SECOND

        for one in scopes:
            windows = windows_of(found, one.id)
            assert covers(windows, START, windows[-1].end)
            assert windows[-1].end >= START + 2 * MINUTE


class TestResources:
    @pytest.mark.parametrize("taken", [0, 1, 3])
    def test_what_is_not_handed_on_is_discarded_when_the_reader_stops(self, taken: int) -> None:
        api = Api(delay=jitter(4))
        handed_on: list[Loaded] = []
        with closing(steps(api, [scope("a", 3), scope("b", 9)], concurrency=4)) as reading:  # type: ignore[type-var]
            for step in reading:
                if isinstance(step, Completed):
                    assert isinstance(step.loadable, Loaded)
                    handed_on.append(step.loadable)
                if len(handed_on) >= taken:
                    break

        assert not any(loaded.is_discarded for loaded in handed_on)
        kept = {id(loaded) for loaded in api.loaded if not loaded.is_discarded}
        assert kept == {id(loaded) for loaded in handed_on}

    @pytest.mark.parametrize("concurrency", [1, 2, 5])
    def test_no_more_than_so_many_run_at_once(self, concurrency: int) -> None:
        api = Api(delay=lambda: 0.002)

        list(steps(api, [scope("a", 9), scope("b", 9)], Pace(MINUTE, 10), concurrency))

        assert api.busiest <= concurrency

    @pytest.mark.parametrize("concurrency", [1, 2, 5])
    def test_no_more_than_so_many_wait_to_be_handed_on(self, concurrency: int) -> None:
        api = Api()
        most = taken = 0
        for step in steps(api, [scope("a", 9), scope("b", 9)], Pace(MINUTE, 10), concurrency):
            taken += isinstance(step, Completed)
            most = max(most, len(api.asked) - taken)

        assert most == concurrency

    def test_ids_with_one_window_each_are_read_at_the_same_time(self) -> None:
        together = threading.Barrier(4)

        def answer(scope: Scope, window: Window) -> Loaded:
            together.wait(60)
            return Loaded(window)

        found = list(steps(Api(answer), [scope(n, 1) for n in "abcd"], concurrency=4))

        assert len([step for step in found if isinstance(step, Completed)]) == 4


@settings(max_examples=60, deadline=None)
@given(
    spans=st.lists(
        st.tuples(st.integers(0, 5_000), st.integers(0, 300_000)), min_size=1, max_size=4
    ),
    width=st.integers(SECOND, 100_000),
    limit=st.integers(1, 60),
    density=st.integers(0, 40),
    concurrency=st.integers(1, 5),
)
def test_whatever_the_sizes_everything_is_covered_exactly_once(
    spans: list[tuple[int, int]], width: int, limit: int, density: int, concurrency: int
) -> None:
    def answer(scope: Scope, window: Window) -> Loaded:
        size = density * window.width // (10 * SECOND)
        if size > limit and window.width > SECOND:
            raise too_large(window)
        return Loaded(window, size)

    scopes = [
        Scope(str(i), str(i), START + first, START + first + length)
        for i, (first, length) in enumerate(spans)
    ]
    found = list(steps(Api(answer), scopes, Pace(width, target_bytes=20), concurrency))

    for one, (first, length) in zip(scopes, spans, strict=True):
        windows = windows_of(found, one.id)
        assert covers(windows, START + first, START + first + length)
    assert [step.scope.id for step in found if isinstance(step, Finished)] == [
        one.id for one in scopes
    ]
