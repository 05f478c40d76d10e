"""Fetches many windows of many ids, several at once, and yields them in order.

What is fetched next depends only on the responses yielded so far, never on which arrived first: the
same responses lead to the same requests.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from ..errors import RequestFailed, WindowTooLarge
from ..windows import SECOND, Pace, Window
from .progress import Scope
from .window import LoadableSpan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completed:
    """A window that is complete."""

    scope: Scope
    loadable: LoadableSpan


@dataclass(frozen=True)
class Failed:
    """A scope that cannot go on; nothing after its last completed window was handed on."""

    scope: Scope
    failure: RequestFailed


@dataclass(frozen=True)
class Finished:
    """A scope that has been read up to its end."""

    scope: Scope


@dataclass
class _Task:
    scope: Scope
    window: Window
    future: Future[LoadableSpan]


def windows_in_order(
    scopes: Iterable[Scope],
    pace: Pace,
    fetch: Callable[[Scope, Window], LoadableSpan],
    executor: Executor,
    concurrency: int,
) -> Generator[Completed | Failed | Finished]:
    """Fetches the windows of the scopes, one scope after the other.

    A window that is too large is halved and requested again, down to a second.

    Args:
        scopes: What to read. While a scope is being read its ``end`` may be moved.
        pace: How wide the first window is; later ones follow from the responses.
        fetch: Gets one window; called in the executor's threads.
        executor: Runs the fetches.
        concurrency: Windows that may be under way or wait to be handed on.

    Yields:
        For every scope its completed windows in order, then ``Finished`` or ``Failed``.
    """
    waiting = deque(scopes)
    reading: deque[Scope] = deque()
    tasks: deque[_Task] = deque()

    def submit(scope: Scope, window: Window) -> _Task:
        return _Task(scope, window, executor.submit(fetch, scope, window))

    def fill() -> None:
        while len(tasks) < concurrency:
            if reading and reading[-1].position < reading[-1].end:
                scope = reading[-1]
            elif waiting:
                scope = waiting.popleft()
                reading.append(scope)
                continue
            else:
                return
            window = pace.next_window(scope.position, scope.end)
            scope.position = window.end
            tasks.append(submit(scope, window))

    def drop(scope: Scope) -> None:
        kept = []
        for task in tasks:
            if task.scope is scope:
                _discard(task)
            else:
                kept.append(task)
        tasks.clear()
        tasks.extend(kept)

    try:
        fill()
        while reading:
            scope = reading[0]
            if not tasks or tasks[0].scope is not scope:
                if scope is reading[-1] and scope.position < scope.end:
                    fill()
                    continue
                reading.popleft()
                yield Finished(scope)
                fill()
                continue
            task = tasks.popleft()
            try:
                loadable = task.future.result()
            except WindowTooLarge as failure:
                if task.window.width > SECOND:
                    logger.debug("Requests its halves instead: %s", failure)
                    pace = pace.refused(task.window)
                    first, second = (submit(scope, half) for half in task.window.halves())
                    tasks.extendleft((second, first))
                    continue
                drop(scope)
                reading.popleft()
                yield Failed(scope, _at_the_limit(failure))
                fill()
                continue
            except RequestFailed as failure:
                drop(scope)
                reading.popleft()
                yield Failed(scope, failure)
                fill()
                continue
            pace = pace.answered(task.window, loadable.byte_count)
            fill()
            yield Completed(scope, loadable)
            if loadable.window.end < task.window.end:
                drop(scope)
                scope.position = scope.end = loadable.window.end
    finally:
        for task in tasks:
            _discard(task)


def _discard(task: _Task) -> None:
    if not task.future.cancel():
        task.future.add_done_callback(_discard_result)


def _discard_result(future: Future[LoadableSpan]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().discard()


def _at_the_limit(failure: WindowTooLarge) -> RequestFailed:
    return type(failure)(
        failure.context,
        f"even a window of one second fails: {failure.problem}",
        failure.advice + " Tell NP6's support if it stays so.",
    )
