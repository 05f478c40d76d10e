"""A call in a process of its own, with what goes wrong inside the process.

Run as a script: the first argument says what is called, the environment variable ``TROUBLE`` what
goes wrong, as JSON.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from typing import Any


def trouble_begins(trouble: dict[str, Any]) -> None:
    """Lets go wrong what is asked for.

    Args:
        trouble: ``kill_after``, ``term_after``: seconds until SIGKILL or SIGTERM. ``clock_steps``:
            seconds by which the clock steps after it was looked at so many times.
            ``largest_file``: bytes, as on a full disk. ``kill_at``: the statement that changes
            something, counted from 1, before which SIGKILL comes. ``kill_in_merge``: SIGKILL
            between DELETE and INSERT of the merge into ``events``. ``lose_lock``: address of the
            server whose advisory locks end before the merge. ``log_everything``: all logs at
            DEBUG. ``show_variables``: an error is printed with those of each frame.
    """
    for name, number in (("kill_after", signal.SIGKILL), ("term_after", signal.SIGTERM)):
        if name in trouble:
            timer = threading.Timer(trouble[name], os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()
    if "clock_steps" in trouble:
        _step_the_clock(**trouble["clock_steps"])
    if "largest_file" in trouble:
        # A compiled module that the limit cuts would break every later run of this Python.
        sys.dont_write_bytecode = True
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (trouble["largest_file"],) * 2)
    if "kill_at" in trouble:
        _before_statements(_Nth(trouble["kill_at"]))
    if trouble.get("kill_in_merge"):
        _before_statements(_is_insert_of_a_merge)
    if "lose_lock" in trouble:
        _before_merging(lambda: _end_locks(trouble["lose_lock"]))
    if trouble.get("log_everything"):
        _log_everything()


class _Nth:
    """Whether a statement is the n-th that changes something."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, statement: str) -> bool:
        words = ("DELETE", "INSERT", "COMMIT", "CREATE", "UPDATE", "ALTER")
        self.left -= any(word in statement for word in words)
        return self.left == 0


def _is_insert_of_a_merge(statement: str) -> bool:
    """Whether it puts rows into ``events``: dlt's from the staging table, or from files."""
    is_insert = statement.lstrip().startswith("INSERT INTO") and "events__" not in statement
    from_staging = "_dlt_dedup_rn" in statement
    return is_insert and (from_staging or ("EXCLUDE" in statement and "read_parquet" in statement))


def _step_the_clock(after: int, by: float) -> None:
    looks, real = [0], time.time

    def stepping() -> float:
        looks[0] += 1
        return real() + (by if looks[0] > after else 0)

    time.time = stepping
    from np6_source.api.server_clock import ServerClock

    # The class has taken the function of before for its default.
    ServerClock.__init__.__defaults__ = (stepping,)


def _log_everything() -> None:
    # dlt's own logger is at the level of RUNTIME__LOG_LEVEL. The commands replace the root's
    # handlers, not those of others.
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    for name in ("urllib3", "np6_source", "filelock", "sqlglot", "fsspec"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)


def _show_with_variables(error: BaseException) -> None:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        # Also those that are suppressed.
        waiting += [found.__cause__, found.__context__]
        shown = traceback.TracebackException.from_exception(found, capture_locals=True)
        shown.__cause__ = shown.__context__ = None
        sys.stderr.write("".join(shown.format()))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before_statements(is_reached: Callable[[str], bool]) -> None:
    from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
    from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
    from dlt.destinations.sql_client import SqlClientBase

    def one_by_one(client: Any, statements: Any, *arguments: Any, **named: Any) -> None:
        for statement in statements:
            client.execute_sql(statement, *arguments, **named)

    SqlClientBase.execute_many = one_by_one  # type: ignore[method-assign,assignment]
    for client in (DuckDbSqlClient, Psycopg2SqlClient):
        client.execute_query = _killing(client.execute_query, is_reached)


