"""Folders for temporary files that no killed process leaves for ever: the next one removes them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "np6_"
_IN_USE = "in_use.lock"
"""Held in a folder as long as its process lives."""


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder that goes with the block; removes those that killed processes have left.

    Its owner alone can open it.

    Args:
        purpose: What it is for, one word; it is in the folder's name.

    Raises:
        OSError: None can be made.
    """
    remove_abandoned_folders()
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{purpose}_") as name:
        folder = Path(name)
        with FileLock(folder / _IN_USE):
            yield folder


def remove_abandoned_folders() -> None:
    """Removes such folders, whatever they were for, whose processes were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        lock = folder / _IN_USE
        try:
            # Without a lock's file it is a folder that is being made, or not ours.
            if not lock.is_file():
                continue
            with FileLock(lock, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            continue  # Its process lives, or it belongs to somebody else.
