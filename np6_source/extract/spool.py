"""Temporary files: response bodies, and tables that wait for their window to be complete."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from filelock import FileLock, Timeout

IN_MEMORY = 16 * 1024 * 1024
"""Bytes of tables that wait in memory; what is larger waits in files."""

DUCKDB = "duckdb"
"""Where DuckDB puts what does not fit into its memory."""

_LOCK = "in-use.lock"


@contextmanager
def spool_folder(parent: Path) -> Iterator[Path]:
    """A folder for the temporary files of one extraction, removed afterwards.

    Its owner alone can open it: responses are in it as NP6 sent them. Folders of killed processes
    are removed first.

    Args:
        parent: Where such folders are made.

    Raises:
        OSError: None can be made there.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One at a time: between making a lock's file and holding it a folder looks abandoned.
    with FileLock(parent.with_name(f"{parent.name}.lock")):
        for folder in parent.iterdir():
            _remove_if_abandoned(folder)
        folder = Path(tempfile.mkdtemp(prefix="spool-", dir=parent))
        lock = FileLock(folder / _LOCK, mode=0o600)
        lock.acquire()
        (folder / DUCKDB).mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _remove_if_abandoned(folder: Path) -> None:
    lock = folder / _LOCK
    if not lock.exists():
        return
    try:
        with FileLock(lock, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    except (Timeout, OSError):
        return


class TableStash:
    """Tables of one response, kept until the whole response is known to be good.

    Small ones stay in memory, larger ones go to Arrow files, so that memory does not grow with a
    response. Safe for threads that add.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Starts empty.

        Args:
            folder: Folder for the files.
            name: Distinguishes this stash's files.
        """
        self._folder = folder
        self._name = name
        self._in_memory: list[tuple[str, pa.Table]] = []
        self._bytes = 0
        self._writers: dict[str, pa.RecordBatchStreamWriter] = {}
        self._files: dict[str, Path] = {}
        self._lock = threading.Lock()

    def add(self, tables: dict[str, pa.Table]) -> None:
        """Keeps tables, by name.

        Raises:
            OSError: They cannot be written.
        """
        with self._lock:
            self._in_memory.extend(tables.items())
            self._bytes += sum(table.nbytes for table in tables.values())
            if self._bytes > IN_MEMORY:
                self._spill()

    def _spill(self) -> None:
        for name, table in self._in_memory:
            if name not in self._writers:
                self._files[name] = self._folder / f"{self._name}-{name}.arrow"
                self._files[name].touch(mode=0o600)
                self._writers[name] = pa.ipc.new_stream(str(self._files[name]), table.schema)
            self._writers[name].write_table(table)
        self._in_memory.clear()

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """Yields the kept tables by name, and forgets them."""
        self._close()
        yield from self._in_memory
        for name, file in self._files.items():
            with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as reader:
                for batch in reader:
                    yield name, pa.Table.from_batches([batch])
            file.unlink()
        self.discard()

    def discard(self) -> None:
        """Forgets everything."""
        self._close()
        self._in_memory.clear()
        for file in self._files.values():
            file.unlink(missing_ok=True)
        self._files.clear()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
