"""Injects each kind of trouble, adds to what is kept, and writes the table of the page.

    python -m tests.reliability --times 10
    python -m tests.reliability --only clock --times 1      (shows what came of it, keeps nothing)

What is kept is added to, so that a long run may be cut in parts; without the file it begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.conftest import running_postgres
from tests.reliability.kinds import KINDS, Kind
from tests.reliability.page import written
from tests.reliability.playing import Tally, playing
from tests.support import ROOT, is_configuration

RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "reliability.md"
AS_OFTEN_AS_A_SLOW_ONE = 3
"""How often a kind is injected for each time that one is which takes long."""


def options() -> argparse.Namespace:
    """The program's options."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="how often each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1500, help="when to stop (%(default)s)")
    parser.add_argument("--seed", type=int, help="the first seed (drawn: no run repeats another)")
    parser.add_argument("--only", help="kinds whose name or function has this text")
    parser.add_argument("--json", type=Path, help="where to keep what came of it")
    parser.add_argument("--page", type=Path, help="the page whose table is to be written")
    return parser.parse_args()


def added(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The results of two runs with a kind as one."""
    total = dict(now)
    for name in ("injected", "lost", "twice", "said", "whole", "calls", "leaks"):
        total[name] += before[name]
    statuses = dict(now["statuses"])
    for status, count in before["statuses"].items():
        statuses[status] = statuses.get(status, 0) + count
    total["statuses"] = dict(sorted(statuses.items()))
    return total


class Kept:
    """What came of all runs so far, by kind; several processes may add to it at once."""

    def __init__(self, file: Path | None) -> None:
        self._file = file.resolve() if file else None
        self._rows: dict[str, dict[str, Any]] = {}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each kind, in the order of the page."""
        if self._file and self._file.exists():
            found = json.loads(self._file.read_text("utf-8"))
            self._rows = {row["kind"]: row for row in found}
        return [self._rows.get(kind.name) or Tally().as_json(kind) for kind in KINDS]

    def injected(self) -> dict[str, int]:
        """How often each kind was injected."""
        return {row["kind"]: row["injected"] for row in self.rows()}

    def add(self, kind: Kind, tally: Tally) -> None:
        """Adds what came of a kind."""
        with FileLock(f"{self._file}.lock") if self._file else nullcontext():
            now = tally.as_json(kind)
            rows = [added(row, now) if row["kind"] == kind.name else row for row in self.rows()]
            self._rows = {row["kind"]: row for row in rows}
            if self._file:
                text = json.dumps(rows, indent=1, ensure_ascii=False)
                new = self._file.with_suffix(".new")
                new.write_text(f"{text}\n", "utf-8")
                new.replace(self._file)


def main() -> int:
    """Plays; returns 1 where a kind did not go as it says."""
    given = options()
    for name in filter(is_configuration, list(os.environ)):
        del os.environ[name]
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    kept = Kept(given.json)
    all_went_well = _play(kept, given)
    if given.page:
        given.page.write_text(written(given.page.read_text("utf-8"), kept.rows()), "utf-8")
    return int(not all_went_well)


def _play(kept: Kept, given: argparse.Namespace) -> bool:
    deadline = time.monotonic() + given.seconds
    first_seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    chosen = [
        kind
        for kind in KINDS
        if given.only is None or given.only in f"{kind.name} {kind.inject.__name__}"
    ]
    all_went_well = True
    with ExitStack() as stack:
        os.environ["HOME"] = stack.enter_context(tempfile.TemporaryDirectory())
        servers: list[str] = []

        def socket() -> str:
            if not servers:
                servers.append(stack.enter_context(running_postgres()))
            return servers[0]

        player = stack.enter_context(playing(socket))
        while time.monotonic() < deadline:
            injected = kept.injected()

            def turn_of(kind: Kind, injected: dict[str, int] = injected) -> int:
                return injected[kind.name] * (AS_OFTEN_AS_A_SLOW_ONE if kind.is_slow else 1)

            kind = min(chosen, key=turn_of)
            if turn_of(kind) >= given.times:
                break
            tally, seed = Tally(), first_seed + injected[kind.name]
            player.play(kind, seed, tally)
            kept.add(kind, tally)
            all_went_well &= not tally.odd
            _report(kind.name, seed, tally)
    return all_went_well


def _report(name: str, seed: int, tally: Tally) -> None:
    sys.stdout.write(f"{name}, {seed}: {dict(tally.statuses)}\n")
    for text in tally.odd:
        sys.stdout.write(f"  ODD {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
