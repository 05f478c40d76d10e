"""How late the events of one scope became visible, measured on the overlap that a run reads again.

One object per scope and run: it says what to count in a response, gathers the counts, compares them
with those of the run before, and gives the counts that the next run compares with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ..events import lateness
from ..events.lateness import Histogram, Lateness
from ..windows import Window, gaps, merged
from .progress import Progress


class LatenessProbe:
    """Counts the events at the end of a run's stretch, and of the run's before."""

    def __init__(
        self,
        overlap: int,
        horizon: Callable[[], int],
        progress: Progress | None,
        read_again: Window | None,
    ) -> None:
        """Takes what is compared.

        Args:
            overlap: Milliseconds that each run reads again; 0: nothing is counted.
            horizon: Up to where windows are settled; later where the server's time is known.
            progress: The scope's progress before the run.
            read_again: The stretch before it that is read again.
        """
        self._overlap = overlap
        self._horizon = horizon
        self._progress = progress
        self._read_again = read_again
        self._width = lateness.bucket_width(overlap)
        self._counts: Counter[int] = Counter()
        self._counted: list[Window] = []

    def counting(self) -> Histogram | None:
        """What to count in a response; asked once the response begins."""
        if not self._overlap:
            return None
        end = self._horizon()
        spans = [Window(end - self._overlap - self._width, end)]
        if self._read_again is not None:
            spans.append(self._read_again)
        return Histogram(tuple(merged(spans)), self._width)

    def add(self, counts: Mapping[int, int], counted: Iterable[Window]) -> None:
        """Gathers the counts of a complete window, and the spans they are of."""
        self._counts.update(counts)
        self._counted.extend(counted)

    def measured(self) -> Lateness:
        """What became visible since the run before; nothing where that cannot be compared."""
        before, read_again = self._progress, self._read_again
        if before is None or read_again is None or before.bucket != self._width:
            return Lateness()
        if not self._has_counted(read_again):
            return Lateness()
        return lateness.measured(before.tail, self._counts, self._width, read_again, before.read_at)

    def fewer(self, counts: Mapping[int, int], counted: Iterable[Window]) -> int:
        """Events of one window that the run before saw and this one does not.

        Args:
            counts: Events per bucket in the window's response.
            counted: The spans they are of.
        """
        before, read_again = self._progress, self._read_again
        if before is None or read_again is None or before.bucket != self._width:
            return 0
        width, spans = self._width, list(counted)
        return sum(
            max(0, count - counts.get(bucket, 0))
            for bucket, count in before.tail.items()
            if read_again.start <= bucket * width and (bucket + 1) * width <= read_again.end
            if any(s.start <= bucket * width and (bucket + 1) * width <= s.end for s in spans)
        )

    def with_tail(self, progress: Progress) -> Progress:
        """The progress with the counts that the next run compares with, where they are whole."""
        start = max(progress.complete_until - self._overlap, progress.start)
        if start >= progress.complete_until:
            return progress
        if not self._has_counted(Window(start, progress.complete_until)):
            return progress
        tail = {b: n for b, n in self._counts.items() if (b + 1) * self._width > start}
        return replace(progress, tail=tail, bucket=self._width)

    def _has_counted(self, span: Window) -> bool:
        return not gaps(span, self._counted)
