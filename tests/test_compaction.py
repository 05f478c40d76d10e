"""Which small files of a lake's table become one, and how often a row is written anew."""

from __future__ import annotations

import itertools

import pytest

from np6_source.open_tables.compaction import (
    FILES_JOINED,
    GROUPS_AT_ONCE,
    ROWS_JOINED,
    SMALL_FILE,
    DataFile,
    groups,
)

KB = 1024
_numbers = itertools.count()


def files(count: int, size: int, rows: int = 10, partition: str = "") -> list[DataFile]:
    return [DataFile(f"{next(_numbers)}", size, rows, partition) for _ in range(count)]


def joined(files: list[DataFile]) -> tuple[list[DataFile], int]:
    """The files after one round, and the bytes that were written."""
    found = groups(files)
    gone = {file.name for group in found for file in group}
    made = [
        DataFile(
            f"{next(_numbers)}",
            sum(file.size for file in group),
            sum(file.rows for file in group),
            group[0].partition,
        )
        for group in found
    ]
    return [*(f for f in files if f.name not in gone), *made], sum(file.size for file in made)


def test_few_files_stay() -> None:
    assert groups(files(FILES_JOINED - 1, 5 * KB)) == []
    assert len(groups(files(FILES_JOINED, 5 * KB))) == 1


def test_large_files_stay() -> None:
    large = files(100, SMALL_FILE)
    (group,) = groups([*large, *files(FILES_JOINED, 5 * KB)])
    assert {file.size for file in group} == {5 * KB}


def test_a_file_waits_until_the_smaller_ones_are_as_many_bytes() -> None:
    (group,) = groups([*files(1, 2_000 * KB), *files(FILES_JOINED, 50 * KB)])
    assert len(group) == FILES_JOINED
    (group,) = groups([*files(1, 2_000 * KB), *files(FILES_JOINED, 130 * KB)])
    assert len(group) == FILES_JOINED + 1


@pytest.mark.parametrize(("size", "rows"), [(SMALL_FILE // 4, 10), (KB, ROWS_JOINED // 4)])
def test_a_joined_file_is_no_larger_than_a_large_one(size: int, rows: int) -> None:
    found = groups(files(40, size, rows))
    assert {len(group) for group in found} == {4}
    assert len(found) == GROUPS_AT_ONCE


def test_files_of_several_partitions_stay_apart() -> None:
    several = [file for day in range(8) for file in files(2, KB, partition=f"{day}")]
    found = groups(several)
    assert [len({file.partition for file in group}) for group in found] == [1] * 8


def test_months_of_loads_leave_few_files_and_write_each_row_a_few_times() -> None:
    there: list[DataFile] = []
    written = loaded = most = 0
    for _ in range(10_000):
        there += files(1, 6 * KB, rows=50)
        loaded += 6 * KB
        there, bytes_written = joined(there)
        written += bytes_written
        most = max(most, sum(file.size < SMALL_FILE // 2 for file in there))
    assert most <= FILES_JOINED + 10
    assert len(there) <= most + loaded // (SMALL_FILE // 4)
    assert written <= 6 * loaded
