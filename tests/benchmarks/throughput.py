"""np6_source beside other ways to get the same events from HTTP into a merged DuckDB table.

All load the same bytes, one answer for one window, from a server on this machine that is never the
bottleneck; how long a bare download takes is printed first. Each way is a script of its own in
``ways/``, run as a process of its own. What is timed is that whole process, from its start to its
exit: interpreter, imports, download, load, merge.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from catalogue import OURS, QUICK, SMALLER, WAYS, Way
from environments import Unavailable, interpreter, reason, source_tree, versions
from measuring import MB, bytes_in, machine, run_measured
from prepared import BUILD, END, PROJECT, START, hits_file, iso
from server import KEY, Served, serving
from table import as_markdown, as_text, say, say_checks
from targets import (
    CPU_OF_BEFORE,
    JUDGED_EVENTS,
    MEMORY_BYTES,
    TIMES_FASTER,
    TIMES_THE_FLOOR,
    Check,
    at_least,
    at_most,
    exit_status,
)

SCRIPTS = Path(__file__).parent / "ways"
SCRIPT_OF_OURS = "this_connector.py"
COUNT_ROWS = Path(__file__).with_name("count_rows.py")

QUIET = {
    # Nobody's benchmark should send usage statistics.
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "AIRBYTE_OFFLINE_MODE": "1",
    "DISABLE_TELEMETRY": "true",
}

LIMITED = {
    "DESTINATION__DUCKDB__CREDENTIALS__GLOBAL_CONFIG": '{"memory_limit": "350MB", "threads": 1}'
}
"""The limits that the script gives DuckDB, as ``.dlt/example.secrets.toml`` gives them to dlt's own
destination. The project's configuration at an earlier commit has the same."""

