"""The tools that dlt's MCP servers find: the commands that only look."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from dlt._workspace.access import required_access
from dlt.common.configuration.plugins import manager

from np6_source.cli.mcp_tools import FEATURE
from tests.support import Warehouse, at, event

TMake = Callable[..., Any]
TOOLS = {tool.__name__: tool for tool in FEATURE.tools}


def test_servers_about_pipelines_find_them() -> None:
    # By the entry point. dlt's own plug-ins want fastmcp, so only this one is asked.
    plugin = manager().get_plugin("np6")
    assert plugin is not None
    assert plugin.plug_mcp({"workspace", "pipeline", "context"}) is FEATURE
    assert plugin.plug_mcp({"secrets"}) is None
    assert FEATURE.name == "np6"


def test_nothing_that_writes_is_among_them() -> None:
    assert set(TOOLS) == {"np6_status", "np6_gaps", "np6_check", "np6_plan", "np6_reconcile"}
    for name, tool in TOOLS.items():
        # A server for one pipeline gives its name as the first argument.
        first, *others = inspect.signature(tool).parameters
        assert first == "pipeline_name"
        assert set(others) <= {"start", "end", "destination", "dataset"}
        needed = {"data": ["read"]}
        if name not in ("np6_status", "np6_gaps"):
            needed["local"] = ["network"]
        assert required_access(tool) == needed


def test_they_return_what_the_commands_print(
    warehouse: Warehouse,
    command_line: Any,
    serve: TMake,
    source_of: TMake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox = serve([event(n, at("03-01T05:00")) for n in range(3)], now=at("03-05"))
    monkeypatch.setenv("PIPELINES_DIR", str(warehouse.pipelines_dir))
    for name, value in command_line.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
    monkeypatch.setenv("DLT_DATA_DIR", str(warehouse.folder))
    monkeypatch.chdir(warehouse.database.parent)
    pipeline = Warehouse(warehouse.folder, "loaded", warehouse.folder / "loaded.duckdb")
    pipeline.pipelines_dir = warehouse.folder / "pipelines"
    pipeline.run(source_of(sandbox, "actions_events", start=at("03-01")))

    status = TOOLS["np6_status"]("loaded")
    assert (status["command"], status["exit_status"]) == ("status", 0)
    (resource,) = status["result"]["resources"]
    assert resource["resource"] == "actions_events"
    compared = TOOLS["np6_reconcile"]("loaded", "2024-03-01", "2024-03-02")
    assert compared["problems"] == []
    assert compared["result"]["equal"]["events"] == 3
    assert TOOLS["np6_check"]("loaded")["result"]["next"]
    (planned,) = [
        one
        for one in TOOLS["np6_plan"]("loaded", "2024-03-01", "2024-03-02")["result"]["resources"]
        if one["resource"] == "actions_events"
    ]
    assert planned["events"]["likely"] == 3
    refused = TOOLS["np6_gaps"]("loaded", "no-date", "2024-03-01")
    assert refused["exit_status"] == 2
    assert "no-date" in refused["problems"][0]["what"]
