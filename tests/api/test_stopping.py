"""A signal ends every wait, in the script and in a plain ``pipeline.run``."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import CommandLine, Warehouse, http_answer

TMake = Callable[..., Any]

PLAIN_RUN = """
import dlt, sys
from np6_source import np6_source

pipeline = dlt.pipeline(
    "np6_test",
    destination=dlt.destinations.duckdb(sys.argv[2]),
    dataset_name="np6",
    pipelines_dir=sys.argv[3],
)
source = np6_source("some-key", base_url=sys.argv[1], start="2024-03-01")
pipeline.run(source.with_resources("actions_events"))
"""


def dripping(_: str) -> Iterator[bytes]:
    """A response whose body does not end."""
    yield b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n["
    for _ in range(200):
        time.sleep(0.3)
        yield b" "


WAITS = {
    "the limit of the API": http_answer(b"", "429 Too Many Requests", {"Retry-After": "500"}),
    "a limit used up": http_answer(
        headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "500"}
    ),
    "maintenance": http_answer(b"", "503 Maintenance", {"Retry-After": "500"}),
    "a response that drips": dripping,
}


def end_of_after_signal(
    process: subprocess.Popen[str], server: Any, number: signal.Signals
) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Sends a signal once the process waits; how long it took to end, and how it ended."""
    deadline = time.monotonic() + 60
    while not server.requests and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.requests
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(number)
    began = time.monotonic()
    try:
        output, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    ended = subprocess.CompletedProcess(process.args, process.returncode, output, errors)
    return time.monotonic() - began, ended


@pytest.mark.parametrize("wait", WAITS)
def test_a_plain_run_ends_on_a_signal_and_loads_nothing_that_is_not_whole(
    command_line: CommandLine, warehouse: Warehouse, raw_server: TMake, tmp_path: Path, wait: str
) -> None:
    server = raw_server(WAITS[wait])
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", PLAIN_RUN, server.url),
            *(str(warehouse.database), str(warehouse.pipelines_dir)),
        ],
        cwd=tmp_path,
        env=command_line.environment | {"SOURCES__NP6__START": "2024-03-01"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seconds, ended = end_of_after_signal(process, server, signal.SIGTERM)
    assert seconds < 30
    assert ended.returncode not in (0, -signal.SIGKILL)
    assert warehouse.rows("load_windows") == []


@pytest.mark.parametrize("wait", ["the limit of the API", "a response that drips"])
def test_the_script_ends_on_a_signal(
    command_line: CommandLine, warehouse: Warehouse, raw_server: TMake, wait: str
) -> None:
    server = raw_server(WAITS[wait])
    process = command_line.start(
        "np6_to_duckdb",
        *command_line.where(warehouse),
        *("--base-url", server.url, "--progress", "none", "--resources", "actions_events"),
        *("--start", "2024-03-01"),
        SOURCES__NP6__API_KEY="some-key",
    )
    seconds, ended = end_of_after_signal(process, server, signal.SIGTERM)
    assert seconds < 30
    assert ended.returncode == 143, ended.stderr
    assert "Traceback" not in ended.stderr
