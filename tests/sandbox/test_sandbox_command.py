"""``python -m np6_source.sandbox``."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from np6_source.sandbox.__main__ import main


def start(ready: Path, *options: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "np6_source.sandbox", "--ready-file", str(ready), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not ready.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_runs_until_it_is_told_to_end(number: signal.Signals, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    options = ("--samples", "--key", "secret", "--fault", "status=503,times=1")
    process = start(ready, *options)
    url = ready.read_text().strip()
    answers = [
        requests.get(url + "actions/events", headers={"X-Key": "secret"}, timeout=30)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [503, 200]
    assert len(answers[1].json()) == 9
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert not ready.exists()
    for part in (url, "secret", "000PE4", "000R4M0T", "base_url="):
        assert part in output


@pytest.mark.parametrize(
    "options",
    [
        ["--fault", "nonsense"],
        ["--rate-limit", "many"],
        ["--samples", "--events", "5"],
        ["--port", "99999"],
        ["--events", "-5"],
        ["--days", "0"],
    ],
)
def test_mistakes_end_with_a_sentence(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(options)
    except SystemExit as error:
        status = int(error.code or 0)
    printed = capsys.readouterr()
    assert status > 0
    assert printed.out == ""
    assert printed.err.strip()


def test_without_aiohttp_it_names_the_extra() -> None:
    code = (
        "import runpy, sys; sys.modules['aiohttp'] = None; sys.argv = ['sandbox', '--samples'];"
        "runpy.run_module('np6_source.sandbox', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "np6-source[sandbox]" in done.stderr
