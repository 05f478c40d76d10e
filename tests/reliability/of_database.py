"""Trouble with the destination and the machine: kills, memory, disk, others at work beside."""

from __future__ import annotations

import json
import threading
from typing import Any

from tests.reliability.kinds import kind
from tests.reliability.trials import DAY, FIRST_DAY, SETTLED, Call, Trial
from tests.support import http_answer

TRows = list[dict[str, Any]]


@kind(3, "killed between DELETE and INSERT of a merge (DuckDB)", -9)
def killed_in_a_merge(trial: Trial) -> Call:
    trial.load()
    killed = trial.load("--end", str(SETTLED), trouble={"kill_in_merge": True})
    trial.next_day()
    # A different call: the schedule's, which begins later.
    trial.load(start=FIRST_DAY + DAY)
    return killed


@kind(3, "killed between DELETE and INSERT of a merge (PostgreSQL)", -9, needs_postgres=True)
def killed_in_a_merge_on_postgresql(trial: Trial) -> Call:
    return killed_in_a_merge(trial)


@kind(3, "killed before any statement of a load (DuckDB)", -9)
def killed_at_a_statement(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    return _killed_somewhere(trial, 45)


@kind(3, "killed before any statement of a load (PostgreSQL)", -9, needs_postgres=True)
def killed_at_a_statement_on_postgresql(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    return _killed_somewhere(trial, 30)


def _killed_somewhere(trial: Trial, statements: int) -> Call:
    """A load that is killed; one with fewer statements ends, and events come for the next."""
    while True:
        ended = trial.load(trouble={"kill_at": trial.rng.randrange(1, statements)})
        if ended.status != 0:
            return ended
        trial.next_day()


@kind(3, "killed at any moment of a first load", -9)
def killed_at_a_moment(trial: Trial) -> Call:
    seconds = trial.rng.uniform(0.05, 1.0)
    while True:
        ended = trial.load(trouble={"kill_after": seconds})
        if ended.status != 0:
            return ended
        trial.next_day()
        seconds /= 2


@kind(10, "SIGTERM at any moment of a load", 143, 0)
def ended_by_a_signal(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    trial.api.slow = 0.3
    return trial.load(trouble={"term_after": trial.rng.uniform(0.3, 3.0)})


def _wide(trial: Trial, size: int) -> None:
    """Every event has so many bytes in a field without a column."""

    def respond(path: str, rows: TRows) -> bytes:
        for row in rows:
            row["extra"] = trial.rng.randbytes(size // 2).hex()
        return http_answer(json.dumps(rows).encode(), headers={"Date": trial.api.date})

    trial.api.respond = respond


@kind(3, "a column dropped by hand", 1)
def column_dropped(trial: Trial) -> Call:
    trial.load()
    trial.database.execute("ALTER TABLE np6.events DROP COLUMN unmapped")
    trial.next_day()
    ended = trial.load()
    trial.database.execute("ALTER TABLE np6.events ADD COLUMN unmapped VARCHAR")
    return ended


@kind(3, "no disk left", 0, 1)
def disk_full(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    _wide(trial, 20_000)
    return trial.load(trouble={"largest_file": trial.rng.randrange(32, 1_500) * 1024})


@kind(11, "events of 0.1 to 1 MB", 0, is_slow=True)
def large_rows(trial: Trial) -> Call:
    del trial.account[40:]
    _wide(trial, trial.rng.randrange(100_000, 1_000_000))
    return trial.load()


@kind(14, "two calls of the script at once", 75, says="Another process is running")
def two_scripts(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    began, may_go_on = threading.Event(), threading.Event()

    def respond(path: str, rows: TRows) -> None:
        began.set()
        may_go_on.wait(30)

    trial.api.respond = respond
    first: list[Call] = []
    other = threading.Thread(target=lambda: first.append(trial.script(forks=trial.second_forks())))
    other.start()
    began.wait(30)
    ended = trial.load(asked=lambda fact: False)
    may_go_on.set()
    other.join()
    trial.check(first[0], lambda fact: True)
    return ended


@kind(14, "two `pipeline.run` over disjoint days at once (PostgreSQL)", 0, needs_postgres=True)
def two_runs(trial: Trial) -> Call:
    """dlt 1.31 lets pipelines into one dataset share its staging dataset (dlt 4297)."""
    middle = FIRST_DAY + DAY
    spans = ({"end": middle}, {"start": middle, "end": SETTLED})
    ended: list[Call] = []

    def run(number: int) -> None:
        ended.append(
            trial.run(
                pipeline=f"half_{number}",
                source=spans[number],
                forks=trial.second_forks() if number else None,
                checked=False,
            )
        )

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for call in ended:
        trial.check(
            call,
            lambda fact: fact.timestamp < SETTLED and all(one.status == 0 for one in ended),
        )
    return max(ended, key=lambda call: abs(call.status))


@kind(14, "the dataset's lock lost in a load (PostgreSQL)", 1, says="is lost", needs_postgres=True)
def lock_lost(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    return trial.load(trouble={"lose_lock": trial.database.address[1]})


@kind(15, "`csv` for PostgreSQL, in the call", 1, says="'csv' cannot be used", needs_postgres=True)
def csv_on_postgresql(trial: Trial) -> Call:
    return trial.run(run={"loader_file_format": "csv"})


@kind(15, "`plan_parts` of no resources or no ids", 1, says="SettingError")
def plan_of_nothing(trial: Trial) -> Call:
    nothing = trial.rng.choice(({"resources": []}, {"ids": {"action_ids": []}}))
    return trial.run(
        way="plan_parts", start=FIRST_DAY, end=FIRST_DAY + 3 * DAY, more=nothing, checked=False
    )


@kind(20, "a row that PostgreSQL refuses", 1, says="Failing row contains", needs_postgres=True)
def refused_row(trial: Trial) -> Call:
    trial.load()
    trial.database.execute(
        "ALTER TABLE np6.events ADD CONSTRAINT nobody CHECK (recipient NOT LIKE '%@%') NOT VALID"
    )
    trial.next_day()
    ended = trial.load()
    trial.database.execute("ALTER TABLE np6.events DROP CONSTRAINT nobody")
    return ended
