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
from .known_pieces import KnownPiece, newest
from .progress import Progress


class LatenessProbe:
    """Counts the events at the end of a run's stretch, and of the run's before.

    Attributes:
        known_pieces: What the run before has loaded of the overlap, by digest.
    """

    def __init__(
        self,
        overlap: int,
        horizon: Callable[[], int],
        progress: Progress | None,
        read_again: Window | None,
        made_by: str = "",
        is_proven: bool = False,
    ) -> None:
        """Takes what is compared.

        Args:
            overlap: Milliseconds that each run reads again; 0: nothing is counted.
            horizon: Up to where windows are settled; later where the server's time is known.
            progress: The scope's progress before the run.
            read_again: The stretch before it that is read again.
            made_by: What the rows of a known piece depend on beside its content; empty: pieces are
                neither skipped nor kept.
            is_proven: Whether the destination says that the progress is loaded.
        """
        self._overlap = overlap
        self._horizon = horizon
        self._progress = progress
        self._read_again = read_again
        self._width = lateness.bucket_width(overlap)
        self._counts: Counter[int] = Counter()
        self._counted: list[Window] = []
        self._made_by = made_by
        self._pieces: dict[str, KnownPiece] = {}
        self.known_pieces: Mapping[str, KnownPiece] = {}
        is_comparable = progress is not None and progress.bucket == self._width
        if is_proven and is_comparable and progress is not None and progress.made_by == made_by:
            self.known_pieces = progress.pieces

    @classmethod
    def counting_nothing(cls) -> LatenessProbe:
        """A probe for what is not compared with what a run before has read."""
        return cls(overlap=0, horizon=lambda: 0, progress=None, read_again=None)

    @property
    def keeps_pieces(self) -> bool:
        """Whether what is loaded of the overlap is kept, to be known by the next run."""
        return bool(self._made_by and self._overlap)

    @property
    def read_until(self) -> int | None:
        """Up to where the run before has read; None where there was none."""
        return self._progress.complete_until if self._progress is not None else None

    def counting(self, window: Window) -> Histogram | None:
        """What to count in a response; asked once it begins.

        Args:
            window: What is complete with the response. It may end after the horizon, which is the
                run's beginning, where the server's clock turns out to be slow.
        """
        if not self._overlap:
            return None
        horizon = self._horizon()
        start = horizon - self._overlap - self._width
        spans = [Window(start, max(horizon, window.end))]
        if self._read_again is not None:
            spans.append(self._read_again)
        return Histogram(tuple(merged(spans)), self._width)

    def add(
        self,
        counts: Mapping[int, int],
        counted: Iterable[Window],
        pieces: Mapping[str, KnownPiece] | None = None,
    ) -> None:
        """Gathers the counts of a complete window, the spans they are of, and its pieces."""
        self._counts.update(counts)
        self._counted.extend(counted)
        self._pieces.update(pieces or {})

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
        pieces = newest(self._pieces, start)
        return replace(
            progress, tail=tail, bucket=self._width, pieces=pieces, made_by=self._made_by
        )

    def _has_counted(self, span: Window) -> bool:
        return not gaps(span, self._counted)
