"""What dlt does not promise: an upgrade of dlt is a review of the module and a run of these."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from dlt.common.runtime import signals

from np6_source.dlt_internals import (
    captured_by,
    is_stop_requested,
    pending_packages,
    state_on_disk,
    where_configured,
)


class TestWhereConfigured:
    def test_a_value_is_found_under_its_sections_only(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__SOME_FIELD", " a value ")
        found = where_configured("some_field", "a value", "sources", "np6")
        assert found == "the environment variable SOURCES__NP6__SOME_FIELD"
        assert where_configured("some_field", "a value", "sources") is None
        assert where_configured("some_field", "a value") is None
        assert where_configured("some_field", "another", "sources", "np6") is None

    def test_a_value_of_the_active_pipeline_alone_is_found(
        self, warehouse: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert warehouse.pipeline.pipeline_name == "np6_test"
        monkeypatch.setenv("NP6_TEST__SOURCES__NP6__SOME_FIELD", "a value")
        found = where_configured("some_field", "a value", "sources", "np6")
        assert found == "the environment variable NP6_TEST__SOURCES__NP6__SOME_FIELD"


def test_a_signal_that_dlt_has_received_is_seen() -> None:
    assert not is_stop_requested()
    with signals.intercepted_signals():
        signal.raise_signal(signal.SIGTERM)
        assert is_stop_requested()
    assert not is_stop_requested()


def test_a_package_is_pending_from_its_extraction_to_its_load(warehouse: Any) -> None:
    pipeline = warehouse.pipeline
    folder = Path(pipeline.working_dir)
    assert pending_packages(folder / "nowhere") == pending_packages(folder) == []
    pipeline.extract([{"id": 1}], table_name="somebody_elses")
    extracted = pending_packages(folder)
    assert extracted == pipeline.list_extracted_load_packages() != []
    pipeline.normalize()
    assert pending_packages(folder) == pipeline.list_normalized_load_packages() == extracted
    pipeline.load()
    assert pending_packages(folder) == []


def test_the_state_is_read_from_the_folder(
    warehouse: Any, serve: Any, source_of: Any, event: Any, at: Any
) -> None:
    folder = warehouse.pipelines_dir / warehouse.name
    assert state_on_disk(folder) == {}
    sandbox = serve([event(1, at("03-01T10:00"))], now=at("03-02"))
    pipeline = warehouse.run(source_of(sandbox, "actions_events"))
    assert state_on_disk(folder)["sources"] == pipeline.state["sources"]


def test_what_a_resource_was_made_of_survives_its_copies(raw_server: Any, source_of: Any) -> None:
    source = source_of(raw_server(), "actions_events", "actions")
    assert {"endpoint", "scope_ids", "session"} <= set(
        captured_by(source.resources["actions_events"])
    )
    assert {"dimension", "scope_ids", "session"} <= set(captured_by(source.resources["actions"]))
