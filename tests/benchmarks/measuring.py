"""What a command costs: seconds of its whole process, and the memory of its process tree."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SAMPLE_SECONDS = 0.05
"""How often memory is looked at."""

MB = 1_000_000


@dataclass(frozen=True)
class Cost:
    """What a process cost.

    Attributes:
        seconds: Wall time from start to exit; nothing is taken off, neither the interpreter's
            start nor imports.
        cpu_seconds: CPU time of the process and the children it waited for, all threads.
        peak_bytes: Largest sum of the resident memory of the process and its descendants, sampled
            every ``SAMPLE_SECONDS``. Memory shared between processes counts once for each.
        largest_process_bytes: Largest resident memory that any single one of them ever had, as the
            kernel counts it; misses no peak between two samples. On Linux ``VmHWM``, read with each
            sample: ``ru_maxrss`` begins with what the parent had when it started the process.
        status: Exit status.
        output: What it printed, errors included.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    largest_process_bytes: int
    status: int
    output: str

    @property
    def memory_bytes(self) -> int:
        """The larger of both measures of memory."""
        return max(self.peak_bytes, self.largest_process_bytes)


def run_measured(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    timeout: float = 3600.0,
) -> Cost:
    """Runs a command to its end and measures it.

    Args:
        command: Program and arguments.
        folder: Folder to run it in; its output goes to ``output.txt`` there.
        environment: Further environment variables.
        timeout: Seconds after which it is killed.
    """
    log = folder / "output.txt"
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        watch = _MemoryWatch(process.pid)
        watch.start()
        killer = threading.Timer(timeout, process.kill)
        killer.start()
        try:
            # wait4 also tells what the process and the children it waited for used.
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            killer.cancel()
            watch.stop()
    return Cost(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=watch.peak,
        largest_process_bytes=watch.largest_process or usage.ru_maxrss,
        status=process.returncode,
        output=log.read_text("utf-8", "replace"),
    )


class _MemoryWatch(threading.Thread):
    """Samples the resident memory of a process and its descendants until stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._stopped = threading.Event()
        self.peak = 0
        self.largest_process = 0

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, self._resident())

    def _resident(self) -> int:
        total = 0
        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return 0
        for process in family:
            try:
                total += process.memory_info().rss
                self.largest_process = max(self.largest_process, _high_water(process.pid))
            except psutil.Error:
                continue  # It has just ended.
        return total


def _high_water(pid: int) -> int:
    """The largest resident memory of a process so far; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def bytes_in(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def machine() -> dict[str, Any]:
    """What a reader needs to know of the machine, without its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }
