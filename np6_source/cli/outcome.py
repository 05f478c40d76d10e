"""From what happened to an exit status and a sentence: errors are mapped nowhere else.

| status | meaning |
|---|---|
| 0 | done: everything requested is there |
| 1 | failed: the message says what, where, and what to do |
| 2 | an option or a setting that cannot be used; nothing started |
| 3 | done, and found something: a gap, a difference |
| 4 | nothing is loaded here |
| 75 | later: NP6 asks to wait, a file is locked, another call runs |
| 130, 143 | ended by Ctrl-C or SIGTERM |
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, TypeGuard

import duckdb
from dlt.common.configuration.exceptions import (
    ConfigFieldMissingException,
    ConfigurationException,
    ConfigValueCannotBeCoercedException,
    LookupTrace,
    LookupTraces,
    ValueNotSecretException,
)
from dlt.common.exceptions import DltException, MissingDependencyException
from dlt.pipeline.exceptions import PipelineStepFailed
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..dataset_lock import holder_named_by
from ..dlt_internals.jobs import refusal_of_job
from ..errors import Np6Error, SettingError, TryAgainLater
from ..loading import AlreadyRunning
from ..redaction import without_rows
from .document import Problem, print_document
from .working_folder import what_it_knows

DONE = 0
FAILED = 1
UNUSABLE = 2
FOUND = 3
NOTHING_LOADED = 4
TRY_AGAIN_LATER = 75
SIGNALLED = 128
"""A process that signal n ended has the status 128 + n."""

MISSING_KEY = """\
No NP6 API key. Give it in one of three ways:
  - in the environment:  export SOURCES__NP6__API_KEY=...
  - in .dlt/secrets.toml (copy .dlt/example.secrets.toml):  [sources.np6] api_key = "..."
  - in ~/.dlt/secrets.toml, the same, for every project of yours
`np6-source check` says what is found, and whether it works.
Without an account: `make demo` runs everything against a local NP6 API and needs none."""


class NothingLoaded(Np6Error):
    """The dataset is not there, or no load into it was ever completed."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: The exit status.
        message: What to print; empty where the command has printed it.
    """

    status: int
    message: str = ""


ENVIRONMENT = "Environment Variables"
"""What dlt calls that provider (dlt 1.31)."""
WIDE = 200
"""Columns of a table that no terminal shows."""


class Output(Console):
    """Standard output. A reader that has gone, such as ``head -1``, is no failure.

    A table in a file or a pipe is not cut to the width of a terminal that is not there.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, highlight=False, **options)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = WIDE

    def print_table(self, table: Table) -> None:
        """Prints a table; no line of it ends with the spaces that fill the last column."""
        with self.capture() as captured:
            self.print(table)
        for line in Text.from_ansi(captured.get()).split():
            line.rstrip()
            self.print(line)

    def on_broken_pipe(self) -> None:
        """Writes to nowhere from here on; rich would exit with 1."""
        _discard(sys.stdout)


