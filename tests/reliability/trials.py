"""One trial: an account, a server, a pipeline, calls as processes, and what they leave behind.

After every call the tables are compared with the account. An event is lost where a call ended
with status 0 and it is not there, where it was there before the call and is no longer, or where
it is not there in the end.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from np6_source.windows import SECOND
from tests.adversary.databases import DuckDbFile
from tests.adversary.driver import ACTIONS, facts
from tests.adversary.server import Api, Fact
from tests.cli.forked import Forks
from tests.support import ROOT, CommandLine, at

ALL = "actions_events"
BY_ID = "action_events_activations"
KEY, FOREIGN_KEY = "028-first", "777-other"
ADDRESS = "someone@example.org"
"""The recipient of every event; no output may have it."""
SECRETS = (KEY, FOREIGN_KEY, ADDRESS, quote(ADDRESS))
"""What no output may have, as it is and as it stands in a URL."""
DAY, HOUR = 24 * 3600 * SECOND, 3600 * SECOND
FIRST_DAY = at("03-01")
SETTLED = FIRST_DAY + 2 * DAY - HOUR
"""An end that has passed by every clock when the account begins; events follow it."""
CALL = ROOT / "tests" / "reliability" / "call.py"

TAsked = Callable[[Fact], bool]


@dataclass(frozen=True)
class Call:
    """How a call ended.

    Attributes:
        status: The exit status; negative: the signal that ended the process.
        output: What it printed, on both ways.
    """

    status: int
    output: str


@dataclass
class Trial:
    """One injection of one kind.

    Attributes:
        rng: What chance decides; a seed gives the same trial.
        folder: The trial's own.
        api: The server.
        forks: Starts processes.
        second_forks: Gives what starts processes beside those.
        database: Where the events go.
        now: The server's time in milliseconds; None: this machine's.
        options: Of every call of the script.
        environment: Of every call.
        lost: Ids that a call has lost.
        twice: Ids that stood in a table twice after a call.
        calls: Every call so far.
        exposed: What of the key or of people was found where it must not be, besides outputs.
    """

    rng: random.Random
    folder: Path
    api: Api
    forks: Forks
    second_forks: Callable[[], Forks]
    database: DuckDbFile
    resources: tuple[str, ...] = (ALL,)
    start: int = FIRST_DAY
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    exposed: list[str] = field(default_factory=list)
    allows_twice: bool = False
    _there: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """An account of two days; the server's clock stands at their end."""
        self.account = self.api.accounts[KEY]
        self.api.now = FIRST_DAY + 2 * DAY
        count = self.rng.randrange(60, 160)
        self.account += facts(self.rng, count, FIRST_DAY, FIRST_DAY + 2 * DAY, "old")

    # --- What happens beside the calls ---

    def next_day(self) -> None:
        """A day passes, with events."""
        assert self.api.now is not None
        begin = self.api.now
        self.api.now += DAY
        count = self.rng.randrange(20, 60)
        name = f"day{(begin - FIRST_DAY) // DAY}"
        self.account += facts(self.rng, count, begin, self.api.now, name)

    def as_of_now(self) -> None:
        """The account is of the last four hours, and clocks matter."""
        self.api.now = None
        end = int(time.time()) * SECOND - 5 * SECOND
        self.start = end - 4 * HOUR
        self.account[:] = facts(self.rng, len(self.account), self.start, end, "hour")
        self.environment["SOURCES__CLOCK_TOLERANCE"] = "60"

    def publish(self, count: int) -> None:
        """Events of this moment, which have settled when it returns."""
        now = int(time.time() * SECOND)
        taken = len(self.account)
        self.account += [
            Fact(f"new-{taken + n:05d}", now, self.rng.choice(ACTIONS), "activation")
            for n in range(count)
        ]
        time.sleep(1.1)

    def forget(self) -> None:
        """What is there now is what the next call must leave: somebody has taken rows away."""
        self._there = set(self.ids())

    # --- Calls ---

    def load(
        self,
        *options: str,
        key: str = KEY,
        resources: tuple[str, ...] | None = None,
        asked: TAsked = lambda fact: True,
        trouble: Mapping[str, Any] | None = None,
        database: DuckDbFile | None = None,
        start: int | None = None,
        **environment: str,
    ) -> Call:
        """The script.

        Args:
            options: Further options.
            key: The API key.
            resources: Other than those of the trial.
            asked: Which events the call is for.
            trouble: What goes wrong in the process, see ``call``.
            database: Of another pipeline.
            start: Other than the account's beginning.
            environment: Further variables.
        """
        begin = self.start if start is None else start
        ended = self.script(
            *options,
            key=key,
            resources=resources,
            trouble=trouble,
            database=database,
            start=begin,
            **environment,
        )
        self.check(ended, lambda fact: fact.timestamp >= begin and asked(fact))
        return ended

    def script(
        self,
        *options: str,
        key: str = KEY,
        resources: tuple[str, ...] | None = None,
        trouble: Mapping[str, Any] | None = None,
        database: DuckDbFile | None = None,
        start: int | None = None,
        forks: Forks | None = None,
        **environment: str,
    ) -> Call:
        """The script alone; see ``load``."""
        return self.call(
            "script",
            *("--base-url", self.api.url, "--progress", "none"),
            *(database or self.database).options(),
            *("--resources", *(resources or self.resources)),
            *("--start", str(self.start if start is None else start)),
            *self.options,
            *options,
            trouble=trouble,
            forks=forks,
            **{"SOURCES__NP6__API_KEY": key} | environment,
        )

    def command(self, name: str, *options: str, **environment: str) -> Call:
        """Another command of ``np6-source``; what it leaves is compared like that of a load."""
        ended = self.call("np6-source", name, *self.database.options(), *options, **environment)
        self.check(ended, lambda fact: False)
        return ended

    def run(
        self,
        *,
        way: str = "pipeline.run",
        asked: TAsked = lambda fact: True,
        resources: tuple[str, ...] | None = None,
        key: str | None = KEY,
        pipeline: str | None = None,
        trouble: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        source: Mapping[str, Any] | None = None,
        forks: Forks | None = None,
        checked: bool = True,
        **given: Any,
    ) -> Call:
        """A plain ``pipeline.run``, or another way of dlt's, see ``call.WAYS``."""
        described = self.described(resources, key, source) | {
            "pipeline": {
                "pipeline_name": pipeline or self.database.name,
                "pipelines_dir": str(self.database.pipelines_dir),
            },
            "destination": self.database.address,
            **given,
        }
        ended = self.call(
            way, json.dumps(described), trouble=trouble, forks=forks, **(environment or {})
        )
        if checked:
            loads = way in ("pipeline.run", "parts")
            self.check(ended, asked if loads else lambda fact: False)
        return ended

    def described(
        self,
        resources: tuple[str, ...] | None = None,
        key: str | None = KEY,
        source: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A source, as ``call`` makes it; without a key it is the configuration's."""
        return {
            "source": {
                **({} if key is None else {"api_key": key}),
                "base_url": self.api.url,
                "start": self.start,
                **(source or {}),
            },
            "resources": list(resources or self.resources),
        }

    def call(
        self,
        way: str,
        *arguments: str,
        trouble: Mapping[str, Any] | None = None,
        forks: Forks | None = None,
        **environment: str,
    ) -> Call:
        """A call in a process of its own, see ``call.WAYS``."""
        folder = self.folder / "work"
        folder.mkdir(exist_ok=True)
        ended = (forks or self.forks).run(
            CALL,
            [way, *arguments],
            folder,
            CommandLine(folder).environment
            | {
                "SOURCES__NP6__SETTLE": "0",
                "SOURCES__NP6__WINDOW": "43200",
                "SOURCES__NP6__OVERLAP": "600",
                "SOURCES__NP6__ATTEMPTS": "2",
                "SOURCES__SAME_ACCOUNT": "false",
                "TROUBLE": json.dumps(dict(trouble or {})),
            }
            | dict(self.database.environment)
            | self.environment
            | environment,
        )
        self.calls.append(Call(ended.returncode, ended.stdout + ended.stderr))
        return self.calls[-1]

    # --- What it has come to ---

    def check(self, call: Call, asked: TAsked) -> None:
        """Compares the tables with the account after a call."""
        ids, hits = self.ids(), self.hits()
        if not self.allows_twice:
            for found in (ids, hits):
                self.twice |= {one for one, count in Counter(found).items() if count > 1}
        # Another account's events are no events of this one's.
        self.twice |= {one for one in ids if one.startswith("foreign")}
        self.lost |= self._there - set(ids)
        self._there = set(ids)
        if call.status == 0:
            until = int(time.time()) * SECOND if self.api.now is None else self.api.now
            self.lost |= set(self.lacking(lambda fact: fact.timestamp < until and asked(fact)))

    def lacking(self, asked: TAsked = lambda fact: True) -> list[str]:
        """Events that are not there, or lack their row beside."""
        ids, hits = set(self.ids()), set(self.hits())
        return [
            fact.id
            for fact in list(self.account)
            if asked(fact) and (fact.id not in ids or (fact.kind == "hit" and fact.id not in hits))
        ]

    def recover(self) -> bool:
        """A well API, and loads until one ends with 0; whether the tables equal the account."""
        self.api.well()
        for _ in range(4):
            if self.load().status == 0:
                break
        lacking = set(self.lacking())
        self.lost |= lacking
        unknown = set(self.ids()) - {fact.id for fact in self.account}
        return self.calls[-1].status == 0 and not lacking and not unknown

    def ids(self) -> list[str]:
        """The ids in ``events``."""
        return self._column("SELECT id FROM np6.events")

    def hits(self) -> list[str]:
        """The ids in ``events__hits``."""
        return self._column("SELECT event_id FROM np6.events__hits")

    def _column(self, sql: str) -> list[str]:
        if not self.database.is_there():
            return []
        try:
            return [row[0] for row in self.database.query(sql)]
        except self.database.errors:
            return []

    @property
    def leaks(self) -> int:
        """How many calls have printed a key or an address, and what else was exposed."""
        printed = sum(any(text in call.output for text in SECRETS) for call in self.calls)
        return printed + len(self.exposed)
