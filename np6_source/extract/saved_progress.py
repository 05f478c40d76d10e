"""The progress of a resource's scopes in dlt's resource state. Pure, over the state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from ..bookkeeping.source_state import BACKFILLS, PROGRESS
from ..endpoints import Endpoint
from ..ledger import scope_key
from .progress import Progress, ScopeRun
from .span_loader import TProbes


@dataclass(frozen=True)
class Reached:
    """How far a run has got.

    Attributes:
        progress: The progress of the scopes that have got on, by ``ledger.scope_key``.
        is_done: Whether all scopes are complete up to their end.
    """

    progress: Mapping[str, Progress]
    is_done: bool


def reached(runs: Iterable[ScopeRun], probes: TProbes) -> Reached:
    """The progress after the windows that are complete. Pure."""
    known = list(runs)
    progress = {
        key: probes[key].with_tail(after)
        for run in known
        for name in run.scope.classes
        if (after := run.reached(name)) is not None
        for key in [scope_key(run.scope.label, name)]
    }
    return Reached(progress, all(run.is_done for run in known))


class SavedProgress:
    """The progress of one resource: a schedule's, or that of a backfill over one span.

    Attributes:
        is_whole: Whether the run has got to the end of every scope.
    """

    def __init__(self, state: MutableMapping[str, Any], backfill: tuple[int, int] | None) -> None:
        """Opens it in the state.

        Args:
            state: dlt's state of the resource.
            backfill: The span of a backfill, milliseconds since the epoch; None: a schedule's run.
        """
        self._state = state
        self._is_backfill = backfill is not None
        self.is_whole = False
        if backfill is not None:
            key = f"{backfill[0]}-{backfill[1]}"
            self._by_scope: dict[str, Any] = state.setdefault(BACKFILLS, {}).setdefault(key, {})
        else:
            self._by_scope = state.setdefault(PROGRESS, {})

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._by_scope)

    def __contains__(self, key: str) -> bool:
        """Whether there is any of a scope, see ``ledger.scope_key``."""
        return key in self._by_scope

    def of(self, key: str) -> Progress | None:
        """The progress of a scope, see ``ledger.scope_key``; None: it has none."""
        entry = self._by_scope.get(key)
        return Progress.from_state(entry) if entry else None

    def move(
        self,
        after: Reached,
        runs: Iterable[ScopeRun],
        endpoint: Endpoint,
    ) -> int | None:
        """Moves the progress to the end of what was handed on; dlt commits it with that.

        Args:
            after: How far the run has got.
            runs: Its scopes.
            endpoint: The operation.

        Returns:
            Up to where the whole resource is complete, milliseconds since the epoch; None where a
            scope has no progress yet, and for a backfill.
        """
        for key, progress in after.progress.items():
            self._by_scope[key] = progress.to_state()
        self.is_whole = after.is_done
        if self._is_backfill:
            if after.is_done:
                self._forget_backfill()
            return None
        keys = [scope_key(run.scope.label, name) for run in runs for name in run.scope.classes]
        if endpoint.ids is None and "" in self._by_scope:
            keys = [""]
        known = [self._by_scope.get(key) for key in keys]
        if not known or not all(known):
            return None
        until: int = min(entry["until"] for entry in known if entry)
        return until

    def _forget_backfill(self) -> None:
        """A backfill that is complete leaves no trace in the state."""
        backfills = self._state[BACKFILLS]
        for key in [key for key, scopes in backfills.items() if scopes is self._by_scope]:
            del backfills[key]
        if not backfills:
            del self._state[BACKFILLS]
