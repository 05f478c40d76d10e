"""Does the hundredth load cost what the second did?

Increments of the same size go into one DuckDB file, each through ``pipeline.run`` with its cursor,
in a process of its own. Then the same within one overlap, which every run reads again. Then the
merge into a table that holds millions of events already, and what reading it costs; those are
copied in with SQL, as only their number matters.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
from measuring import MB, bytes_in, machine, run_measured
from one_load import Task, load_alone
from picture import as_svg
from prepared import BUILD
from reads import VIEWS
from table import as_markdown, as_text, say, say_checks
from targets import (
    GAPS_SECONDS,
    LAST_TO_SECOND_IN_OVERLAP,
    LAST_TO_SECOND_INCREMENT,
    MEMORY_BYTES,
    OVERLAP_MEMORY_BYTES,
    Check,
    at_most,
    exit_status,
)

from np6_source.sandbox import Sandbox, mass_mailing_account

DAYS = 20
"""Days the increments cover; they lie within the 30 days of a first load's default start."""
WITHIN_OVERLAP = timedelta(minutes=9)
"""What the increments cover that lie within one overlap of ten minutes."""
BASE = 100_000
"""Events that are copied as often as it takes."""
BYTES_PER_EVENT = 150
"""What an event takes in the file, with its hit; about."""
FREE_BYTES = 30_000_000_000
"""What must stay free on the disk."""
SMOOTHED = 3
"""Increments whose median stands for the second, and for the last."""

