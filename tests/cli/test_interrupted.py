"""Ctrl-C while the program is still being imported: one line, and the status of any Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

STARTS = {
    "np6-source": [str(Path(sys.executable).with_name("np6-source")), "load"],
    "python -m np6_source": [sys.executable, "-m", "np6_source", "load"],
    "np6_to_duckdb.py": [sys.executable, str(ROOT / "pipelines" / "np6_to_duckdb.py")],
}
PRESSES_CTRL_C = """
import os, signal, sys

# A shell's background process ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)


class AtAnImport:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)


sys.meta_path.insert(0, AtAnImport())
"""
"""What Python runs before anything else where it finds it as ``sitecustomize``."""


@pytest.fixture
def interrupted(command_line: Any, tmp_path: Path) -> Any:
    def interrupted(start: str, name: str) -> subprocess.CompletedProcess[str]:
        """Starts the program, with a Ctrl-C when it begins to import a module."""
        (tmp_path / "sitecustomize.py").write_text(PRESSES_CTRL_C.format(name=name), "utf-8")
        environment = command_line.environment | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            STARTS[start],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return interrupted


@pytest.mark.parametrize("name", ["np6_source.cli", "dlt", "duckdb", "np6_source.extract"])
@pytest.mark.parametrize("start", STARTS)
def test_it_is_one_line_and_status_130(start: str, name: str, interrupted: Any) -> None:
    ended = interrupted(start, name)
    assert ended.stderr == "Ended by Ctrl-C before anything began; nothing was changed.\n"
    assert (ended.returncode, ended.stdout) == (130, "")


def test_without_a_ctrl_c_it_gets_past_its_imports(interrupted: Any) -> None:
    """The control: what the tests above look for is the Ctrl-C's."""
    ended = interrupted("np6_to_duckdb.py", "no such module")
    assert ended.returncode == 2
    assert ended.stderr.startswith("No NP6 API key.")


def test_the_package_alone_imports_nothing_that_takes_long() -> None:
    """What is imported before ``__main__`` runs is out of its reach."""
    program = "import sys, np6_source; print(sorted({'dlt', 'duckdb', 'pyarrow'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"
