"""Plays kinds of trouble, each so many times, and counts what came of it."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What they import is what adds the kinds.
from tests.adversary.databases import DuckDbFile, PostgresDatabase
from tests.adversary.server import serving
from tests.cli.forked import Forks, forks
from tests.reliability import of_api, of_database, of_secrets, of_state  # noqa: F401
from tests.reliability.kinds import Kind
from tests.reliability.trials import FOREIGN_KEY, KEY, Trial


@dataclass
class Tally:
    """What came of a kind.

    Attributes:
        injected: How often it was injected.
        lost: Events that were lost.
        twice: Events that stood in a table twice.
        statuses: How often the call in trouble ended with which exit status.
        said: How often it said what the kind says.
        whole: How often the tables were the account's in the end.
        calls: Calls made, those around included.
        leaks: Calls that printed a key or an address, and what else of them was exposed.
        odd: What did not go as the kind says, for whoever looks into it; not kept.
    """

    injected: int = 0
    lost: int = 0
    twice: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    said: int = 0
    whole: int = 0
    calls: int = 0
    leaks: int = 0
    odd: list[str] = field(default_factory=list)

    def add(self, kind: Kind, trial: Trial, status: int, output: str, whole: bool) -> None:
        """Counts a trial."""
        self.injected += 1
        self.lost += len(trial.lost)
        self.twice += len(trial.twice)
        self.statuses[status] += 1
        said = kind.says in output
        self.said += said
        self.whole += whole
        self.calls += len(trial.calls)
        self.leaks += trial.leaks
        went_as_told = whole and said and status in kind.statuses
        if trial.lost or trial.twice or trial.leaks or not went_as_told:
            every = "\n".join(f"  {call.status}: {call.output[-1500:]}" for call in trial.calls)
            self.odd.append(
                f"status {status}, lost {sorted(trial.lost)[:3]}, twice {sorted(trial.twice)[:3]},"
                f" whole {whole}, said {said}, leaks {trial.leaks} {trial.exposed[:3]}\n{every}"
            )

    def as_json(self, kind: Kind) -> dict[str, Any]:
        """What is kept."""
        return {
            "rule": kind.rule,
            "kind": kind.name,
            "says": kind.says,
            "injected": self.injected,
            "lost": self.lost,
            "twice": self.twice,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "said": self.said,
            "whole": self.whole,
            "calls": self.calls,
            "leaks": self.leaks,
        }


class Player:
    """Plays trials; processes and PostgreSQL are started once, when they are first needed."""

    def __init__(self, stack: ExitStack, postgres_socket: Callable[[], str]) -> None:
        self._stack, self._postgres_socket = stack, postgres_socket
        self._forks: list[Forks] = []
        self._databases = 0

    def play(self, kind: Kind, seed: int, tally: Tally) -> None:
        """Injects a kind once."""
        # Whatever has run before, in this or in another order, a seed is the same trial.
        rng = random.Random(f"{kind.name} {seed}")
        with (
            tempfile.TemporaryDirectory(prefix="np6_trial_", ignore_cleanup_errors=True) as name,
            serving({KEY: [], FOREIGN_KEY: []}) as api,
        ):
            folder = Path(name)
            trial = Trial(
                rng,
                folder,
                api,
                self._processes(0),
                lambda: self._processes(1),
                self._database(kind, folder),
            )
            ended = kind.inject(trial)
            status, output = ended.status, ended.output
            tally.add(kind, trial, status, output, trial.recover())
            if kind.needs_postgres:
                trial.database.remove()
            shutil.rmtree(folder, ignore_errors=True)

    def _processes(self, number: int) -> Forks:
        while len(self._forks) <= number:
            self._forks.append(self._stack.enter_context(forks()))
        return self._forks[number]

    def _database(self, kind: Kind, folder: Path) -> DuckDbFile:
        if not kind.needs_postgres:
            return DuckDbFile(folder, "trial")
        self._databases += 1
        name = f"reliability_{self._databases}"
        return PostgresDatabase(folder, "trial", self._postgres_socket(), name)


@contextmanager
def playing(postgres_socket: Callable[[], str]) -> Iterator[Player]:
    """A player, whose processes end with the block."""
    with ExitStack() as stack:
        yield Player(stack, postgres_socket)
