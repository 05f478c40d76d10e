"""Errors say what a person needs, and pass between processes."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone

import pytest

import np6_source
from np6_source import errors
from np6_source.errors import (
    RUN_ENDING,
    Incomplete,
    Np6Error,
    RequestContext,
    RequestFailed,
    SettingError,
    TryAgainLater,
    failure_metrics,
)
from np6_source.loading import AlreadyRunning, LoadReport, TableMissing
from np6_source.parts import Part, PartIncomplete

CONTEXT = RequestContext("actions_events", "000PE4", "[a, b)", 503, "req-1")
MOMENT = datetime(2024, 3, 1, 10, tzinfo=timezone.utc)
FAILURES = [
    {"kind": "NotFound", "message": "no such id", "resume_at": None},
    {"kind": "TryAgainLater", "message": "later", "resume_at": MOMENT.isoformat()},
]
REPORT = LoadReport(failures=FAILURES)


def subclasses(kind: type[Np6Error]) -> Iterator[type[Np6Error]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def made(kind: type[Np6Error]) -> Np6Error:
    """An error of the kind, as the package makes it."""
    if kind is PartIncomplete:
        return PartIncomplete(Part(MOMENT, MOMENT.replace(hour=11)), REPORT)
    if issubclass(kind, Incomplete):
        return kind(FAILURES, "A part is not complete")
    if issubclass(kind, TryAgainLater):
        return kind(CONTEXT, "the limit is used up", "Later.", MOMENT)
    if issubclass(kind, RequestFailed):
        return kind(CONTEXT, "it broke", "Mend it.")
    return kind("start=1 is before the year 2000")


for module in pkgutil.walk_packages(np6_source.__path__, "np6_source."):
    if not module.name.endswith("__main__") and ".sandbox" not in module.name:
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as missing:
            if missing.name not in ("pyiceberg", "deltalake"):  # The extra `destinations` has them.
                raise

KINDS = sorted(set(subclasses(Np6Error)), key=lambda kind: kind.__name__)


def raise_it(kind: type[Np6Error]) -> None:
    raise made(kind)


@pytest.fixture(scope="module")
def worker() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_every_kind_of_the_package_is_looked_at() -> None:
    assert {SettingError, TryAgainLater, AlreadyRunning, TableMissing, PartIncomplete} <= set(KINDS)
    assert len(KINDS) > 15


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_passes_from_a_worker_process_whole(
    worker: ProcessPoolExecutor, kind: type[Np6Error]
) -> None:
    with pytest.raises(Np6Error) as raised:
        worker.submit(raise_it, kind).result(timeout=60)
    there, here = raised.value, made(kind)
    assert type(there) is kind
    assert str(there) == str(here)
    assert str(there)
    for name in ("context", "problem", "advice", "resume_at", "failures", "report"):
        assert getattr(there, name, None) == getattr(here, name, None), name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_can_be_copied_and_pickled_twice(kind: type[Np6Error]) -> None:
    error = made(kind)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert str(again) == str(copy.copy(error)) == str(error)


def test_the_message_names_what_a_person_needs() -> None:
    assert str(made(errors.WindowTooLarge)) == (
        "it broke [actions_events, id 000PE4, window [a, b), status 503, x-request-id req-1]"
        " Mend it."
    )


def test_an_incomplete_run_comes_back_at_the_latest_moment() -> None:
    incomplete = Incomplete(FAILURES)
    assert str(incomplete) == "Not complete: no such id; later"
    assert incomplete.resume_at == MOMENT
    assert Incomplete(FAILURES[:1]).resume_at is None


def test_a_failure_as_plain_values() -> None:
    assert failure_metrics(TryAgainLater(CONTEXT, "busy", "Later.", MOMENT)) == {
        "kind": "TryAgainLater",
        "message": f"busy [{CONTEXT}] Later.",
        "resource": CONTEXT.resource,
        "id": CONTEXT.scope,
        "problem": "busy",
        "advice": "Later.",
        "resume_at": "2024-03-01T10:00:00+00:00",
    }


def test_the_tree_of_the_docstring_is_the_tree_of_the_classes() -> None:
    assert errors.__doc__ is not None
    for kind in (kind for kind in KINDS if kind.__module__ == errors.__name__):
        (line,) = [
            line
            for line in errors.__doc__.splitlines()
            if line.strip("│├└─ ").split(" ")[0] == kind.__name__
        ]
        depth = len(kind.__mro__) - len(Np6Error.__mro__) - (kind is SettingError)
        assert (len(line) - len(line.lstrip(" │├└─"))) == 4 + 4 * depth, line
        starred = line.strip("│├└─ ").split()[1:2] == ["*"]
        assert starred == (kind in RUN_ENDING), line
