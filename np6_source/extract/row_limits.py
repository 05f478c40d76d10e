"""What a run has learnt about numbers of rows at which the API may cut its responses."""

from __future__ import annotations

import threading


class RowLimits:
    """Counts that were compared with the halves of their windows. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._proven: set[int] = set()
        self._disproven: set[int] = set()
        self._last: dict[str, int] = {}
        self._largest: dict[str, int] = {}

    def is_proven(self, count: int) -> bool:
        """Whether a window of so many events had more in its halves."""
        with self._lock:
            return count in self._proven

    def is_known(self, count: int) -> bool:
        """Whether the count was compared before."""
        with self._lock:
            return count in self._proven or count in self._disproven

    def is_new_or_equal_to_the_last(self, count: int, scope: str) -> bool:
        """Whether to compare: the count is new, or a scope has it twice in a row."""
        with self._lock:
            is_equal = self._last.get(scope) == count
            self._last[scope] = count
            return is_equal or count not in self._disproven

    def is_largest(self, count: int, operation: str) -> bool:
        """Whether no response of an operation had more rows: a smaller one cannot be cut by rows.

        Takes note of the count.
        """
        with self._lock:
            largest = self._largest.get(operation, 0)
            self._largest[operation] = max(largest, count)
            return count >= largest

    def prove(self, count: int) -> None:
        """Remembers that the API cuts responses there."""
        with self._lock:
            self._proven.add(count)

    def disprove(self, count: int) -> None:
        """Remembers that a window of so many events was whole."""
        with self._lock:
            self._disproven.add(count)
