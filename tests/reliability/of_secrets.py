"""Trouble in which the key, or what is about a person, could get to where nobody asked for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.adversary.server import FAULTS
from tests.reliability.kinds import kind
from tests.reliability.of_api import HOSTILE
from tests.reliability.of_database import refused_row
from tests.reliability.trials import (
    ADDRESS,
    DAY,
    FIRST_DAY,
    KEY,
    SECRETS,
    SETTLED,
    Call,
    Trial,
)

BY_ADDRESS = "targets_events_hits_by_unicity"
PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
FILES_OF_ROWS = (".parquet", ".arrow", ".insert_values", ".jsonl", ".gz")
FOR_OTHERS = 0o077
"""The bits of a file's mode that let other users in."""


def _faulty(trial: Trial, count: int) -> None:
    trial.api.faults += [trial.rng.choice(FAULTS) for _ in range(count)]


def _hostile(trial: Trial) -> None:
    """Every response has headers of a hostile server, or a body that breaks off in an address."""
    date = f"Date: {trial.api.date}\r\nConnection: close\r\n\r\n".encode()
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n"
    quoted = b"HTTP/1.1 200 OK\r\n" + ADDRESS.encode() + b"\r\nContent-Length: 3\r\n"
    head = trial.rng.choice((*HOSTILE, broken, quoted))
    body = b"\x1f\x8b\x08" if head in HOSTILE else f'[{{"id": "{ADDRESS}'.encode()
    trial.api.respond = lambda path, rows: head + date + body


@kind(13, "5xx, 429, 401, HTML, bodies cut or hostile headers, all logs at DEBUG", 0, 1, 75)
def key_at_debug(trial: Trial) -> Call:
    _faulty(trial, trial.rng.randrange(2, 10))
    if trial.rng.random() < 0.5:
        _hostile(trial)
    if trial.rng.random() < 0.5:
        return trial.load("--debug", trouble={"log_everything": True})
    return trial.run(trouble={"log_everything": True})


@kind(13, "an address given as an id, and such trouble, all logs at DEBUG", 0, 1, 75, says="?...")
def address_at_debug(trial: Trial) -> Call:
    trial.resources, trial.options = (BY_ADDRESS,), ("--target-unicities", ADDRESS)
    trial.account[:] = [fact for fact in trial.account if fact.kind == "hit"]
    _faulty(trial, trial.rng.randrange(6))
    if trial.rng.random() < 0.5:
        _hostile(trial)
    if trial.rng.random() < 0.5:
        return trial.load("--debug", trouble={"log_everything": True})
    return trial.run(trouble={"log_everything": True}, source={"target_unicities": [ADDRESS]})


@kind(13, "a row that PostgreSQL refuses, all logs at DEBUG", 1, needs_postgres=True)
def refused_row_at_debug(trial: Trial) -> Call:
    # Without --debug the script filters dlt's log.
    trial.environment["RUNTIME__LOG_LEVEL"], trial.options = "DEBUG", ("--debug",)
    ended = refused_row(trial)
    del trial.environment["RUNTIME__LOG_LEVEL"]
    trial.options = ()
    return ended


@kind(13, "an error that is shown with the variables of its frames", 1, says="self = ")
def error_with_variables(trial: Trial) -> Call:
    """As Sentry, rich and ``pytest --showlocals`` show it."""
    if trial.rng.random() < 0.5:
        _hostile(trial)
    else:
        trial.api.faults += [trial.rng.choice(("drop", "401", "cut"))] * 60
    return trial.run(
        key=None,
        trouble={"show_variables": True},
        environment={"SOURCES__NP6__API_KEY": KEY},
    )


@kind(13, "parts that fail in a `ProcessPoolExecutor`", 1, says="failures came back", is_slow=True)
def errors_of_parts(trial: Trial) -> Call:
    if trial.rng.random() < 0.5:
        trial.api.faults += [trial.rng.choice(("401", "html", "object", "cut", "empty"))] * 60
    else:
        _hostile(trial)
    return trial.run(way="parts", end=SETTLED, workers=2)


