"""How far each resource, and each of its ids, is complete, and where a run goes on.

The cursor of a resource over the whole account is dlt's own, of its incremental on ``timestamp``.
A resource over ids keeps its progress for each id beside it, in dlt's resource state, so that an id
added later gets its whole history and one id's failure moves no other id's progress. Pure values
and functions; nothing here knows of dlt or HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..windows import Window
from .known_pieces import KnownPiece


@dataclass(frozen=True)
class Progress:
    """How far one scope has been loaded.

    Attributes:
        start: Where its history begins, milliseconds since the epoch.
        complete_until: Up to where it is complete.
        read_at: When the stretch before ``complete_until`` was last read.
        tail: Events per bucket in the overlap before ``complete_until``, see ``lateness``.
        bucket: Milliseconds per bucket of ``tail``.
        pieces: What was loaded of that overlap by digest, see ``known_pieces``.
        made_by: What the rows of these pieces depend on beside their content.
    """

    start: int
    complete_until: int
    read_at: int = 0
    tail: Mapping[int, int] = field(default_factory=dict)
    bucket: int = 0
    pieces: Mapping[str, KnownPiece] = field(default_factory=dict)
    made_by: str = ""

    def to_state(self) -> dict[str, Any]:
        """The progress as JSON values."""
        state: dict[str, Any] = {
            "start": self.start,
            "until": self.complete_until,
            "read_at": self.read_at,
            "tail": {str(bucket): count for bucket, count in self.tail.items()},
            "bucket": self.bucket,
        }
        if self.pieces:
            state["made_by"] = self.made_by
            state["pieces"] = {digest: one.to_state() for digest, one in self.pieces.items()}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Progress:
        """The progress from the JSON values of ``to_state``."""
        tail = {int(bucket): count for bucket, count in state.get("tail", {}).items()}
        return cls(
            start=state["start"],
            complete_until=state["until"],
            read_at=state.get("read_at", 0),
            tail=tail,
            bucket=state.get("bucket", 0),
            pieces={
                digest: KnownPiece.from_state(one)
                for digest, one in state.get("pieces", {}).items()
            },
            made_by=state.get("made_by", ""),
        )


def of_cursor(progress: Progress | None, cursor: int, start: int) -> Progress | None:
    """The account's progress; dlt's cursor has the last word about it.

    Args:
        progress: What the state says.
        cursor: Value of dlt's cursor, milliseconds since the epoch.
        start: The cursor's value before any run.
    """
    if progress is None:
        return None if cursor == start else Progress(cursor, cursor)
    if progress.complete_until == cursor:
        return progress
    return Progress(min(progress.start, cursor), cursor)


def kept(progress: Progress | None, cutoff: int | None) -> Progress | None:
    """The progress without the part of its history that retention removes.

    Args:
        progress: What the state says.
        cutoff: From when events are kept, milliseconds since the epoch; None: for ever.
    """
    if progress is None or cutoff is None or progress.start >= cutoff:
        return progress
    return replace(progress, start=cutoff, complete_until=max(progress.complete_until, cutoff))


def as_proven(progress: Progress, covered: Iterable[Window]) -> Progress:
    """The progress as far as the destination's ledger proves it.

    Args:
        progress: What the state says.
        covered: The scope's windows in the ledger, as few as possible.

    Returns:
        The same progress where it is proven; else one that ends where unbroken coverage from the
        beginning of the history does.
    """
    reach = progress.start
    for window in covered:
        if window.start <= progress.start < window.end:
            reach = window.end
    if reach >= progress.complete_until:
        return progress
    return Progress(progress.start, reach)


@dataclass(frozen=True)
class Stretch:
    """What a run reads of one scope.

    Attributes:
        start: Where it begins, milliseconds since the epoch.
        end: Where it stops; not after ``start`` where there is nothing to read.
        read_again: The part that an earlier run has read already.
    """

    start: int
    end: int
    read_again: Window | None = None


def stretch_of_backfill(progress: Progress | None, start: int, end: int) -> Stretch:
    """What a backfill reads: the range, from where an interrupted one has got to."""
    return Stretch(progress.complete_until if progress else start, end)


def stretch_of_run(
    progress: Progress | None, start: int, horizon: int, overlap: int, cap: int | None
) -> Stretch:
    """What a run goes on with: the overlap before its progress, then up to what has settled.

    Args:
        progress: The scope's progress, None on its first run.
        start: Where a first run begins.
        horizon: Up to where windows are settled.
        overlap: Milliseconds before the progress that are read again.
        cap: The moment the run was asked to load up to, if any.
    """
    if progress is None:
        return Stretch(start, horizon)
    start = max(progress.start, progress.complete_until - overlap)
    read_again = None
    if start < progress.complete_until:
        read_again = Window(start, progress.complete_until)
    if progress.complete_until >= horizon:
        # The overlap is read all the same: its response tells whether this machine's clock is slow.
        is_capped = cap is not None and progress.complete_until >= cap
        return Stretch(start, start if is_capped else progress.complete_until, read_again)
    return Stretch(start, horizon, read_again)


@dataclass
class Scope:
    """The part of a resource that has its own progress: the account, or one id.

    Attributes:
        id: The id as it is sent; empty for the account.
        label: The id as it may be shown and stored.
        start: Where this run begins to read, milliseconds since the epoch.
        end: Where it stops.
        classes: Classes of robots that are requested for each window; ``""`` is a request without.
        position: Up to where windows have been requested.
    """

    id: str
    label: str
    start: int
    end: int
    classes: tuple[str, ...] = ("",)
    position: int = field(init=False)

    def __post_init__(self) -> None:
        self.position = self.start


@dataclass
class ScopeRun:
    """What a run knows of one scope.

    Attributes:
        scope: The scope as it is fetched.
        progress_of: The progress before the run of each of its classes, None on their first.
        complete_until: Up to where its windows are complete; None before the first.
        read_at: When the last of them was requested.
    """

    scope: Scope
    progress_of: Mapping[str, Progress | None]
    complete_until: int | None = None
    read_at: int = 0

    @property
    def progress(self) -> Progress | None:
        """The least of them."""
        return least(self.progress_of.values())

    @property
    def is_done(self) -> bool:
        """Whether everything up to the scope's end is complete."""
        return self.complete_until is not None and self.complete_until >= self.scope.end

    def reached(self, classification: str = "") -> Progress | None:
        """A class's progress after the windows that are complete; None where there are none."""
        if self.complete_until is None:
            return None
        progress = self.progress_of[classification]
        if progress is None:
            return Progress(self.scope.start, self.complete_until, self.read_at)
        until = max(self.complete_until, progress.complete_until)
        return Progress(progress.start, until, self.read_at)


