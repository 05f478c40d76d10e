"""A row that a destination refuses reaches no log, no message and no trace."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.cli.outcome import outcome_of
from np6_source.loading import load
from np6_source.redaction import without_rows
from tests.destinations.stores import PostgresStore, Store
from tests.support import at, event

ALL = "actions_events"
ADDRESS = "person1@example.com"


@pytest.mark.parametrize("way", ["load", "pipeline.run"])
def test_postgres_refuses_a_row(
    way: str,
    make_store: Callable[[str], Store],
    serve: Callable[..., Any],
    make: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = make_store("postgres")
    assert isinstance(store, PostgresStore)
    sandbox = serve([event(1, at("03-01T12:00"))], now=at("03-01"))
    load(store.pipeline, make(sandbox, ALL))
    store.execute("ALTER TABLE np6.events ADD CHECK (recipient NOT LIKE '%@%')")
    sandbox.now = at("03-02")
    pipeline = store.pipeline
    run = {
        "load": lambda source: load(pipeline, source),
        "pipeline.run": lambda source: pipeline.run(source()),
    }[way]
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(PipelineStepFailed, match=r"Failing row contains \(\.\.\.\)") as failed,
    ):
        run(make(sandbox, ALL))
    said = capfd.readouterr()
    outcome = outcome_of(failed.value)
    assert outcome is not None
    assert 'violates check constraint "events_recipient_check"' in outcome.message
    assert "DETAIL:  Failing row contains (...)\nNothing of this step was committed" in (
        outcome.message
    )
    shown = "".join(traceback.format_exception(failed.value))
    for text in (shown, caplog.text, said.out, said.err):
        assert ADDRESS not in text
    traces = list(store.folder.rglob("trace.pickle"))
    assert traces
    assert all(ADDRESS.encode() not in file.read_bytes() for file in traces)


@pytest.mark.parametrize(
    "message",
    [
        "Key (id, recipient)=(event-1, person1@example.com) already exists.",
        "DETAIL:  Failing row contains (event-1, person1@example.com, (x), null).",
        "Conversion Error: Could not convert string 'person1@example.com' to INT64",
        "INSERT INTO np6.events VALUES ('event-1', 'person1@example.com')",
        "invalid input syntax for type bigint: 'O'Neil, person1@example.com'",
    ],
)
def test_what_messages_quote_goes(message: str) -> None:
    cleaned = without_rows(message)
    assert "person1" not in cleaned
    assert "example" not in cleaned
    assert cleaned.split()[0] == message.split()[0]
