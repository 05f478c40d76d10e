"""What the tests' worker processes do: load a part, or die while they do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import dlt
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_client_impl import SqlJobClientBase

from np6_source import np6_source
from np6_source.parts import Part, load_part


@dataclass(frozen=True)
class Job:
    """A dataset and an API, in a form that goes to another process.

    Attributes:
        destination: Name of a dlt destination, and its credentials.
        dataset: The dataset.
        options: Arguments of ``np6_source``.
    """

    destination: tuple[str, str]
    dataset: str
    options: Mapping[str, Any]

    def make_destination(self) -> Any:
        name, credentials = self.destination
        if name == "lake":
            from np6_source.lake import filesystem

            return filesystem(credentials)
        return getattr(dlt.destinations, name)(credentials)


def load(job: Job, part: dict[str, Any], workers: int = 1) -> dict[str, int]:
    """Loads a part as a scheduler's worker would."""
    report = load_part(
        Part.from_json(part), job.make_destination(), job.dataset, workers=workers, **job.options
    )
    return dict(report.rows)


def load_and_die(job: Job, part: dict[str, Any]) -> None:
    """Is killed when the part's events are in staging and not merged yet."""
    before_merging("events", lambda: os.kill(os.getpid(), signal.SIGKILL))
    load(job, part)


def run_plainly(job: Job, part: dict[str, Any], name: str) -> None:
    """Loads a part with nothing but dlt, as any project would."""
    pipeline = dlt.pipeline(
        name,
        destination=job.make_destination(),
        dataset_name=job.dataset,
        pipelines_dir=name,
    )
    pipeline.run(source_of(job, Part.from_json(part)))


def source_of(job: Job, part: Part) -> Any:
    """The source for a part over the account."""
    return np6_source(**{**job.options, "start": part.start, "end": part.end})


def before_merging(table: str, action: Callable[[], None]) -> Callable[[], None]:
    """Does something when a table's rows are all in staging; gives what takes that back."""
    create = SqlJobClientBase.create_table_chain_completed_followup_jobs

    @wraps(create)
    def act_first(self: Any, table_chain: Any, *arguments: Any, **named: Any) -> Any:
        if table_chain[0]["name"] == table:
            action()
        return create(self, table_chain, *arguments, **named)

    def take_back() -> None:
        SqlJobClientBase.create_table_chain_completed_followup_jobs = create  # type: ignore[method-assign]

    SqlJobClientBase.create_table_chain_completed_followup_jobs = act_first  # type: ignore[method-assign]
    return take_back


@contextmanager
def while_making_table(table: str, action: Callable[[], None]) -> Iterator[None]:
    """Does something when a table of a lake was not found, before it is made and filled."""
    load_open_table = FilesystemClient.load_open_table
    is_done = False

    def act_behind(self: Any, table_format: Any, table_name: str, *rest: Any, **named: Any) -> Any:
        nonlocal is_done
        try:
            return load_open_table(self, table_format, table_name, *rest, **named)
        except DestinationUndefinedEntity:
            if table_name == table and not is_done:
                is_done = True
                action()
            raise

    FilesystemClient.load_open_table = act_behind  # type: ignore[method-assign]
    try:
        yield
    finally:
        FilesystemClient.load_open_table = load_open_table  # type: ignore[method-assign]
