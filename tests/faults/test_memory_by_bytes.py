"""The bytes of events, not their number, set what is handled at once."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest

from tests.faults.test_memory import GIB
from tests.support import ROOT, at, event

KB = 1_000
IN_ALL = 150 * KB * KB
START, END = at("03-01"), at("03-02")


def large_event(number: int, timestamp: int, size: int) -> str:
    """An event of so many bytes; most are in an unknown field or in an execution's data."""
    filling = f"é{number} " * (size // 8)
    made = event(number, timestamp)
    if number % 2:
        made["surprise"] = filling[: size - 700]
    else:
        person = made["source"]["detail"].pop("activation")["receiver"]
        data = {"note": filling[: size - 700]}
        made["type"] = "execution"
        made["source"]["detail"]["execution"] = {"id": "A", "recipient": person, "data": data}
    return json.dumps(made, ensure_ascii=False)


@contextmanager
def serving(folder: Path, size: int, in_all: int = IN_ALL) -> Iterator[str]:
    """An API with so many bytes of events of a size, spread over a day; its address.

    They are made once, in a file: a response is a slice of it.
    """
    count = in_all // size
    times = [START + number * (END - START) // count for number in range(count)]
    ends = [0]
    with (folder / "events").open("wb") as file:
        for number, timestamp in enumerate(times):
            file.write(large_event(number, timestamp, size).encode() + b",")
            ends.append(file.tell())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            first, after = (
                bisect_left(
                    times,
                    datetime.fromisoformat(query[name][0].replace("Z", "+00:00")).timestamp()
                    * 1000,
                )
                for name in ("start", "end")
            )
            self.send_response(200)
            self.send_header("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))
            self.end_headers()
            self.wfile.write(b"[")
            with (folder / "events").open("rb") as events, suppress(ConnectionError):
                events.seek(ends[first])
                left = ends[after] - ends[first] - 1  # Without the last comma.
                while left > 0 and (read := events.read(min(left, 1 << 20))):
                    self.wfile.write(read)
                    left -= len(read)
                self.wfile.write(b"]")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


EXTRACTED = """
import resource, sys
import dlt
from np6_source import np6_source

pipeline = dlt.pipeline("m", destination="duckdb", pipelines_dir="pipelines")
source = np6_source("key", base_url=sys.argv[1], start="2024-03-01", end="2024-03-02")
pipeline.extract(source.with_resources("actions_events"))
counts = pipeline.normalize().row_counts
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(counts["events"], peak * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.soak
@pytest.mark.parametrize("size", [1 * KB, 20 * KB, 100 * KB], ids="{} bytes".format)
def test_events_of_any_size_are_extracted_in_less_than_a_gigabyte(
    tmp_path: Path, size: int
) -> None:
    with serving(tmp_path, size) as url:
        finished = subprocess.run(
            [sys.executable, "-c", EXTRACTED, url],
            cwd=tmp_path,
            env={**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false"},
            capture_output=True,
            text=True,
            timeout=1_200,
            check=False,
        )

    assert finished.returncode == 0, finished.stderr[-3000:]
    count, peak = map(int, finished.stdout.split())
    assert count == IN_ALL // size
    assert peak < 0.75 * GIB, f"{peak / 1e6:.0f} MB"


@pytest.mark.soak
@pytest.mark.parametrize("size", [1 * KB, 20 * KB, 100 * KB], ids="{} bytes".format)
def test_the_whole_script_loads_300_mb_of_any_size_in_less_than_a_gigabyte(
    tmp_path: Path, size: int
) -> None:
    """From the first request to the last commit; the peak is that of the script's own process."""
    in_all = 300 * KB * KB
    with serving(tmp_path, size, in_all) as url, (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, str(ROOT / "pipelines" / "np6_to_duckdb.py"), "--base-url", url),
                *("--resources", "actions_events", "--start", "2024-03-01", "--end", "2024-03-02"),
                *("--duckdb-file", "events.duckdb", "--pipelines-dir", "pipelines"),
                *("--progress", "none"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "RUNTIME__DLTHUB_TELEMETRY": "false",
                "SOURCES__NP6__API_KEY": "key",
                "HOME": str(tmp_path),
            },
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        # Who is not told warns that the process is still running.
        process.returncode = os.waitstatus_to_exitcode(status)

    assert process.returncode == 0, (tmp_path / "errors").read_text()[-3000:]
    with duckdb.connect(str(tmp_path / "events.duckdb")) as connection:
        (row,) = connection.execute("SELECT count(*) FROM np6.events").fetchall()
    assert row[0] == in_all // size
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert peak < GIB, f"{peak / 1e6:.0f} MB"
