from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from np6_source import SettingError, np6_source
from np6_source.extract.spool import IN_MEMORY, TableStash, spool_folder
from tests.support import Warehouse, at, event, http_answer

HOLDS_A_FOLDER = """
import sys
from pathlib import Path
from np6_source.extract.spool import spool_folder

with spool_folder(Path(sys.argv[1])) as folder:
    (folder / "answer.json").write_text("[]")
    print(folder, flush=True)
    sys.stdin.readline()
"""


def hold_a_folder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process that is using a folder, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_FOLDER, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def modes_beside_private(paths: Iterable[Path]) -> dict[Path, str]:
    """Folders and files that others than their owner may open, with their modes."""
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    return {path: oct(mode) for path, mode in found.items() if mode & 0o077}


class TestSpoolFolder:
    def test_it_is_there_while_it_is_used_and_gone_afterwards(self, tmp_path: Path) -> None:
        with spool_folder(tmp_path / "spool") as folder:
            (folder / "answer.json").write_text("[]")
            assert folder.is_dir()

        assert list((tmp_path / "spool").iterdir()) == []

    def test_its_owner_alone_can_open_it(self, tmp_path: Path) -> None:
        parent = tmp_path / "spool"
        with spool_folder(parent) as folder:
            stash = TableStash(folder, "one")
            stash.add({"events": pa.table({"id": ["x" * IN_MEMORY, "y"]})})
            assert modes_beside_private([parent, *parent.rglob("*")]) == {}
            assert [file for file in folder.iterdir() if file.suffix == ".arrow"]
            stash.discard()

    def test_it_is_gone_after_a_failure(self, tmp_path: Path) -> None:
        def use() -> None:
            with spool_folder(tmp_path) as folder:
                (folder / "answer.json").write_text("[]")
                raise OSError("broken")

        with pytest.raises(OSError, match="broken"):
            use()

        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_another_process_uses_is_kept(self, tmp_path: Path) -> None:
        process, other = hold_a_folder(tmp_path)
        with process:
            with spool_folder(tmp_path) as folder:
                assert folder != other
            kept = (other / "answer.json").exists()
            process.communicate("done\n", timeout=60)

        assert kept
        assert process.returncode == 0
        assert not other.exists()

    def test_a_folder_that_a_killed_process_left_is_removed(self, tmp_path: Path) -> None:
        process, other = hold_a_folder(tmp_path)
        with process:
            process.kill()
            process.wait(60)
        assert (other / "answer.json").exists()

        with spool_folder(tmp_path) as folder:
            assert list(tmp_path.iterdir()) == [folder]

    def test_folders_of_one_process_leave_each_other_alone(self, tmp_path: Path) -> None:
        with spool_folder(tmp_path) as first:
            (first / "answer.json").write_text("[]")
            with spool_folder(tmp_path) as second:
                assert first != second
            assert (first / "answer.json").exists()

    @pytest.mark.parametrize("attempt", range(5))
    def test_many_may_begin_at_once(self, tmp_path: Path, attempt: int) -> None:
        count = 8
        began, checked = threading.Barrier(count), threading.Barrier(count)

        def use() -> bool:
            began.wait(60)
            try:
                with spool_folder(tmp_path) as folder:
                    (folder / "answer.json").write_text("[]")
                    checked.wait(60)
                    return (folder / "answer.json").exists()
            except BaseException:
                checked.abort()
                raise

        with ThreadPoolExecutor(count) as executor:
            found = [executor.submit(use) for _ in range(count)]
            failures = {repr(future.exception()) for future in found if future.exception()}

        assert failures - {repr(threading.BrokenBarrierError())} == set()
        assert all(future.result() for future in found)

    def test_what_is_no_spool_folder_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "folder").mkdir()

        with spool_folder(tmp_path):
            pass

        assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "notes.txt"]


def rows(first: int, count: int = 3) -> pa.Table:
    return pa.table({"number": pa.array(range(first, first + count), pa.int64())})


