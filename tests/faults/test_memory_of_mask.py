"""``np6-source mask`` takes no more memory for a large table: rows are written as they are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROWS = 1_000_000
LIMIT_MB = 100

COPY = f"""
import re
import sys

import duckdb

from np6_source.masking.in_duckdb import _copy_rows
from np6_source.masking.values import NewValue

old, new = sys.argv[1:]
limits = {{"memory_limit": "{LIMIT_MB}MB", "threads": 1}}
with duckdb.connect(old, config=limits) as connection:
    connection.execute("CREATE SCHEMA np6")
    connection.execute(
        "CREATE TABLE np6.events AS SELECT 'event-' || i AS id, md5('' || i) AS contact_hash,"
        " 'person' || i || '@lab.example' AS recipient, md5('message' || i) AS message_id"
        " FROM range({ROWS}) AS r(i)"
    )
    connection.execute("CHECKPOINT")
    connection.execute(f"ATTACH '{{new}}' AS np6_rewritten")
    connection.execute('COPY FROM DATABASE "old" TO np6_rewritten (SCHEMA)')

    def peak():
        with open("/proc/self/status") as status:
            return int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1]) // 1000

    before = peak()
    changed = {{
        name: NewValue(name, (name,), lambda value: value[::-1])
        for name in ("contact_hash", "recipient", "message_id")
    }}
    _copy_rows(connection, "old", ("np6", "events"), "", changed)
    ((rows,),) = connection.execute("SELECT count(*) FROM np6_rewritten.np6.events").fetchall()
    print(rows, peak() - before)
"""


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process as Linux tells it")
def test_a_copy_that_is_masked_takes_what_duckdb_may_and_a_batch(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", COPY, str(tmp_path / "old.duckdb"), str(tmp_path / "new.duckdb")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    rows, grown = map(int, process.stdout.split()[-2:])  # After a bar of progress.
    assert rows == ROWS
    assert grown < LIMIT_MB + 100
