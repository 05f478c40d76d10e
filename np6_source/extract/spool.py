"""Temporary files: response bodies, and tables that wait for their window to be complete."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ..dlt_internals.files import PackageParquet

IN_MEMORY = 16 * 1024 * 1024
"""Bytes of tables that wait in memory; what is larger waits in files."""

DUCKDB = "duckdb"
"""Where DuckDB puts what does not fit into its memory."""

FEWEST_IMPORTED = 100_000
"""Rows from which on a table's file is imported as it is: each file is a load job of its own."""

LARGE_ROW = 6 * 1024
"""Bytes of a row, on average, from which on thousands of them are too many to hold at once."""

BYTES_PER_GROUP = 8 * 1024 * 1024
"""Bytes of a row group of large rows, uncompressed. DuckDB reads no more rows at a time than a row
group has."""

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


@dataclass(frozen=True)
class Importing:
    """Which tables may be handed on as files, and how these are written.

    Attributes:
        parquet: How dlt would write them.
        tables: Names of tables that need no change on their way.
    """

    parquet: PackageParquet
    tables: frozenset[str]


@dataclass(frozen=True)
class TableFile:
    """A table's rows in a Parquet file.

    Attributes:
        table: Name of the table.
        file: The file.
        row_count: Its rows.
        schema: Their schema.
    """

    table: str
    file: Path
    row_count: int
    schema: pa.Schema

    def rows(self) -> Iterator[pa.Table]:
        """The rows, a row group at a time."""
        with pq.ParquetFile(self.file) as source:
            for number in range(source.num_row_groups):
                yield source.read_row_group(number).cast(self.schema)


def large_rows_in_file(
    rows: pa.Table, table: str, folder: Path, parquet: PackageParquet
) -> TableFile:
    """Writes large rows to a Parquet file, in small row groups.

    Args:
        rows: The rows.
        table: Name of their table.
        folder: Where to write.
        parquet: How dlt would write them.

    Raises:
        OSError: They cannot be written.
    """
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".parquet", delete=False) as file:
        with parquet.open(cast("BinaryIO", file), rows.schema) as writer:
            writer.write_table(rows, _rows_per_group(rows, parquet))
        return TableFile(table, Path(file.name), rows.num_rows, rows.schema)


def are_large(bytes_of_rows: int, count: int) -> bool:
    """Whether rows are large, on average.

    Args:
        bytes_of_rows: Their bytes in memory.
        count: Their number.
    """
    return bytes_of_rows >= LARGE_ROW * count