@kind(13, "a part that is killed, another next", -9)
def part_killed(trial: Trial) -> Call:
    """What it leaves is its user's alone, and goes with the next part of anybody's."""
    temporary = trial.folder / "temporary"
    temporary.mkdir()
    trial.environment["TMPDIR"] = str(temporary)
    middle = FIRST_DAY + DAY
    killed = trial.run(
        way="parts", end=middle, workers=0, trouble={"kill_at": trial.rng.randrange(1, 25)}
    )
    if not list(temporary.iterdir()):
        trial.exposed.append("the part was over before it was killed")
    _look_at_files(trial, temporary)
    trial.run(way="parts", end=SETTLED, workers=0, asked=lambda fact: fact.timestamp < SETTLED)
    trial.exposed += [str(path) for path in temporary.rglob("*") if path.suffix != ".lock"]
    left = trial.database.query(
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE '%staging%'"
    )
    trial.exposed += [name for (name,) in left]
    return killed


@kind(13, "what a load that was killed and one that was not leave in dlt's folder", -9)
def files_of_loads(trial: Trial) -> Call:
    trial.load()
    _look_for_rows(trial)
    trial.next_day()
    killed = trial.load(trouble={"kill_at": trial.rng.randrange(1, 20)})
    _look_at_files(trial, trial.database.pipelines_dir)
    trial.next_day()
    trial.load()
    _look_for_rows(trial)
    return killed


def _look_at_files(trial: Trial, folder: Path) -> None:
    """Notes files with rows that other users can open, and files that have the key."""
    for path in folder.rglob("*"):
        if path.is_file() and KEY.encode() in path.read_bytes():
            trial.exposed.append(f"{path} has the key")
        # Nobody else gets to what is below a folder that is closed.
        way = [path, *(folder / parent for parent in path.relative_to(folder).parents[:-1])]
        if _has_rows(path) and all(one.stat().st_mode & FOR_OTHERS for one in way):
            trial.exposed.append(f"{path} can be opened by others")


def _has_rows(path: Path) -> bool:
    return path.is_file() and (
        path.suffix in FILES_OF_ROWS or ADDRESS.encode() in path.read_bytes()
    )


def _look_for_rows(trial: Trial) -> None:
    """Notes what is left of the rows of a load that is complete."""
    _look_at_files(trial, trial.database.pipelines_dir)
    left = [path for path in trial.database.pipelines_dir.rglob("*") if _has_rows(path)]
    trial.exposed += [f"{path} has rows" for path in left]


# --- Where requests go ---


@contextmanager
def _elsewhere(trial: Trial) -> Iterator[str]:
    """Another server, which answers with no events; who sends it a secret has exposed it."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            head = f"{self.requestline}\n{self.headers}"
            trial.exposed += [secret for secret in SECRETS if secret in head]
            self.send_response_only(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    for method in ("CONNECT", "POST"):
        setattr(Other, f"do_{method}", Other.do_GET)
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@kind(13, "a proxy in the environment, and a host on this machine", 0)
def proxy(trial: Trial) -> Call:
    with _elsewhere(trial) as url:
        trial.environment |= {trial.rng.choice(PROXIES): url}
        ended = trial.load() if trial.rng.random() < 0.5 else trial.run()
        for name in PROXIES:
            trial.environment.pop(name, None)
    return ended


@kind(13, "a redirect to another host", 1, says="redirect")
def redirect(trial: Trial) -> Call:
    status = trial.rng.choice(("301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Moved"))
    with _elsewhere(trial) as url:
        away = url if trial.rng.random() < 0.5 else url.replace("127.0.0.1", "localhost")
        head = f"HTTP/1.1 {status}\r\nLocation: {away}actions/events\r\nDate: {trial.api.date}\r\n"
        trial.api.respond = lambda path, rows: (
            f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        return trial.load() if trial.rng.random() < 0.5 else trial.run()


@kind(13, "a host that is written in capitals", 0)
def host_in_capitals(trial: Trial) -> Call:
    host = trial.rng.choice(("LOCALHOST", "LocalHost"))
    trial.api.url = trial.api.url.replace("127.0.0.1", host)
    return trial.load() if trial.rng.random() < 0.5 else trial.run()
