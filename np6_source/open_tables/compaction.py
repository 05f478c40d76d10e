"""Which of a table's small data files become one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

SMALL_FILE = 16 * 1024 * 1024
"""Bytes below which a data file is joined with others, and that the joined file has at most."""

GROUPS_AT_ONCE = 8
"""Files that are written at once at most: an old table is tidied up load by load."""

ALWAYS_JOINED = 256 * 1024
"""Bytes up to which a file is joined however small the others are."""

ROWS_JOINED = 200_000
"""Rows of a joined file at most: Iceberg's are in memory meanwhile."""

FILES_JOINED = 16
"""Files that can be joined from which on they are."""


@dataclass(frozen=True)
class DataFile:
    """A data file, as the planning sees it.

    Attributes:
        name: What identifies it.
        size: Its bytes.
        rows: Its rows.
        partition: Its partition: only files of one are joined.
    """

    name: str
    size: int
    rows: int
    partition: Hashable = None


def groups(files: Sequence[DataFile], small: int = SMALL_FILE) -> list[list[DataFile]]:
    """Files to join, each list into one file; none while there are few.

    A file that is larger than all smaller ones together waits until they are as many bytes, so that
    a row is rewritten about ten times until its file is full, however many loads there are.

    Args:
        files: A table's files.
        small: Bytes below which a file is joined, and that a joined file has at most.

    Returns:
        Lists of two files and more.
    """
    partitions: dict[Hashable, list[DataFile]] = {}
    for file in sorted(files, key=lambda file: file.size):
        if file.size < small:
            partitions.setdefault(file.partition, []).append(file)
    found = [group for alike in partitions.values() for group in _in_order(alike, small)]
    return found[:GROUPS_AT_ONCE] if sum(map(len, found)) >= FILES_JOINED else []


def _in_order(files: Sequence[DataFile], most: int) -> Iterator[list[DataFile]]:
    """Lists of two and more files, of files by size."""
    group: list[DataFile] = []
    for file in files:
        size = sum(one.size for one in group)
        rows = sum(one.rows for one in group)
        is_too_much = size + file.size > most or rows + file.rows > ROWS_JOINED
        if group and (is_too_much or file.size > max(size, ALWAYS_JOINED)):
            if len(group) > 1:
                yield group
            group = []
        group.append(file)
    if len(group) > 1:
        yield group