def _rows_per_group(rows: pa.Table, parquet: PackageParquet) -> int | None:
    """How many rows go into a row group; None: as many as there are."""
    configured = parquet.row_group_size
    if not are_large(rows.nbytes, rows.num_rows):
        return configured
    fitting: int = max(1, BYTES_PER_GROUP * rows.num_rows // max(1, rows.nbytes))
    return min(fitting, configured or fitting)


class _FileOfTable:
    """A table's rows on disk: Arrow's format at first, Parquet from ``FEWEST_IMPORTED`` rows on.

    Arrow's is written and read faster; only Parquet can be imported.
    """

    def __init__(self, path: Path, table: str, importing: Importing | None) -> None:
        self._path = path
        self._table = table
        self._parquet = importing.parquet if importing and table in importing.tables else None
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._parquet_writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None
        self._row_count = 0

    def write(self, rows: pa.Table) -> None:
        self._schema = rows.schema
        self._row_count += rows.num_rows
        if self._parquet and not self.is_parquet and self._row_count >= FEWEST_IMPORTED:
            self._begin_parquet(self._parquet)
        if self._parquet_writer is not None:
            assert self._parquet is not None
            self._parquet_writer.write_table(rows, _rows_per_group(rows, self._parquet))
            return
        if self._writer is None:
            self._arrow.touch(mode=0o600)
            self._writer = pa.ipc.new_stream(str(self._arrow), rows.schema)
        self._writer.write_table(rows)

    def _begin_parquet(self, parquet: PackageParquet) -> None:
        with ExitStack() as stack:
            path = self._path.with_suffix(".parquet")
            path.touch(mode=0o600)
            file = stack.enter_context(path.open("wb"))
            self._parquet_writer = parquet.open(file, self._schema)
            if self._writer is not None:
                self._writer.close()
                self._writer = None
                # Mapped, the rows written so far take no memory of their own.
                with pa.memory_map(str(self._arrow)) as source, pa.ipc.open_stream(source) as rows:
                    written = rows.read_all()
                    self._parquet_writer.write_table(written, _rows_per_group(written, parquet))
                self._arrow.unlink()
            self._close_file = stack.pop_all()

    @property
    def _arrow(self) -> Path:
        return self._path.with_suffix(".arrow")

    @property
    def is_parquet(self) -> bool:
        return self._parquet_writer is not None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._parquet_writer is not None and self._parquet_writer.is_open:
            with self._close_file:
                self._parquet_writer.close()

    def as_file(self) -> TableFile:
        """The file of one that is Parquet."""
        assert self._schema is not None
        file = self._path.with_suffix(".parquet")
        return TableFile(self._table, file, self._row_count, self._schema)

    def tables(self) -> Iterator[pa.Table]:
        """The rows of one that is not."""
        if self._writer is not None:
            with pa.OSFile(str(self._arrow)) as source, pa.ipc.open_stream(source) as reader:
                for batch in reader:
                    yield pa.Table.from_batches([batch])
            self._arrow.unlink()

    def discard(self) -> None:
        self.close()
        for suffix in (".arrow", ".parquet"):
            self._path.with_suffix(suffix).unlink(missing_ok=True)


class TableStash:
    """Tables of one response, kept until the whole response is known to be good.

    Small ones stay in memory, larger ones go to files, so that memory does not grow with a
    response. Safe for threads that add.
    """

    def __init__(self, folder: Path, name: str, importing: Importing | None = None) -> None:
        """Starts empty.

        Args:
            folder: Folder for the files.
            name: Distinguishes this stash's files.
            importing: What may be handed on as files; None: nothing.
        """
        self._folder = folder
        self._name = name
        self._importing = importing
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._waiting: dict[str, list[pa.Table]] = {}
        self._bytes = 0
        self._files: dict[str, _FileOfTable] = {}
        self._writing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def add(self, tables: dict[str, pa.Table]) -> None:
        """Keeps tables, by name.

        Raises:
            OSError: They cannot be written.
        """
        with self._lock:
            for name, rows in tables.items():
                self._waiting.setdefault(name, []).append(rows)
            self._bytes += sum(rows.nbytes for rows in tables.values())
            if self._bytes <= IN_MEMORY:
                return
            waiting, self._waiting = self._waiting, {}
            self._bytes = 0
            for name in waiting:
                if name not in self._files:
                    path = self._folder / f"{self._name}-{name}"
                    self._files[name] = _FileOfTable(path, name, self._importing)
            locks = {name: self._writing[name] for name in waiting}
        for name, rows in waiting.items():
            with locks[name]:
                self._files[name].write(pa.concat_tables(rows))

    def complete(self) -> None:
        """Ends the files: nothing more will be added.

        Raises:
            OSError: They cannot be written.
        """
        for name, file in self._files.items():
            if file.is_parquet and name in self._waiting:
                file.write(pa.concat_tables(self._waiting.pop(name)))
            file.close()

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """Yields the kept tables by name, but for those that are ``files``, and forgets them."""
        self.complete()
        for name, file in self._files.items():
            if not file.is_parquet:
                for rows in file.tables():
                    yield name, rows
        for name in list(self._waiting):
            for rows in self._waiting.pop(name):
                yield name, rows

    def files(self) -> list[TableFile]:
        """The tables that are to be handed on as files; they are there until ``discard``."""
        self.complete()
        return [file.as_file() for file in self._files.values() if file.is_parquet]

    def discard(self) -> None:
        """Forgets everything."""
        for file in self._files.values():
            file.discard()
        self._begin()
