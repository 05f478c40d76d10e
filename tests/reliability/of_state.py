"""Trouble with what dlt keeps in its folder, with what the database holds, and between the two."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.adversary.databases import DuckDbFile
from tests.adversary.driver import ACTIONS, facts
from tests.adversary.server import Fact
from tests.reliability.kinds import kind
from tests.reliability.trials import (
    ALL,
    BY_ID,
    DAY,
    FIRST_DAY,
    FOREIGN_KEY,
    HOUR,
    SETTLED,
    Call,
    Trial,
)
from tests.support import ROOT, CommandLine

REACTIONS = "actions_reactivities"
FIRST_VERSION = "4c84280"


def _backup(trial: Trial) -> Path:
    folder = trial.folder / "backup"
    folder.mkdir()
    trial.database.back_up(folder)
    shutil.copytree(trial.database.pipelines_dir, folder / "pipelines")
    return folder


@kind(1, "database put back from a backup beside newer files of dlt's", 0, says="read again")
def database_put_back(trial: Trial) -> Call:
    trial.load()
    backup = _backup(trial)
    trial.next_day()
    trial.load()
    trial.database.put_back(backup)
    trial.forget()
    return trial.load() if trial.rng.random() < 0.5 else trial.run()


@kind(1, "database put back from a backup while a package waits to be loaded", 0)
def database_put_back_before_a_load(trial: Trial) -> Call:
    trial.load()
    backup = _backup(trial)
    trial.next_day()
    trial.load()
    trial.next_day()
    trial.run(way="extract")
    trial.database.put_back(backup)
    trial.forget()
    return trial.load()


@kind(1, "files of dlt's put back from a backup beside a newer database", 0)
def folder_put_back(trial: Trial) -> Call:
    trial.load()
    backup = _backup(trial)
    trial.next_day()
    trial.load()
    shutil.rmtree(trial.database.pipelines_dir)
    shutil.copytree(backup / "pipelines", trial.database.pipelines_dir)
    trial.next_day()
    return trial.load() if trial.rng.random() < 0.5 else trial.run()


@kind(1, "files of dlt's, or the database, removed", 0)
def one_of_the_two_removed(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    if trial.rng.random() < 0.5:
        shutil.rmtree(trial.database.pipelines_dir)
    else:
        trial.database.remove()
    trial.forget()
    return trial.load() if trial.rng.random() < 0.5 else trial.run()


@kind(1, "`events` or `events__hits` emptied, or a period of it deleted", 0)
def rows_removed(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    trial.load()
    table = trial.rng.choice(("events", "events__hits"))
    where = ""
    if trial.rng.random() < 0.5:
        first = FIRST_DAY + trial.rng.randrange(2 * 24) * HOUR
        where = (
            f" WHERE {trial.database.milliseconds('timestamp')}"
            f" BETWEEN {first} AND {first + trial.rng.randrange(1, 30) * HOUR}"
        )
    trial.database.execute(f"DELETE FROM np6.{table}{where}")
    trial.forget()
    trial.next_day()
    return trial.load() if trial.rng.random() < 0.5 else trial.run()


@kind(1, "`load_windows` or `_dlt_loads` emptied, or rows of them", 0, says="read again")
def ledger_emptied(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    trial.load()
    trial.database.execute(
        trial.rng.choice(
            (
                "DELETE FROM np6.load_windows",
                "DELETE FROM np6.load_windows WHERE window_end > '2024-03-02T12:00:00Z'",
                "DELETE FROM np6._dlt_loads",
                "UPDATE np6._dlt_loads SET status = 1",
            )
        )
    )
    trial.next_day()
    return trial.load() if trial.rng.random() < 0.5 else trial.run()


@kind(1, "another pipeline reloads a part of the dataset's history", 0, says="read again")
def another_pipeline_reloads(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    other = DuckDbFile(trial.folder / "other", "other", database=trial.database.database)
    later = FIRST_DAY + trial.rng.randrange(1, 40) * HOUR
    trial.load("--reload", "--yes", database=other, start=later)
    # It was told to: what was before its start is gone, until the first pipeline's next run.
    trial.lost.clear()
    return trial.load()


@kind(17, "a package that waits to be loaded thrown away", 0, says="read again")
def package_thrown_away(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    trial.run(way="extract")
    for name in ("normalize", "load"):
        shutil.rmtree(trial.database.pipelines_dir / trial.database.name / name)
    trial.next_day()
    return trial.load()


@kind(2, "`--reload` killed before a statement of its load, another call next", -9)
def reload_killed(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    trial.load()
    while True:
        before = trial.rng.randrange(1, 30)
        ended = trial.load("--reload", "--yes", trouble={"kill_at": before})
        if ended.status != 0:
            break
    trial.next_day()
    begin = FIRST_DAY + DAY
    trial.load(start=begin)
    return ended


@kind(2, "`--reload` with a wrong key", 1, says="401")
def reload_with_a_wrong_key(trial: Trial) -> Call:
    trial.load()
    return trial.load("--reload", "--yes", key="999-unknown")


@kind(2, "`--reload` while the API is down", 1)
def reload_while_the_api_is_down(trial: Trial) -> Call:
    trial.load()
    trial.api.faults += [trial.rng.choice(("503", "drop", "html"))] * 50
    return trial.load("--reload", "--yes")


@kind(2, "`--reload --resources` where others have loaded too", 2, says=REACTIONS)
def reload_of_a_part(trial: Trial) -> Call:
    trial.resources = (ALL, REACTIONS)
    trial.load()
    return trial.load("--reload", "--yes", resources=(ALL,))


@kind(3, "a backfill killed in its merge, another call next", -9)
def backfill_killed(trial: Trial) -> Call:
    """What it was for is not loaded, and ``gaps`` must not say that nothing is missing."""
    begin = FIRST_DAY + DAY
    trial.load(start=begin)
    killed = trial.load("--end", str(begin), trouble={"kill_in_merge": True})
    trial.load(start=begin)
    gaps = trial.command("gaps", "--start", str(FIRST_DAY), "--end", str(begin))
    if gaps.status != 3:
        trial.lost |= set(trial.lacking(lambda fact: fact.timestamp < begin))
    trial.load("--end", str(begin))
    return killed


@kind(3, "ids given once, killed in their merge, then `gaps`", -9)
def ids_killed(trial: Trial) -> Call:
    begin = FIRST_DAY + DAY
    trial.load(start=begin)
    action = trial.rng.choice(ACTIONS)
    given = {"resources": (BY_ID,), "start": FIRST_DAY}
    is_asked = _of(action)
    killed = trial.load(
        "--action-ids", action, trouble={"kill_in_merge": True}, asked=is_asked, **given
    )
    trial.load(start=begin)
    gaps = trial.command("gaps", "--start", str(FIRST_DAY), "--end", str(begin))
    if gaps.status != 3:
        trial.lost |= set(trial.lacking(is_asked))
    trial.load("--action-ids", action, asked=is_asked, **given)
    trial.load("--end", str(begin))
    return killed


def _of(action: str) -> Any:
    return lambda fact: fact.action == action and fact.kind == "activation"


@kind(8, "the key of another account", 2, says="account")
def another_account(trial: Trial) -> Call:
    trial.api.accounts[FOREIGN_KEY] += facts(
        trial.rng, 30, FIRST_DAY, FIRST_DAY + 3 * DAY, "foreign"
    )
    trial.load()
    trial.next_day()
    return trial.load(key=FOREIGN_KEY, asked=lambda fact: False)


@kind(8, "another `base_url` on the same pipeline", 2, says="account")
def another_address(trial: Trial) -> Call:
    trial.load()
    trial.next_day()
    url = trial.api.url
    trial.api.url = url.replace("127.0.0.1", "localhost")
    try:
        return trial.load()
    finally:
        trial.api.url = url


@kind(8, "two databases in turns under one pipeline's name and folder", 0)
def two_databases_in_turns(trial: Trial) -> Call:
    first = trial.database
    second = DuckDbFile(trial.folder, first.name, database=trial.folder / "second.duckdb")
    ended = trial.load()
    for _ in range(2):
        for database in (second, first):
            trial.next_day()
            trial.database = database
            trial.forget()
            ended = trial.load() if trial.rng.random() < 0.5 else trial.run()
    return ended


@kind(16, "two accounts as two sources in one `pipeline.run`", 1, says="account")
def two_accounts_in_one_run(trial: Trial) -> Call:
    trial.api.accounts[FOREIGN_KEY] += facts(trial.rng, 30, FIRST_DAY, FIRST_DAY + DAY, "foreign")
    return trial.run(beside=[trial.described(key=FOREIGN_KEY)])


@kind(16, "`largest_load` configured, and a run that is given its span", 1, says="ended the run")
def a_limit_within_a_span(trial: Trial) -> Call:
    return trial.run(
        source={"end": SETTLED},
        environment={"SOURCES__NP6__LARGEST_LOAD": str(trial.rng.randrange(1, 20))},
    )


@kind(16, "a source that goes on under another name", 0, says="has no progress yet and begins at")
def another_name(trial: Trial) -> Call:
    trial.run()
    trial.next_day()
    return trial.run(clone={"name": "np6_renamed", "section": "np6"})


@kind(17, "`refresh` with `end` or with a later `start`", 1, says="would empty")
def refresh_of_a_part(trial: Trial) -> Call:
    trial.run()
    trial.next_day()
    mode = trial.rng.choice(("drop_sources", "drop_resources", "drop_data"))
    given = {trial.rng.choice(("end", "start")): FIRST_DAY + DAY}
    return trial.run(run={"refresh": mode}, source=given)


@kind(17, "`refresh` by another pipeline, of other resources", 0)
def refresh_by_another_pipeline(trial: Trial) -> Call:
    trial.run()
    trial.next_day()
    return trial.run(
        pipeline="other",
        run={"refresh": trial.rng.choice(("drop_sources", "drop_resources", "drop_data"))},
        resources=(REACTIONS,),
        asked=lambda fact: fact.kind == "hit",
    )


def _run_of_the_first_version(trial: Trial, package: Path) -> Call:
    code = (
        "import json, sys, dlt; from np6_source import np6_source; o = json.loads(sys.argv[1]);"
        " dlt.pipeline(o['name'], destination=dlt.destinations.duckdb(o['file']),"
        " dataset_name='np6', pipelines_dir=o['folder'])"
        ".run(np6_source(**o['source']).with_resources('actions_events'))"
    )
    given = trial.described() | {
        "name": trial.database.name,
        "file": str(trial.database.database),
        "folder": str(trial.database.pipelines_dir),
    }
    import json

    ended = subprocess.run(
        [sys.executable, "-c", code, json.dumps(given)],
        cwd=package,
        env=CommandLine(package).environment | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    call = Call(ended.returncode, ended.stdout + ended.stderr)
    trial.calls.append(call)
    trial.check(call, lambda fact: fact.timestamp < (trial.api.now or 0) - HOUR)
    return call


@kind(18, "the first version and this one load in turns", 0, is_slow=True)
def versions_take_turns(trial: Trial) -> Call:
    package = trial.folder / "first-version"
    package.mkdir()
    archive = subprocess.run(
        ["git", "archive", FIRST_VERSION, "np6_source"], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(package, filter="data")
    for _ in range(2):
        ended = _run_of_the_first_version(trial, package)
        if ended.status != 0:
            return ended
        trial.next_day()
        ended = trial.run()
        trial.next_day()
    return ended


@kind(7, "an event that comes with another `timestamp` later", 0)
def moved_event(trial: Trial) -> Call:
    trial.load()
    moved = trial.rng.randrange(len(trial.account))
    old = trial.account[moved]
    trial.next_day()
    now = trial.api.now or 0
    trial.account[moved] = Fact(old.id, now - 1 - trial.rng.randrange(HOUR), old.action, old.kind)
    return trial.load()


@kind(
    7,
    "an event that comes with another `timestamp`, `timestamps_are_final`, then `duplicates --yes`",
    0,
    says="timestamps_are_final",
)
def moved_event_that_was_final(trial: Trial) -> Call:
    trial.environment["SOURCES__NP6__TIMESTAMPS_ARE_FINAL"] = "true"
    # It says so; what stands twice goes with the command.
    trial.allows_twice = True
    ended = moved_event(trial)
    trial.command("duplicates", "--yes")
    trial.allows_twice = False
    trial.check(ended, lambda fact: True)
    return ended


@kind(7, "a package that was requested earlier and is loaded later", 0)
def older_package_later(trial: Trial) -> Call:
    """Its rows must not replace newer ones: the event's action has changed meanwhile."""
    span = {"end": SETTLED}
    there = [n for n, fact in enumerate(trial.account) if fact.timestamp < SETTLED]
    changed = trial.rng.choice(there)
    old = trial.account[changed]
    trial.run(way="extract", pipeline="slow", source=span)
    trial.api.now = (trial.api.now or 0) + HOUR
    newer = Fact(old.id, old.timestamp, "000NEW", old.kind)
    trial.account[changed] = newer
    trial.load()
    ended = trial.run(way="rest", pipeline="slow", source=span)
    found = trial.database.query(f"SELECT action_id FROM np6.events WHERE id = '{old.id}'")
    if found != [("000NEW",)]:
        trial.lost.add(old.id)
    return ended