def run(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Runs a command and says on standard error what went wrong.

    Args:
        command: Returns the exit status.
        options: What it is called with.

    Returns:
        The exit status.
    """
    try:
        status = command(options)
    except KeyboardInterrupt:
        status = SIGNALLED + 2
    except BrokenPipeError:
        _discard(sys.stdout)
        status = DONE
    except Exception as error:
        outcome = outcome_of(error)
        if outcome is None:
            raise
        if getattr(options, "debug", False):
            traceback.print_exception(error)
        status, message = outcome.status, outcome.message
        if status == NOTHING_LOADED:
            message += what_it_knows(options)
        if message:
            print(message, file=sys.stderr)
        if message and getattr(options, "json", False):
            kind = type(error).__name__
            problem = Problem("error", kind, message)
            command_name = getattr(options, "command", "load")
            print_document(command_name, status, options, problems=[problem])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
    return status


_LOST_CONNECTION = frozenset({"OperationalError", "InterfaceError"})
"""What drivers call it (PEP 249). Where dlt 1.31 opens a connection it lets such errors pass."""


def outcome_of(error: BaseException) -> Outcome | None:
    """What an error means for the caller; None where it is a defect of this program."""
    # DuckDB makes an error of its own of a Ctrl-C that comes during a query.
    if any(isinstance(cause, KeyboardInterrupt) for cause in _chain(error)):
        return Outcome(SIGNALLED + signal.SIGINT)
    for cause in _chain(error):
        found = _outcome_of_one(cause)
        if found is not None:
            return found
    if isinstance(error, PipelineStepFailed):
        return Outcome(
            FAILED,
            f"dlt's {error.step} step failed: {_cause(error)}\nNothing of this step was"
            " committed; the next call goes on from the last committed package. --debug shows"
            " where it failed.",
        )
    if isinstance(error, (DltException, duckdb.Error, OSError)):
        return Outcome(FAILED, f"{type(error).__name__}: {_first_line(error)}")
    if _LOST_CONNECTION & {base.__name__ for base in type(error).__mro__}:
        return Outcome(
            FAILED,
            f"The destination's connection failed: {_first_line(error)}. What is committed stays:"
            " run it again.",
        )
    return None


def _outcome_of_one(error: BaseException) -> Outcome | None:
    if isinstance(error, SettingError):
        return Outcome(UNUSABLE, str(error))
    if isinstance(error, NothingLoaded):
        return Outcome(NOTHING_LOADED, str(error))
    if isinstance(error, (AlreadyRunning, TryAgainLater)):
        return Outcome(TRY_AGAIN_LATER, str(error))
    if isinstance(error, Np6Error):
        return Outcome(FAILED, str(error))
    if isinstance(error, MissingDependencyException):
        packages = " ".join(f"'{name}'" for name in error.dependencies)
        return Outcome(UNUSABLE, f"A package is missing: pip install {packages}")
    if isinstance(error, ConfigFieldMissingException):
        return Outcome(UNUSABLE, _missing_fields(error))
    if isinstance(error, ConfigValueCannotBeCoercedException):
        name = error.field_name
        return Outcome(
            UNUSABLE,
            f"{name}={error.field_value!r} is configured, and cannot be used as {name}: look in the"
            f" environment (SOURCES__NP6__{name.upper()}) and in [sources.np6] of config.toml and"
            " secrets.toml.",
        )
    if isinstance(error, ValueNotSecretException):
        variable = error.key.replace(".", "__").upper()
        return Outcome(
            UNUSABLE,
            f"{error.key} is in {error.provider_name}, where dlt takes no secrets: move it to"
            " .dlt/secrets.toml, into the same section, or give it in the environment as"
            f" {variable}.",
        )
    if isinstance(error, ConfigurationException):
        return Outcome(UNUSABLE, _first_sentence(error))
    if (holder := holder_named_by(error)) is not None:
        return Outcome(
            TRY_AGAIN_LATER,
            f"The DuckDB file is in use: {holder} has it open; close it there, or read a copy."
            " Nothing was changed: run it again later. `np6-source check` says whether it is free.",
        )
    if isinstance(error, duckdb.Error):
        return Outcome(FAILED, f"DuckDB: {_first_line(error)}")
    if type(error).__name__ == "InsufficientPrivilege":  # psycopg2's, which need not be there.
        return Outcome(
            FAILED,
            f"PostgreSQL: {_first_line(error)}. What is committed stays. Give the role of"
            " destination.postgres.credentials that right, and run it again.",
        )
    return None


def _missing_fields(error: ConfigFieldMissingException) -> str:
    if "api_key" in error.fields:
        return MISSING_KEY
    variables = list(_variables(error.traces))
    return (
        f"Not configured: {', '.join(error.fields)}. Give {', '.join(variables)} in the"
        " environment, or the same in .dlt/secrets.toml, as dlt's documentation says."
    )


def _variables(traces: Mapping[str, Sequence[LookupTrace | LookupTraces]]) -> Iterator[str]:
    """For each value that is missing, the variable for this destination and any pipeline."""
    for looks in traces.values():
        keys = [
            (-len(look.sections), len(look.key), look.key)
            for look in looks
            if _is_leaf(look) and look.provider == ENVIRONMENT
        ]
        if keys:
            yield min(keys)[2]
        for look in looks:
            if isinstance(look, LookupTraces):
                yield from _variables(look.traces)


def _is_leaf(look: LookupTrace | LookupTraces) -> TypeGuard[LookupTrace]:
    return isinstance(look, LookupTrace)


def _cause(error: PipelineStepFailed) -> str:
    """What made a step fail; of a load job what the destination said, without a row's values."""
    for cause in _chain(error):
        if (refusal := refusal_of_job(cause)) is not None:
            said = without_rows(str(refusal)).strip().splitlines()
            detail = [line for line in said[1:] if line.startswith("DETAIL")]
            return " ".join([*said[:1], *detail])
    return _first_line(error.__cause__ or error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _first_sentence(error: BaseException) -> str:
    """The first line, and what it announces with a colon."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(lines[:2]) if lines and lines[0].endswith(":") else _first_line(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _discard(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