def _killing(execute: Any, is_reached: Callable[[str], bool]) -> Any:
    def run(client: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        if is_reached(query if isinstance(query, str) else str(query)):
            _die()
        return execute(client, query, *arguments, **named)

    return run


def _before_merging(action: Callable[[], None]) -> None:
    from dlt.destinations.job_client_impl import SqlJobClientBase

    create = SqlJobClientBase.create_table_chain_completed_followup_jobs

    def act_first(self: Any, table_chain: Any, *arguments: Any, **named: Any) -> Any:
        if table_chain[0]["name"] == "events":
            action()
        return create(self, table_chain, *arguments, **named)

    SqlJobClientBase.create_table_chain_completed_followup_jobs = act_first  # type: ignore[method-assign]


def _end_locks(url: str) -> None:
    import psycopg2

    connection = psycopg2.connect(url)
    connection.cursor().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    )
    connection.close()


def by_script(arguments: list[str]) -> int:
    """What a scheduler calls."""
    from np6_source.__main__ import load

    return load(arguments)


def by_command(arguments: list[str]) -> int:
    """``np6-source``."""
    from np6_source.__main__ import main

    return main(arguments)


def _pipeline(given: dict[str, Any]) -> Any:
    import dlt

    name, where = given["destination"]
    destination = getattr(dlt.destinations, name)(where)
    return dlt.pipeline(**given["pipeline"], destination=destination, dataset_name="np6")


def _source(given: dict[str, Any]) -> Any:
    from np6_source import np6_source

    make = np6_source.clone(**given["clone"]) if "clone" in given else np6_source
    return make(**given["source"]).with_resources(*given["resources"])


def by_run(given: dict[str, Any]) -> int:
    """A plain ``pipeline.run`` of a project of its own."""
    sources = [_source(one) for one in (given, *given.get("beside", ()))]
    _pipeline(given).run(sources if len(sources) > 1 else sources[0], **given.get("run", {}))
    return 0


def by_extract(given: dict[str, Any]) -> int:
    """A process that extracts and leaves the package to be loaded later."""
    _pipeline(given).extract(_source(given))
    return 0


def by_rest(given: dict[str, Any]) -> int:
    """Loads what another process has extracted."""
    pipeline = _pipeline(given)
    pipeline.normalize()
    pipeline.load()
    return 0


def by_plan(given: dict[str, Any]) -> int:
    """Plans the parts of a backfill."""
    from np6_source.parts import plan_parts

    parts = plan_parts(given["start"], given["end"], timedelta(days=1), **given["more"])
    return 0 if parts else 1


def by_parts(given: dict[str, Any]) -> int:
    """Loads a span of time as parts of a day, in processes beside or, without workers, in this."""
    options = given["source"]
    start = options.pop("start")
    from np6_source.parts import PartIncomplete, plan_parts

    parts = plan_parts(start, given["end"], timedelta(days=1), resources=given["resources"])
    if not given["workers"]:
        for part in parts:
            load_part_into(given["destination"], part, options)
        return 0
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given["workers"], mp_context=spawned) as pool:
        futures = [
            pool.submit(load_part_into, given["destination"], part, options) for part in parts
        ]
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if isinstance(error, PartIncomplete):
            sys.stderr.write(f"{len(error.report.failures)} failures came back: {error}\n")
    return min(1, len(errors))


def load_part_into(where: tuple[str, str], part: Any, options: dict[str, Any]) -> None:
    """A part, into a destination that is made in the process that loads."""
    import dlt

    from np6_source.parts import load_part

    load_part(part, getattr(dlt.destinations, where[0])(where[1]), **options)


WAYS: dict[str, Callable[[Any], int]] = {
    "script": by_script,
    "np6-source": by_command,
    "pipeline.run": by_run,
    "extract": by_extract,
    "rest": by_rest,
    "plan_parts": by_plan,
    "parts": by_parts,
}
"""What is called. Those that are not the project's own commands get one argument, JSON."""


def main() -> int:
    """Makes the call; returns the exit status."""
    trouble = json.loads(os.environ.pop("TROUBLE", "{}"))
    trouble_begins(trouble)
    way, *arguments = sys.argv[1:]
    is_command = way in ("script", "np6-source")
    try:
        return WAYS[way](arguments if is_command else json.loads(arguments[0]))
    except Exception as error:
        if not trouble.get("show_variables"):
            raise
        _show_with_variables(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