def least(progress: Iterable[Progress | None]) -> Progress | None:
    """The least advanced; None where one has none."""
    known = list(progress)
    if not known or None in known:
        return None
    return min((one for one in known if one), key=lambda one: one.complete_until)


def read_together(
    progress_of: Mapping[str, Progress | None], overlap: int
) -> list[Mapping[str, Progress | None]]:
    """Classes that can be requested for the same windows, because they are equally far.

    A class that is added later gets its own history first. It joins the others once no more than
    the overlap, which is read again anyway, lies between them.

    Args:
        progress_of: The progress by class.
        overlap: Milliseconds before its progress that each run reads again.
    """
    groups: list[dict[str, Progress | None]] = []
    for name, progress in sorted(
        progress_of.items(), key=lambda item: item[1].complete_until if item[1] else -1
    ):
        first = least(groups[-1].values()) if groups else None
        if groups and (
            progress is None
            if first is None
            else progress is not None and progress.complete_until - first.complete_until <= overlap
        ):
            groups[-1][name] = progress
        else:
            groups.append({name: progress})
    # Within a group the request without a class comes first.
    return [{name: group[name] for name in progress_of if name in group} for group in groups]


def least_advanced_first(runs: Iterable[ScopeRun]) -> list[ScopeRun]:
    """The order in which scopes are read: runs that stop early get to every id in turn."""
    return sorted(runs, key=lambda run: run.progress.complete_until if run.progress else -1)