def wide_rows(first: int) -> pa.Table:
    """Rows that do not fit into the memory that a stash may use."""
    text = "x" * (IN_MEMORY // 4)
    return pa.table({"number": pa.array(range(first, first + 5)), "text": [text] * 5})


def numbers(stash: TableStash) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, table in stash.tables():
        found.setdefault(name, []).extend(table["number"].to_pylist())
    return found


class TestTableStash:
    def test_it_gives_back_what_was_added_in_order(self, tmp_path: Path) -> None:
        stash = TableStash(tmp_path, "one")
        stash.add({"events": rows(0), "hits": rows(100)})
        stash.add({"events": rows(3)})

        assert numbers(stash) == {"events": [0, 1, 2, 3, 4, 5], "hits": [100, 101, 102]}

    def test_small_tables_use_no_files(self, tmp_path: Path) -> None:
        stash = TableStash(tmp_path, "one")
        stash.add({"events": rows(0)})

        assert list(tmp_path.iterdir()) == []

    def test_large_tables_wait_in_files(self, tmp_path: Path) -> None:
        stash = TableStash(tmp_path, "one")
        before = pa.total_allocated_bytes()
        stash.add({"events": wide_rows(0)})

        assert list(tmp_path.iterdir()) != []
        assert pa.total_allocated_bytes() - before < IN_MEMORY

    def test_what_waited_in_files_comes_back_the_same(self, tmp_path: Path) -> None:
        stash = TableStash(tmp_path, "one")
        added = [wide_rows(0), wide_rows(5)]
        stash.add({"events": added[0], "hits": rows(100)})
        stash.add({"events": added[1]})
        stash.add({"hits": rows(103)})

        back: dict[str, list[pa.Table]] = {}
        for name, table in stash.tables():
            back.setdefault(name, []).append(table)

        assert (
            pa.concat_tables(back["events"]).combine_chunks()
            == pa.concat_tables(added).combine_chunks()
        )
        assert pa.concat_tables(back["hits"])["number"].to_pylist() == list(range(100, 106))

    def test_small_tables_that_come_to_much_together_go_to_files(self, tmp_path: Path) -> None:
        stash = TableStash(tmp_path, "one")
        count = IN_MEMORY // 8 // 4
        for first in range(5):
            stash.add({"events": rows(first * count, count)})

        assert list(tmp_path.iterdir()) != []
        assert numbers(stash) == {"events": list(range(5 * count))}

    def test_no_file_is_left_once_everything_was_given_back(self, tmp_path: Path) -> None:
        stash = TableStash(tmp_path, "one")
        stash.add({"events": wide_rows(0), "hits": rows(0)})

        numbers(stash)

        assert list(tmp_path.iterdir()) == []

    def test_discarding_removes_files_and_tables(self, tmp_path: Path) -> None:
        stash = TableStash(tmp_path, "one")
        stash.add({"events": wide_rows(0)})

        stash.discard()

        assert list(tmp_path.iterdir()) == []
        assert numbers(stash) == {}

    def test_a_discarded_stash_can_be_filled_again(self, tmp_path: Path) -> None:
        stash = TableStash(tmp_path, "one")
        stash.add({"events": wide_rows(0)})
        stash.discard()

        stash.add({"events": rows(7)})

        assert numbers(stash) == {"events": [7, 8, 9]}

    def test_discarding_half_way_through_removes_files(self, tmp_path: Path) -> None:
        stash = TableStash(tmp_path, "one")
        stash.add({"events": wide_rows(0), "hits": wide_rows(5)})
        given_back = stash.tables()
        next(given_back)
        given_back.close()  # type: ignore[attr-defined]

        stash.discard()

        assert list(tmp_path.iterdir()) == []

    def test_stashes_of_one_folder_do_not_mix(self, tmp_path: Path) -> None:
        one, two = TableStash(tmp_path, "one"), TableStash(tmp_path, "two")
        one.add({"events": wide_rows(0)})
        two.add({"events": wide_rows(5)})

        assert numbers(one) == {"events": [0, 1, 2, 3, 4]}
        assert numbers(two) == {"events": [5, 6, 7, 8, 9]}


class TestSpoolDir:
    """``spool_dir``: where responses wait while they are read."""

    def test_responses_are_there_alone_and_private_in_an_open_folder(
        self, warehouse: Warehouse, raw_server: Any, source_of: Any, tmp_path: Path
    ) -> None:
        spool = tmp_path / "tmpfs"
        spool.mkdir(mode=0o755)
        seen: set[Path] = set()
        open_to_others: dict[Path, str] = {}
        has_seen_one = threading.Event()

        def look() -> bool:
            with suppress(FileNotFoundError):  # What is gone is not open.
                for path in [*spool.rglob("*"), *warehouse.pipelines_dir.rglob("np6_spool")]:
                    seen.add(path)
                    open_to_others.update(modes_beside_private([path]))
                    if path.suffix == ".json":
                        has_seen_one.set()
            return False

        events = [event(n, at("03-01") + n) for n in range(40)]
        whole = http_answer(json.dumps(events).encode())

        def answer(_: str) -> Iterator[bytes]:
            """Half a response waits to be the whole."""
            yield whole[: len(whole) // 2]
            has_seen_one.wait(60)
            yield whole[len(whole) // 2 :]

        day = {"start": "2024-03-01", "end": "2024-03-02", "window": 86_400}
        with Watch(look):
            server = raw_server(answer)
            warehouse.run(source_of(server, "actions_events", spool_dir=str(spool), **day))

        assert len(warehouse.ids()) == 40
        assert has_seen_one.is_set()
        assert {path.suffix for path in seen if path.parent.name.startswith("spool-")} >= {".json"}
        assert {path for path in seen if spool not in path.parents} == set()
        lock = spool / "np6_spool.lock"
        assert {path: mode for path, mode in open_to_others.items() if path != lock} == {}
        assert [path for path in spool.rglob("*") if path.is_file() and path != lock] == []

    @pytest.mark.parametrize("name", ["", "missing"])
    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(SettingError, match="is no folder; make it first"):
            np6_source("a-key", spool_dir=str(tmp_path / name) if name else "")


class Watch:
    """Calls something over and over while a block runs."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.002):
            self._look()