HEADER = (
    "way",
    "seconds",
    "from - to",
    "CPU s",
    "events/s",
    f"times {OURS}",
    "peak MB",
    "disk MB",
    "in the tables",
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ", ".join(way.name for way in WAYS)
    parser.add_argument("--ways", help=f"comma list of: {names}")
    parser.add_argument(
        "--quick", action="store_true", help=f"only {', '.join(QUICK)}, which need no installing"
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all ways")
    parser.add_argument("--json", type=Path, help="where to keep results")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds per run")
    parser.add_argument(
        "--memory-events",
        type=int,
        metavar="N",
        help=f"only {OURS}, once, with so many events: does its memory stay?",
    )
    parser.add_argument(
        "--page", type=Path, help="put the kept results (--json) into this page, measure nothing"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and the targets; exit status 1 where one is missed."""
    options = parse(arguments)
    kept = options.json or BUILD / "results.json"
    if options.page:
        results = json.loads(kept.read_text("utf-8"))
        options.page.write_text(with_results(options.page.read_text("utf-8"), results), "utf-8")
        return 0
    if options.memory_events:
        options.events, options.repeats, options.ways = options.memory_events, 1, OURS
        kept = options.json or BUILD / f"results-{options.events}.json"
    results = measure(_chosen(options), options.events, options.repeats, options.timeout)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    say()
    say(as_text(HEADER, _rows(results)))
    for note in _notes(results):
        say(note)
    found = checks(results)
    say_checks(found)
    say(f"Results are in {kept}.")
    wrong = any(way["name"] == OURS and _fault(way) for way in results["ways"])
    return exit_status(found) or int(wrong)


def _chosen(options: argparse.Namespace) -> list[Way]:
    names = list(QUICK) if options.quick else [way.name for way in WAYS]
    if options.ways:
        names = [name.strip() for name in options.ways.split(",")]
    by_name = {way.name: way for way in WAYS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise SystemExit(f"No such way: {', '.join(unknown)}. There are: {', '.join(by_name)}.")
    return [by_name[name] for name in names]


# --- Measuring ---


def measure(ways: Sequence[Way], events: int, repeats: int, timeout: float) -> dict[str, Any]:
    """Runs the ways in turn, round after round.

    Args:
        ways: What to measure.
        events: How many hits the answer has.
        repeats: How many rounds.
        timeout: Seconds after which a run is given up.

    Returns:
        What was measured, as it is kept in JSON.
    """
    file = hits_file(events).resolve()
    size = file.stat().st_size
    say(f"{events:,} hits, {size / MB:,.0f} MB in one answer. {_machine_note(machine())}")
    pythons: dict[str, Path] = {}
    trees: dict[str, Path | None] = {}
    found: dict[str, dict[str, Any]] = {}
    for way in ways:
        found[way.name] = entry = {
            "name": way.name,
            "title": way.title,
            "lands": way.lands,
            "versions": {},
            "unavailable": None,
            "scaled_from": way.scaled_from if way.scaled_from and events > max(SMALLER) else None,
            "runs": [],
        }
        try:
            pythons[way.name] = interpreter(way, BUILD / "venvs")
            trees[way.name] = source_tree(way, BUILD / "commits")
            entry["versions"] = versions(pythons[way.name], way.shown_packages)
        except Unavailable as error:
            entry["unavailable"] = str(error)
            say(f"{way.name}: cannot be installed: {error}")
    with serving(file, START) as served:
        downloads = [_bare_download(served) for _ in range(3)]
        seconds, server_cpu = min(downloads)
        say(
            f"A bare download to nowhere takes {seconds:.2f} s ({size / MB / seconds:,.0f} MB/s)"
            f" and {server_cpu:.2f} s of the server's CPU."
        )
        for repeat in range(repeats):
            for way in ways:
                entry = found[way.name]
                if entry["unavailable"] or any(run["error"] for run in entry["runs"]):
                    continue
                tree = trees[way.name]
                if entry["scaled_from"]:
                    run = _scaled(way, pythons[way.name], tree, events, timeout)
                else:
                    run = _run(way, pythons[way.name], tree, served, events, timeout)
                entry["runs"].append(run)
                told = run["error"] or f"{run['seconds']:.2f} s"
                say(f"  round {repeat + 1}: {way.name}: {told}")
    return {
        "measured_at": datetime.now().astimezone().date().isoformat(),
        "machine": machine(),
        "events": events,
        "answer_bytes": size,
        "download_seconds": [seconds for seconds, _ in downloads],
        "download_server_cpu_seconds": [cpu for _, cpu in downloads],
        "ways": list(found.values()),
    }


def _bare_download(served: Served) -> tuple[float, float]:
    """Seconds to receive the answer and throw it away, and the server's CPU seconds for it."""
    cpu_before, started = served.cpu_seconds(), time.monotonic()
    address = urlsplit(served.url)
    request = (
        f"GET /actions/events?start={iso(START)}&end={iso(END)} HTTP/1.1\r\n"
        f"Host: {address.netloc}\r\nX-Key: {KEY}\r\nConnection: close\r\n\r\n"
    )
    buffer = bytearray(1024 * 1024)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(request.encode())
        while connection.recv_into(buffer):
            pass
    return time.monotonic() - started, served.cpu_seconds() - cpu_before


def _scaled(
    way: Way, python: Path, tree: Path | None, events: int, timeout: float
) -> dict[str, Any]:
    """A run with fewer events twice, and what that comes to with all of them."""
    assert way.scaled_from is not None
    runs = []
    for fewer in way.scaled_from:
        with serving(hits_file(fewer).resolve(), START) as served:
            runs.append(_run(way, python, tree, served, fewer, timeout))
        if runs[-1]["error"]:
            return runs[-1]
    return drawn_out(*runs, *way.scaled_from, events)


def drawn_out(
    small: dict[str, Any], large: dict[str, Any], fewest: int, fewer: int, events: int
) -> dict[str, Any]:
    """What two runs come to with more events, in a straight line through both.

    What a run costs whatever the number of events, its start above all, counts once so.

    Args:
        small: Figures of the run with fewest events.
        large: Figures of the other.
        fewest: Events of the first.
        fewer: Events of the second.
        events: How many events to draw the line to.
    """
    further = (events - fewer) / (fewer - fewest)
    found = {
        name: large[name] + further * (large[name] - small[name])
        for name in ("seconds", "cpu_seconds", "peak_bytes", "database_bytes")
    }
    return large | found | {"largest_process_bytes": 0, "measured": [small, large]}


def _run(
    way: Way, python: Path, tree: Path | None, served: Served, events: int, timeout: float
) -> dict[str, Any]:
    # What the way before has written should not be written back on this one's time.
    os.sync()
    with tempfile.TemporaryDirectory(dir=BUILD.resolve(), prefix="run-") as name:
        folder = Path(name)
        database = folder / "account.duckdb"
        command = [str(python), str((SCRIPTS / way.script).resolve()), served.url, KEY]
        command += [iso(START), iso(END), str(database), *way.arguments]
        # Tools keep their files in the run's folder, so that every run starts from nothing.
        places = {"TMPDIR": name, "DLT_DATA_DIR": name}
        if way.script == SCRIPT_OF_OURS:
            # As `make run` does: with the project's configuration.
            places |= {"DLT_PROJECT_DIR": str(tree or PROJECT), **LIMITED}
        if tree is not None:
            places["PYTHONPATH"] = str(tree)
        cost = run_measured(command, folder, {**QUIET, **places}, timeout)
        run: dict[str, Any] = {
            "seconds": cost.seconds,
            "cpu_seconds": cost.cpu_seconds,
            "peak_bytes": cost.peak_bytes,
            "largest_process_bytes": cost.largest_process_bytes,
            "database_bytes": None,
            "rows": None,
            "distinct_ids": None,
            "error": None,
        }
        if cost.status:
            timed_out = cost.seconds >= timeout
            run["error"] = f"given up after {timeout:.0f} s" if timed_out else reason(cost.output)
            return run
        # A database that was not closed well keeps part of its rows beside it.
        run["database_bytes"] = sum(bytes_in(file) for file in folder.glob("account.duckdb*"))
        counted = subprocess.run(
            [
                *(str(python), str(COUNT_ROWS.resolve())),
                *(str(database), way.table, way.id_expression),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if counted.returncode:
            run["error"] = reason(counted.stderr)
            return run
        run["rows"], run["distinct_ids"] = map(int, counted.stdout.split())
        if (run["rows"], run["distinct_ids"]) != (events, events):
            run["error"] = (
                f"WRONG: {run['rows']:,} rows with {run['distinct_ids']:,} ids"
                f" in place of {events:,}"
            )
        return run


# --- What came of it ---


def _fault(way: dict[str, Any]) -> str | None:
    """Why there is no figure for a way."""
    if way["unavailable"]:
        return f"not installed: {way['unavailable']}"
    return next((run["error"] for run in way["runs"] if run["error"]), None)


def _memory(run: dict[str, Any]) -> int:
    return int(max(run["peak_bytes"], run["largest_process_bytes"]))


def _ratio(results: dict[str, Any], name: str, of: str = "seconds") -> float | None:
    """Median over the rounds of a way's seconds to np6_source's in the same round."""
    ways = {way["name"]: way for way in results["ways"]}
    if name not in ways or OURS not in ways or _fault(ways[name]) or _fault(ways[OURS]):
        return None
    pairs = zip(ways[name]["runs"], ways[OURS]["runs"], strict=False)
    return statistics.median(other[of] / ours[of] for other, ours in pairs)


def _rows(results: dict[str, Any]) -> Iterable[list[str]]:
    for way in results["ways"]:
        fault = _fault(way)
        if fault:
            yield [way["title"], *["-"] * (len(HEADER) - 2), "no figures, see below"]
            continue
        title = f"{way['title']} (drawn out, see below)" if way.get("scaled_from") else way["title"]
        runs = way["runs"]
        seconds = [run["seconds"] for run in runs]
        median = statistics.median(seconds)
        ratio = _ratio(results, way["name"])
        yield [
            title,
            f"{median:.1f}",
            f"{min(seconds):.1f} - {max(seconds):.1f}",
            f"{statistics.median(run['cpu_seconds'] for run in runs):.1f}",
            f"{results['events'] / median:,.0f}",
            "-" if ratio is None else f"{ratio:.2f}" if ratio < 1 else f"{ratio:.1f}",
            f"{statistics.median(map(_memory, runs)) / MB:,.0f}",
            f"{statistics.median(run['database_bytes'] for run in runs) / MB:,.0f}",
            way["lands"],
        ]


def _machine_note(found: dict[str, Any]) -> str:
    return (
        f"{found['cores']} cores, {found['memory_bytes'] / 1e9:.0f} GB, {found['system']}"
        f" {found['architecture']}, Python {found['python']}."
    )


def _notes(results: dict[str, Any]) -> Iterable[str]:
    rounds = max((len(way["runs"]) for way in results["ways"]), default=0)
    yield ""
    yield (
        f"{results['events']:,} hits, {results['answer_bytes'] / MB:,.0f} MB in one answer, from"
        f" HTTP to merged tables; medians of {rounds} interleaved round{'s'[: rounds > 1]},"
        f" {results['measured_at']}. {_machine_note(results['machine'])}"
    )
    yield (
        "Seconds are those of the whole process, start and imports included. Ratios are medians"
        " of the rounds' ratios. Peak memory is the resident memory of the process tree, sampled"
        " every 50 ms, or the kernel's peak of its largest process if that is more."
    )
    for way in results["ways"]:
        if sizes := way.get("scaled_from"):
            small, large = sizes
            yield (
                f"{way['name']} was measured with {small:,} and {large:,} events; its figures are"
                " a straight line through both, drawn out to as many as the others'."
            )
    best = min(results["download_seconds"])
    yield f"The server is not the bottleneck: a bare download of the answer takes {best:.2f} s."
    for way in results["ways"]:
        if fault := _fault(way):
            yield f"No figures for {way['name']}: {fault}"
    used: dict[str, str] = {}
    for way in results["ways"]:
        if way["versions"]:
            used[way["name"]] = " ".join(f"{k} {v}" for k, v in way["versions"].items())
    yield "Versions: " + "; ".join(f"{name}: {text}" for name, text in used.items()) + "."


BEGIN, END_OF = "<!-- results of make bench: begin -->", "<!-- results of make bench: end -->"
"""Marks in a page between which the results stand."""


def with_results(page: str, results: dict[str, Any]) -> str:
    """A page with the results between its marks.

    Args:
        page: The page.
        results: What ``measure`` returned.
    """
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END_OF)
    if not mark:
        raise SystemExit(f"The page has no {BEGIN} and {END_OF}.")
    return f"{before}{BEGIN}\n{markdown(results)}\n{END_OF}{after}"


def markdown(results: dict[str, Any]) -> str:
    """Table, targets and notes as Markdown.

    Args:
        results: What ``measure`` returned.
    """
    rows = [[cell.replace("|", "\\|") for cell in row] for row in _rows(results)]
    words = {True: "met", False: "**missed**", None: "-"}
    judged = [[check.text, check.measured, words[check.met]] for check in checks(results)]
    notes = "\n\n".join(filter(None, _notes(results)))
    return "\n\n".join(
        (as_markdown(HEADER, rows), as_markdown(("target", "measured", ""), judged), notes)
    )


def checks(results: dict[str, Any]) -> list[Check]:
    """The targets that apply to what was run."""
    found = []
    measured = {way["name"] for way in results["ways"]}
    if results["events"] >= JUDGED_EVENTS:
        for name, least in TIMES_FASTER.items():
            if name in measured:
                text = f"at least {least:g} times as fast as {name}"
                found.append(at_least(text, _ratio(results, name), least, "{:.1f}"))
        for name, most in TIMES_THE_FLOOR.items():
            if name in measured:
                ratio = _ratio(results, name)
                text = f"within {most:g} times the time of {name}, the floor"
                found.append(at_most(text, None if ratio is None else 1 / ratio, most))
        for name, most in CPU_OF_BEFORE.items():
            if name in measured:
                ratio = _ratio(results, name, "cpu_seconds")
                text = f"at most {most:g} of the CPU seconds of {name}"
                found.append(at_most(text, None if ratio is None else 1 / ratio, most))
    else:
        say(f"Times are judged from {JUDGED_EVENTS:,} events on; these are fewer.")
    for way in results["ways"]:
        if way["name"] == OURS and not _fault(way):
            peak = max(map(_memory, way["runs"]))
            text = f"peak memory of {OURS} under {MEMORY_BYTES // MB} MB"
            found.append(at_most(text, peak / MB, MEMORY_BYTES / MB, "{:.0f} MB"))
    return found


if __name__ == "__main__":
    sys.exit(main())
