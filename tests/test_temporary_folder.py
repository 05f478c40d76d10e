"""Temporary folders: what a killed process has left goes with the next, whatever it was for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from np6_source.temporary_folder import temporary_folder

HOLDS = """
import sys, time
from np6_source.temporary_folder import temporary_folder
with temporary_folder("reconcile") as folder:
    (folder / "addresses.parquet").touch()
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_block_and_its_owner_alone_can_open_it(temporary: Path) -> None:
    with temporary_folder("look") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_with_the_next_of_another_purpose(
    temporary: Path,
) -> None:
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with temporary_folder("look"):
            assert len(list(temporary.glob("np6_reconcile_*/addresses.parquet"))) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    with temporary_folder("look"):
        assert list(temporary.glob("np6_reconcile_*")) == []


def test_what_others_have_made_stays(temporary: Path) -> None:
    others, running = temporary / "np6_notes", temporary / "np6_part_1"
    for folder in (others, running):
        folder.mkdir()
    with FileLock(running / "in_use.lock"), temporary_folder("look"):
        assert others.exists()
        assert running.exists()
