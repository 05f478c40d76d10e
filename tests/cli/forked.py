"""Runs a script many times and imports it once: each call is a fork of one process.

Importing dlt is most of what a call costs that is refused. Run as a program, this is that process.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import ROOT


class Forks:
    """Starts scripts of ``pipelines/``, or any by its path."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def run(
        self,
        script: str | Path,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script to its end, in a folder and an environment, as a process of its own."""
        out, errors = self._folder / "out", self._folder / "errors"
        call = {
            "script": str(
                script if isinstance(script, Path) else ROOT / "pipelines" / f"{script}.py"
            ),
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
            "out": str(out),
            "errors": str(errors),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(call)}\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(
            [str(script), *arguments], status, out.read_text(), errors.read_text()
        )


@contextmanager
def forks() -> Iterator[Forks]:
    """The process that forks; it ends with the block."""
    command = [sys.executable, "-m", __name__]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        yield Forks(process, Path(folder))


def _serve() -> None:
    """Forks for every line of standard input, and prints the exit status."""
    import np6_source.cli.load  # noqa: F401 - what every fork has imported

    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_run(call))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(call: Mapping[str, Any]) -> int:
    """Becomes the process that was asked for; returns its exit status."""
    from dlt.common.runtime.run_context import switch_context

    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, call["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, call["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(name, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0)
    os.environ.clear()
    os.environ.update(call["environment"])
    os.chdir(call["folder"])
    sys.argv = [call["script"], *call["arguments"]]
    try:
        switch_context(call["folder"])
        runpy.run_path(call["script"], run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _serve()
