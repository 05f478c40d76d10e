"""Random sequences of what happens to a pipeline in years, and what must hold after each step.

A seed gives the same steps. Statuses are those of ``loading.load`` and ``pipeline.run`` in this
process; what is killed is the script, in a process of its own.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from np6_source import Np6Error, np6_source
from np6_source.ledger import coverage
from np6_source.windows import SECOND, Window, gaps
from tests.adversary.databases import DuckDbFile
from tests.adversary.server import FAULTS, Api, Fact
from tests.support import CommandLine

HOUR = 3600 * SECOND
ACCOUNT = ("actions_events", "actions_reactivities")
BY_ID = "action_events_activations"
ACTIONS = ("000A01", "000A02", "000A03")
KEYS = ("028-first", "028-second")
FOREIGN = "777-other"


def facts(rng: random.Random, count: int, start: int, end: int, prefix: str) -> list[Fact]:
    """Events at random moments of a span."""
    return [
        Fact(
            f"{prefix}-{number:05d}",
            rng.randrange(start, end),
            rng.choice(ACTIONS),
            rng.choice(("activation", "hit")),
        )
        for number in range(count)
    ]


class Driver:
    """One pipeline, one account, and a sequence of steps.

    Attributes:
        log: What was done and what came of it, for the message of a failure.
    """

    def __init__(
        self, seed: int, api: Api, warehouse: DuckDbFile, command_line: CommandLine
    ) -> None:
        self.rng = random.Random(seed)
        self.api, self.warehouse, self.command_line = api, warehouse, command_line
        now = int(time.time() * SECOND) // SECOND * SECOND
        self.start = now - 4 * HOUR
        self.account = api.accounts[KEYS[0]]
        self.account += facts(self.rng, 500, self.start, now - 10 * SECOND, "old")
        api.accounts[FOREIGN] += facts(self.rng, 50, self.start, now - 10 * SECOND, "foreign")
        self.overlap = self.rng.choice((1.0, 600.0))
        self.key = KEYS[0]
        self.published = 0
        self.backups = 0
        self.must_stay: set[str] = set()
        self.is_whole = False
        self.log = [f"seed {seed}, overlap {self.overlap:g}"]

    # --- What is loaded ---

    def source(self, *resources: str, key: str | None = None, **options: Any) -> Any:
        settings: dict[str, Any] = {
            "base_url": self.api.url,
            "start": self.start,
            "window": 3600.0,
            "overlap": self.overlap,
            "settle": 0.0,
            "backoff": 0.01,
            "attempts": 2,
            "clock_tolerance": 60.0,
            "same_account": False,
            "concurrency": 2,
            **options,
        }
        return np6_source(key or self.key, **settings).with_resources(*resources)

    def by_script(self, *resources: str, load: dict[str, Any] | None = None, **options: Any) -> str:
        """What ``loading.load`` comes to: ``ok``, or what it says."""
        try:
            report = self.warehouse.load(
                lambda **smaller: self.source(
                    *resources, **{"on_error": "keep", **options, **smaller}
                ),
                views="off",
                **(load or {}),
            )
        except Exception as error:
            return _said(error)
        return "ok" if not report.failures else f"failures {report.failures[0]['kind']}"

    def by_run(self, *resources: str, **options: Any) -> str:
        """What a plain ``pipeline.run`` comes to."""
        pipeline = self.warehouse.pipeline
        try:
            # dlt loads a pending package and then extracts nothing (dlt 1.31).
            had_pending = pipeline.has_pending_data
            pipeline.run(self.source(*resources, **options))
        except Exception as error:
            return _said(error)
        return "loaded what was pending" if had_pending else "ok"

    # --- Steps ---

    def load(self) -> None:
        way = self.rng.choice((self.by_script, self.by_script, self.by_run))
        self.is_whole = self.asked(way.__name__, lambda: way(*ACCOUNT), lambda _: True) == "ok"

    def backfill(self) -> None:
        first = self.start + self.rng.randrange(3) * HOUR
        last = first + self.rng.randrange(1, 60) * 60 * SECOND
        way = self.rng.choice((self.by_script, self.by_run))
        self.asked(
            f"backfill {way.__name__}",
            lambda: way(ACCOUNT[0], start=first, end=last),
            lambda fact: first <= fact.timestamp < last,
        )

    def one_action(self) -> None:
        action = self.rng.choice(ACTIONS)
        way = self.rng.choice((self.by_script, self.by_run))
        self.asked(
            f"action {action} {way.__name__}",
            lambda: way(BY_ID, action_ids=[action]),
            lambda fact: fact.action == action and fact.kind == "activation",
        )

    def reload(self) -> None:
        everything = (*ACCOUNT, BY_ID)
        self.asked(
            "reload",
            lambda: self.by_script(*everything, action_ids=[*ACTIONS], load={"reload": True}),
            lambda fact: True,
        )

    def other_account(self) -> None:
        if not self.ids():
            return  # Nothing says whose the tables are.
        said = self.by_script(*ACCOUNT, key=FOREIGN)
        self.log.append(f"other account: {said}")
        self.check(said, lambda fact: False, 0)

    def new_key(self) -> None:
        self.key = self.rng.choice(KEYS)
        self.log.append(f"key {self.key}")

    def kill(self) -> None:
        arguments = self.rng.choice(
            (
                ("--resources", *ACCOUNT, "--start", str(self.start)),
                ("--resources", *ACCOUNT, "--reload", "--yes"),
                (
                    *("--resources", ACCOUNT[0], "--start", str(self.start)),
                    *("--end", str(self.start + 2 * HOUR)),
                ),
                ("--resources", BY_ID, "--action-ids", *ACTIONS, "--start", str(self.start)),
            )
        )
        seconds = self.rng.uniform(0.5, 8.0)
        process = subprocess.Popen(
            self.command_line.arguments(
                *("np6_to_duckdb", "--progress", "none", "--base-url", self.api.url),
                *self.warehouse.options(),
                *arguments,
            ),
            cwd=self.command_line.folder,
            env=self.command_line.environment
            | self.warehouse.environment
            | {
                "SOURCES__NP6__API_KEY": self.key,
                "SOURCES__NP6__SETTLE": "0",
                "SOURCES__NP6__WINDOW": "3600",
                "SOURCES__NP6__OVERLAP": str(self.overlap),
                "SOURCES__NP6__SAME_ACCOUNT": "false",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        status = process.wait()
        self.log.append(f"kill after {seconds:.1f} s: {arguments[-3:]} status {status}")
        self.check("killed", lambda fact: False, 0)

    def misbehave(self) -> None:
        """The API errs in one way during one load, and is well afterwards."""
        api, rng = self.api, self.rng
        # Empty arrays can only be told where the overlap had events in the load before.
        can_tell = self.is_whole and self.overlap > 60
        ways = ["cap", "clock", "no clock", "faults", "faults"] + ["outage"] * 2 * can_tell
        way = rng.choice(ways)
        if way == "cap":
            api.cap = rng.choice((50, 100))
        elif way == "outage":
            api.outage = True
        elif way == "clock":
            api.clock = rng.choice((86_400.0, 3_000.0, -3_000.0))
        elif way == "no clock":
            api.clock = None
        else:
            api.faults += [rng.choice((*FAULTS, "", "")) for _ in range(rng.randrange(1, 12))]
        self.log.append(f"the API misbehaves: {way} {api.cap} {api.clock} {api.faults}")
        (self.load if api.outage else rng.choice((self.load, self.backfill, self.one_action)))()
        api.well()

    def publish(self) -> None:
        count = self.rng.randrange(1, 4)
        now = int(time.time() * SECOND)
        for _ in range(count):
            self.published += 1
            kind = self.rng.choice(("activation", "hit"))
            action = self.rng.choice(ACTIONS)
            self.account.append(Fact(f"new-{self.published:05d}", now, action, kind))
        self.log.append(f"{count} new events")
        time.sleep(1.1)

    def back_up(self) -> None:
        if not self.warehouse.is_there():
            return
        self.backups += 1
        folder = self.warehouse.folder / "backups" / str(self.backups)
        folder.mkdir(parents=True)
        self.warehouse.back_up(folder)
        if self.warehouse.pipelines_dir.exists():
            shutil.copytree(self.warehouse.pipelines_dir, folder / "pipelines")
        self.log.append(f"backup {self.backups}")

    def restore(self) -> None:
        """An older database beside the folder, an older folder beside it, or one of them gone."""
        what = self.rng.choice(("database", "folder", "no folder", "no database"))
        if self.backups and what in ("database", "folder"):
            number = self.rng.randrange(1, self.backups + 1)
            backup = self.warehouse.folder / "backups" / str(number)
            if what == "database":
                self.warehouse.put_back(backup)
            elif (backup / "pipelines").exists():
                shutil.rmtree(self.warehouse.pipelines_dir, ignore_errors=True)
                shutil.copytree(backup / "pipelines", self.warehouse.pipelines_dir)
        elif what == "no folder":
            shutil.rmtree(self.warehouse.pipelines_dir, ignore_errors=True)
        elif what == "no database":
            self.warehouse.remove()
        self.log.append(f"restore: {what}")
        self.is_whole = False
        self.must_stay = set(self.ids())

    def empty(self) -> None:
        """A table is emptied by hand."""
        table = self.rng.choice(("events", "load_windows", "events__hits", "_dlt_loads"))
        try:
            self.warehouse.execute(f"DELETE FROM np6.{table}")
        except self.warehouse.errors:
            return
        self.log.append(f"emptied {table}")
        self.is_whole = False
        self.must_stay = set(self.ids())

    def remove_some(self) -> None:
        """Rows of a span are deleted by hand, or an older table is put back beside newer ones."""
        if not self.is_whole:
            return  # Of what several operations have loaded in part, the ledger cannot tell.
        table = self.rng.choice(("events", "events__hits"))
        if self.backups and self.rng.random() < 0.4:
            number = self.rng.randrange(1, self.backups + 1)
            try:
                self.warehouse.put_table_back(
                    table, self.warehouse.folder / "backups" / str(number)
                )
            except self.warehouse.errors:
                return
            what = f"{table} of backup {number}"
        else:
            first = self.start + self.rng.randrange(240) * 60 * SECOND
            last = first + self.rng.choice((1, 30, 300)) * 60 * SECOND
            time_of = self.warehouse.milliseconds("timestamp")
            self.warehouse.execute(
                f"DELETE FROM np6.{table} WHERE {time_of} BETWEEN {first} AND {last}"
            )
            what = f"{table} of {Window(first, last)}"
        self.log.append(f"removed, or put back: {what}")
        self.is_whole = False
        self.must_stay = set(self.ids())

    STEPS = (
        *(load, load, load, backfill, one_action, reload, other_account, new_key),
        *(misbehave, misbehave, publish, publish, back_up, restore, empty, remove_some),
    )

    def step(self, kills: bool) -> None:
        """One step, chosen at random."""
        steps = [*Driver.STEPS, *([Driver.kill] * 3 if kills else [])]
        self.rng.choice(steps)(self)

    # --- What must hold ---

    def asked(self, what: str, load: Callable[[], str], is_asked: Callable[[Fact], bool]) -> str:
        # What was published before the load begins is there for it, by both clocks.
        until = int(time.time()) * SECOND
        said = load()
        self.log.append(f"{what}: {said}")
        self.check(said, is_asked, until)
        return said

    def check(self, said: str, is_asked: Callable[[Fact], bool], until: int) -> None:
        """Status 0 means that everything asked for is there; nothing ever goes, or comes twice."""
        ids = self.ids()
        assert len(ids) == len(set(ids)), f"{self}: twice"
        assert not [one for one in ids if one.startswith("foreign")], f"{self}: another account's"
        assert self.must_stay <= set(ids), f"{self}: {len(self.must_stay - set(ids))} have gone"
        self.must_stay = set(ids)
        if said == "ok":
            lost = self.lacking(is_asked, until)
            assert not lost, f"{self}: ok, but {len(lost)} are missing: {lost[:3]}"

    def lacking(self, is_asked: Callable[[Fact], bool], until: int) -> list[str]:
        """Events that were asked for and are not there, or lack their row beside."""
        ids, hits = set(self.ids()), set(self.hits())
        return [
            fact.id
            for fact in self.account
            if self.start <= fact.timestamp < until and is_asked(fact)
            if fact.id not in ids or (fact.kind == "hit" and fact.id not in hits)
        ]

    def end(self) -> None:
        """A well API, and loads until one is whole: the tables then equal the account."""
        self.api.well()
        time.sleep(1.1)
        for _ in range(6):
            until = int(time.time()) * SECOND
            said = self.by_script(*ACCOUNT)
            self.log.append(f"end: {said}")
            self.check(said, lambda fact: True, until)
            if said == "ok":
                break
            if "TableMissing" in said:
                self.reload()
        assert said == "ok", f"{self}: never whole again"
        assert sorted(self.ids()) == sorted(fact.id for fact in self.account), str(self)
        covered = coverage(self.warehouse.pipeline)
        for resource in ACCOUNT:
            assert not gaps(Window(self.start, until), covered[resource, ""]), str(self)

    def ids(self) -> list[str]:
        return self._column("SELECT id FROM np6.events")

    def hits(self) -> list[str]:
        return self._column("SELECT event_id FROM np6.events__hits")

    def _column(self, sql: str) -> list[str]:
        if not self.warehouse.is_there():
            return []
        try:
            return [row[0] for row in self.warehouse.query(sql)]
        except self.warehouse.errors:
            return []

    def __str__(self) -> str:
        return "\n  ".join(self.log)


def _said(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Np6Error):
        cause = cause.__cause__ or cause.__context__
    return f"{type(cause or error).__name__}: {str(cause or error)[:150]}"
