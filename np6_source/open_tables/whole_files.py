"""A local folder whose files are whole, or not there: a bucket's are by themselves.

dlt 1.31 copies a load's Parquet file, and writes its own JSON files, in place. A kill, or a full
disk, leaves half a file under its name: what reads all Parquet files of a table then fails for
ever, and so does every load that reads dlt's state.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from .maintenance import NOT_YET_THERE

LEFT_BY_KILLS = 86_400
"""Seconds after which a file without its name was left by a kill."""


class WholeFiles(LocalFileSystem):  # type: ignore[misc]
    """A local file system that gives a file its name once it is whole.

    Folders that are missing are made: dlt makes those of its own tables only with the dataset.
    """

    def __init__(self, aside: str, **options: Any) -> None:
        """A file system.

        Args:
            aside: Folder for files that have no name yet, on the disk of the others. Not a table's:
                dlt takes every file there for the table's.
            options: Those of fsspec's.
        """
        super().__init__(**options)
        self.aside = Path(self._strip_protocol(aside))

    def put_file(
        self, path1: str, path2: str, callback: Callable[..., Any] | None = None, **options: Any
    ) -> None:
        """Copies a file into the folder."""
        with self._whole(path2) as new:
            super().put_file(path1, str(new), callback, **options)

    def write_text(
        self,
        path: str,
        value: str,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        **options: Any,
    ) -> int:
        """Writes a text file."""
        with self._whole(path) as new:
            written: int = super().write_text(str(new), value, encoding, errors, newline, **options)
        return written

    @contextmanager
    def _whole(self, target: str) -> Iterator[Path]:
        """Where to write a file, which then gets its name."""
        path = Path(self._strip_protocol(target))
        for folder in (path.parent, self.aside):
            folder.mkdir(parents=True, exist_ok=True)
        for left in self.aside.glob(f".*{NOT_YET_THERE}"):
            with suppress(OSError):
                if left.stat().st_mtime < time.time() - LEFT_BY_KILLS:
                    left.unlink()
        new = self.aside / f".{uuid.uuid4().hex}{NOT_YET_THERE}"
        try:
            yield new
            with new.open("rb+") as file:
                os.fsync(file.fileno())
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