HEADER = (
    "increment",
    "seconds",
    "CPU s",
    "extract",
    "normalize",
    "load",
    "peak MB",
    "events",
    "known",
    "database MB",
    "pipeline folder MB",
    "state bytes",
    "ledger rows",
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--increments", type=int, default=20)
    parser.add_argument("--events", type=int, default=100_000, help="per increment")
    parser.add_argument("--overlapping", type=int, default=10, help="increments in one overlap")
    parser.add_argument(
        "--sizes",
        type=_sizes,
        default=(10_000_000,),
        metavar="N,N",
        help="events in the table before further increments; 0: leave that out",
    )
    parser.add_argument("--prefilled-increments", type=int, default=3, help="per size")
    parser.add_argument("--json", type=Path, default=BUILD / "growth.json")
    parser.add_argument(
        "--page",
        type=Path,
        help="put the kept results (--json) into this page, and a picture beside it; measure"
        " nothing",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and gives exit status 1 where a target is missed."""
    options = parse(arguments)
    if options.page:
        write_page(options.page, json.loads(options.json.read_text("utf-8")))
        return 0
    found: dict[str, Any] = {
        "measured_at": datetime.now().astimezone().date().isoformat(),
        "machine": machine(),
        "events": options.events,
    }
    BUILD.mkdir(parents=True, exist_ok=True)
    say(f"{options.increments} increments of {options.events:,} events:")
    found["increments"] = _series(options.increments, options.events)
    if options.overlapping:
        say()
        say(f"{options.overlapping} increments within one overlap:")
        found["overlapping"] = _series(options.overlapping, options.events, span=WITHIN_OVERLAP)
    if options.sizes:
        say()
        say(f"On top of {', '.join(f'{size:,}' for size in options.sizes)} events:")
        found["on_top"] = _on_top(options.sizes, options.prefilled_increments, options.events)
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    seconds = [step["seconds"] for step in found["increments"]]
    second_increment = statistics.median(seconds[1 : 1 + SMOOTHED] or seconds)
    last = statistics.median(seconds[-SMOOTHED:])
    checks = [
        at_most(
            f"last increment at most {LAST_TO_SECOND_INCREMENT:g} times the second (medians of"
            f" increments 2 to {1 + SMOOTHED} and of the last {SMOOTHED})",
            last / second_increment if len(seconds) > SMOOTHED else None,
            LAST_TO_SECOND_INCREMENT,
        )
    ]
    if options.overlapping > 1:
        last, second = (found["overlapping"][n]["cpu_seconds"] for n in (-1, 1))
        text = f"last within an overlap at most {LAST_TO_SECOND_IN_OVERLAP:g} times the second, CPU"
        checks.append(at_most(text, last / second, LAST_TO_SECOND_IN_OVERLAP))
        peak = max(step["peak_bytes"] for step in found["overlapping"])
        text = f"peak memory of these under {OVERLAP_MEMORY_BYTES // MB} MB"
        checks.append(at_most(text, peak / MB, OVERLAP_MEMORY_BYTES / MB, "{:.0f} MB"))
    checks += _checks_on_top(found.get("on_top", ()), second_increment)
    say_checks(checks)
    say(f"Results are in {options.json}.")
    return exit_status(checks)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(size for size in map(int, text.split(",")) if size))


def _checks_on_top(found: Sequence[dict[str, Any]], second_increment: float) -> Iterator[Check]:
    """Increments, and the proof of what is loaded, on top of many events."""
    for size in found:
        cost = statistics.median(step["seconds"] for step in size["increments"])
        text = f"on top of {size['rows']:,} events at most {LAST_TO_SECOND_INCREMENT:g} times"
        yield at_most(f"{text} the second", cost / second_increment, LAST_TO_SECOND_INCREMENT)
        peak = max(step["peak_bytes"] for step in size["increments"])
        text = f"peak memory there under {MEMORY_BYTES // MB} MB"
        yield at_most(text, peak / MB, MEMORY_BYTES / MB, "{:.0f} MB")
        text = f"what is loaded is proven within {GAPS_SECONDS:g} s of CPU there"
        yield at_most(text, size["reads"]["gaps"]["cpu_seconds"], GAPS_SECONDS, "{:.1f} s")


def _series(
    increments: int, events: int, span: timedelta = timedelta(days=DAYS)
) -> list[dict[str, Any]]:
    """Loads increments one after the other.

    Args:
        increments: How many.
        events: Events of each.
        span: What all of them cover together.
    """
    with _growing(increments, events, span) as (_, load):
        measured = [load() for _ in range(increments)]
    say(as_text(HEADER, map(_row, measured)))
    return measured


def _on_top(sizes: Sequence[int], increments: int, events: int) -> list[dict[str, Any]]:
    """Loads increments into a table that is filled up before, and reads it; size after size.

    A size that would leave less than ``FREE_BYTES`` of the disk is left out, and said.
    """
    found, filled = [], 0
    with _growing(1 + increments * len(sizes), events, timedelta(days=DAYS)) as (folder, load):
        database = folder / "account.duckdb"
        load()
        for size in sizes:
            # DuckDB needs the room of what it copies once more until it is written down.
            if shutil.disk_usage(folder).free - 2 * size * BYTES_PER_EVENT < FREE_BYTES:
                say(f"{size:,} events are left out: the disk has no room.")
                break
            _elsewhere(_fill, database, size - filled, len(found))
            added, filled = size - filled, size
            steps = [load(added if not number else 0) for number in range(increments)]
            say(as_text(HEADER, map(_row, steps)))
            command = [sys.executable, str(Path(__file__).with_name("reads.py").resolve())]
            cost = run_measured([*command, str(database), str(folder / "pipelines")], folder)
            if cost.status:
                raise SystemExit(cost.output[-2000:])
            reads = json.loads(cost.output.strip().splitlines()[-1])
            say(
                "  ".join(f"{name} {took['cpu_seconds']:.1f} s CPU" for name, took in reads.items())
            )
            found.append(
                {
                    "rows": steps[-1]["rows"],
                    "increments": steps,
                    "reads": reads,
                    "reads_peak_bytes": cost.memory_bytes,
                }
            )
    return found


@contextmanager
def _growing(
    increments: int, events: int, span: timedelta
) -> Iterator[tuple[Path, Callable[..., dict[str, Any]]]]:
    """An account in increments, and a function that loads the next of them.

    It takes how many events were added to the table otherwise since the last.

    Raises:
        AssertionError: The table does not hold exactly what was served.
    """
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=DAYS + 2)
    step = span / increments
    account = mass_mailing_account(events * increments, start=start, end=start + span, stored=False)
    with (
        tempfile.TemporaryDirectory(dir=BUILD.resolve(), prefix="growth-") as name,
        Sandbox(account, gzip=False) as sandbox,
    ):
        folder = Path(name)
        database, pipelines = folder / "account.duckdb", folder / "pipelines"
        number = expected = 0

        def load(added: int = 0) -> dict[str, Any]:
            nonlocal number, expected
            number += 1
            expected += events + added
            end = start + step * number
            task = Task(
                sandbox.url,
                sandbox.key,
                str(database),
                str(pipelines),
                source={"end": end.isoformat()},
            )
            told, cost = load_alone(task, folder)
            rows, ids, ledger = _elsewhere(_counts, database)
            assert rows == ids == expected, f"{rows:,} rows, {ids:,} ids, not {expected:,}"
            return {
                **told,
                "number": number,
                "cpu_seconds": cost.cpu_seconds,
                "peak_bytes": cost.memory_bytes,
                "rows": rows,
                "database_bytes": bytes_in(database),
                "pipeline_bytes": bytes_in(pipelines),
                "ledger_rows": ledger,
            }

        yield folder, load
    account.close()


def _elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a process of its own, so that its memory counts for no increment."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _row(figures: dict[str, Any]) -> list[str]:
    return [
        str(figures["number"]),
        f"{figures['seconds']:.2f}",
        f"{figures['cpu_seconds']:.2f}",
        *(f"{figures['steps'].get(step, 0):.2f}" for step in ("extract", "normalize", "load")),
        f"{figures['peak_bytes'] / MB:.0f}",
        f"{figures['rows']:,}",
        f"{figures['known']:,}",
        f"{figures['database_bytes'] / MB:.0f}",
        f"{figures['pipeline_bytes'] / MB:.2f}",
        f"{figures['state_bytes']:,}",
        f"{figures['ledger_rows']:,}",
    ]


def _counts(database: Path) -> tuple[int, int, int]:
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM np6.events), (SELECT count(DISTINCT id) FROM np6.events),"
            " (SELECT count(*) FROM np6.load_windows)"
        ).fetchone()
    assert found is not None
    return found[0], found[1], found[2]


def _fill(database: Path, events: int, round_number: int) -> None:
    """Copies what came last under other ids, and at earlier times, until so many were added."""
    with duckdb.connect(str(database)) as connection:
        connection.execute("SET enable_progress_bar = false")
        counted = connection.execute("SELECT count(*) FROM np6.events").fetchone()
        base = min(BASE, counted[0] if counted else 0)
        for table, key in (("events", "id"), ("events__hits", "event_id")):
            connection.execute(
                f"""INSERT INTO np6.{table} BY NAME
                SELECT held.* REPLACE (
                    md5(concat({key}, {round_number}, '/', copy))::UUID::VARCHAR AS {key},
                    timestamp - to_days(copy::INTEGER) AS timestamp
                ) FROM range(1, {events // base + 2}) AS copies(copy),
                    (FROM np6.{table} ORDER BY timestamp DESC, {key} LIMIT {base}) AS held
                LIMIT {events}"""
            )
        connection.execute("CHECKPOINT")


# --- The page ---

BEGIN = "<!-- results of make bench-growth: begin -->"
END_OF = "<!-- results of make bench-growth: end -->"


def write_page(page: Path, results: dict[str, Any]) -> None:
    """Puts results between a page's marks, and their picture beside it.

    Args:
        page: The page.
        results: What ``main`` keeps.
    """
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END_OF)
    if not mark:
        raise SystemExit(f"The page has no {BEGIN} and {END_OF}.")
    sizes = results["on_top"]
    header = ("events in the file", "increment", "extract", "load", "peak MB", "gaps", *VIEWS, "MB")
    rows = []
    for size in sizes:
        median = _median(size)
        rows.append(
            (
                f"{size['rows']:,}",
                f"{median('cpu_seconds'):.1f}",
                *(
                    f"{statistics.median(s['steps'][step] for s in size['increments']):.1f}"
                    for step in ("extract", "load")
                ),
                f"{max(step['peak_bytes'] for step in size['increments']) / MB:.0f}",
                *(f"{size['reads'][name]['cpu_seconds']:.1f}" for name in ("gaps", *VIEWS)),
                f"{size['increments'][-1]['database_bytes'] / MB:,.0f}",
            )
        )
    lines = {
        "an increment": [
            *((step["rows"] / 1e6, step["cpu_seconds"]) for step in results["increments"]),
            *((size["rows"] / 1e6, _median(size)("cpu_seconds")) for size in sizes),
        ],
        **{
            name: [(size["rows"] / 1e6, size["reads"][name]["cpu_seconds"]) for size in sizes]
            for name in ("gaps", *VIEWS)
        },
    }
    picture = page.with_name("growth.svg")
    title = f"CPU seconds by events in one DuckDB file ({results['events']:,} events an increment)"
    picture.write_text(as_svg(title, "million events", "CPU seconds", lines), "utf-8")
    text = (
        "![CPU seconds of an increment, of gaps and of views, by events in the file]"
        f"({picture.name})"
        f"\n\n{as_markdown(header, rows)}\n\nIncrements of {results['events']:,} events, medians"
        f" of {len(sizes[0]['increments'])}, {results['measured_at']},"
        f" {results['machine']['cores']} cores. CPU seconds, of extract and load seconds;"
        " `gaps` and the views read everything."
        f"{_of_series(results.get('overlapping', ()))}"
    )
    page.write_text(f"{before}{BEGIN}\n{text}\n{END_OF}{after}", "utf-8")


def _of_series(steps: Sequence[dict[str, Any]]) -> str:
    """What increments within one overlap took; nothing where there were none."""
    if len(steps) < 2:
        return ""
    second, last = steps[1], steps[-1]
    known = last["known"] / last["events"] if last["events"] else 0
    return (
        f"\n\n{len(steps)} such increments within one overlap: the second took"
        f" {second['cpu_seconds']:.1f} CPU seconds, the last {last['cpu_seconds']:.1f}, with"
        f" {max(step['peak_bytes'] for step in steps) / MB:.0f} MB at the peak of all; of what the"
        f" last read {known:.0%} was known."
    )


def _median(size: dict[str, Any]) -> Callable[[str], float]:
    return lambda name: statistics.median(step[name] for step in size["increments"])


if __name__ == "__main__":
    sys.exit(main())
