"""What tests share without pytest: a pipeline in a folder, short events, raw servers, scripts."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import dlt
import duckdb
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from np6_source.loading import LoadReport, load
from np6_source.schema import EVENT_TABLES
from np6_source.windows import Window, merged, to_ms

ROOT = Path(__file__).parent.parent
SECTIONS = (
    "SOURCES__",
    "DESTINATION__",
    "CREDENTIALS",
    "LOAD__",
    "EXTRACT__",
    "NORMALIZE__",
    "DLT",
)
BARE_NAMES = ("API_KEY", "BASE_URL", "START", "END", "WINDOW", "RUNTIME__LOG_LEVEL")


ANY_DIFFERENCE = str(10**9)
"""A ``clock_tolerance`` in seconds that no clock of a test exceeds."""


def is_configuration(name: str) -> bool:
    """Whether dlt would read this environment variable."""
    return name.startswith(SECTIONS) or name in BARE_NAMES


LOGGERS = ("", "urllib3", "np6_source", "np6_source.extract.action_list")
"""Those whose level commands and tests set."""


@dataclass(frozen=True)
class ProcessState:
    """What of a process all its tests share, and a test could leave otherwise than it was.

    Attributes:
        environment: Variables.
        folder: The working directory.
        configuration: The folder whose ``.dlt/`` dlt reads.
        signals: Who handles SIGINT and SIGTERM.
        handlers: The root logger's.
        levels: Of ``LOGGERS``.
    """

    environment: dict[str, str]
    folder: str
    configuration: str
    signals: dict[int, Any]
    handlers: list[logging.Handler]
    levels: dict[str, int]

    @classmethod
    def now(cls) -> ProcessState:
        """As it is."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        return cls(
            environment,
            _working_directory(),
            dlt.current.run_context().run_dir,
            {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
            list(logging.getLogger().handlers),
            {name: logging.getLogger(name).level for name in LOGGERS},
        )

    def changes(self) -> list[str]:
        """What is otherwise now: variables by their names, without values."""
        now = ProcessState.now()
        variables = {name for name, _ in self.environment.items() ^ now.environment.items()}
        names = [each.name for each in fields(self) if each.name != "environment"]
        others = [name for name in names if getattr(self, name) != getattr(now, name)]
        return sorted(variables) + others

    def put_back_logging(self) -> None:
        """Handlers and levels, as every command that runs in this process sets them."""
        logging.getLogger().handlers[:] = self.handlers
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)

    def put_back(self) -> None:
        """All of it."""
        os.chdir(self.folder)
        self.put_back_logging()
        for name in set(os.environ) - set(self.environment) - {"PYTEST_CURRENT_TEST"}:
            del os.environ[name]
        os.environ.update(self.environment)
        for number, handler in self.signals.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)
        if dlt.current.run_context().run_dir != self.configuration:
            Container()[PluggableRunContext].reload(self.configuration)


def _working_directory() -> str:
    """Empty where it was removed meanwhile, as a test's own folder is at its end."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


class Warehouse:
    """A pipeline with its working folder and its DuckDB file in one folder."""

    def __init__(
        self,
        folder: Path,
        name: str = "np6_test",
        database: Path | None = None,
        destination: type[dlt.destinations.duckdb] = dlt.destinations.duckdb,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.destination = destination
        self.name = name
        self.folder = folder
        self.pipelines_dir = folder / "pipelines"
        self.database = database or folder / "events.duckdb"

    @property
    def pipeline(self) -> dlt.Pipeline:
        """The pipeline, as a new process would find it."""
        return dlt.pipeline(
            self.name,
            destination=self.destination(str(self.database)),
            dataset_name="np6",
            pipelines_dir=str(self.pipelines_dir),
        )

    def run(self, source: Any, **options: Any) -> dlt.Pipeline:
        """One run of the pipeline."""
        pipeline = self.pipeline
        pipeline.run(source, **options)
        return pipeline

    def load(self, make_source: Callable[[], Any], **options: Any) -> LoadReport:
        """One invocation of ``loading.load``."""
        return load(self.pipeline, make_source, **options)

    @property
    def where(self) -> list[str]:
        """The options of commands that name it."""
        return [
            *("--pipeline", self.name),
            *("--pipelines-dir", str(self.pipelines_dir)),
            *("--duckdb-file", str(self.database)),
        ]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with duckdb.connect(str(self.database)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()

    def execute(self, *statements: str) -> None:
        """Changes the database."""
        for statement in statements:
            self.query(statement)

    def rows(self, table: str, order: str = "ALL") -> list[dict[str, Any]]:
        """A table as dicts, with times in milliseconds since the epoch; none where it is not."""
        with duckdb.connect(str(self.database)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            if not connection.execute(
                "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'np6' AND table_name = ?",
                [table],
            ).fetchall():
                return []
            found = connection.execute(f"SELECT * FROM np6.{table} ORDER BY {order}")
            names = [column[0] for column in found.description or ()]
            return [
                dict(zip(names, map(as_plain, values), strict=True)) for values in found.fetchall()
            ]

    def ids(self) -> list[str]:
        """The ids in ``events``, sorted; one that stands twice shows."""
        return sorted(row["id"] for row in self.rows("events"))

    def contents(self) -> dict[str, list[dict[str, Any]]]:
        """Every event table without the time of asking: two loads of the same agree in it."""
        return {
            table.name: [
                {name: value for name, value in row.items() if name != "requested_at"}
                for row in self.rows(table.name, ", ".join(f'"{name}"' for name in table.key))
            ]
            for table in EVENT_TABLES
        }

    def windows(self, resource: str, scope: str = "") -> list[Window]:
        """The windows that the ledger proves, each as it was requested, in order."""
        responses: dict[tuple[Any, ...], list[Window]] = {}
        for row in self.rows("load_windows"):
            if (row["resource"], row["scope_id"]) == (resource, scope):
                response = row["requested_at"], row["request_id"], row["classification"]
                window = Window(row["window_start"], row["window_end"])
                responses.setdefault(response, []).append(window)
        return sorted(window for rows in responses.values() for window in merged(rows))

    def places(self, resource: str) -> dict[str, Any]:
        """The state of a resource, as dlt keeps it; empty where there is none."""
        state = self.pipeline.state.get("sources", {}).get("np6", {})
        found: dict[str, Any] = state.get("resources", {}).get(resource, {})
        return found

    def state(self) -> str:
        """The state of the source as text."""
        return json.dumps(self.pipeline.state.get("sources", {}), sort_keys=True, default=str)


def as_plain(value: Any) -> Any:
    return to_ms(value) if isinstance(value, datetime) else value


def event(number: int, timestamp: int, /, action: str = "000AA1", **changes: Any) -> Any:
    """A short activation of an action; ``changes`` replace top-level keys."""
    activation = {
        "id": action,
        "kind": "message",
        "receiver": {
            "type": "footprint",
            "id": f"CON{number % 7:05d}",
            "unicity": f"person{number % 7}@example.com",
            "hash": f"{number % 7:032x}",
        },
        "stamp": {"time": timestamp - 500, "id": f"stamp-{number}", "thread": "thread"},
        "recipient": f"person{number % 7}@example.com",
    }
    return {
        "type": "activation",
        "id": f"event-{number:05d}",
        "timestamp": timestamp,
        "identity": {"type": "customer", "agency": "DEMO", "customer": "028"},
        "source": {"type": "email", "detail": {"activation": activation}},
    } | changes


def at(text: str) -> int:
    """Milliseconds of ``2024-03-01``, ``03-01T10:00`` (of 2024) and the like, UTC."""
    if text[2] == "-":
        text = f"2024-{text}"
    return to_ms(datetime.fromisoformat(text.replace("Z", "")))


@dataclass
class RawServer:
    """Answers HTTP requests with given bytes, and keeps what it was sent.

    Attributes:
        answers: A function from a request's bytes to the answer's, or to their parts one by one;
            ends the connection behind it.
        port: Where it listens.
        requests: Request line and headers, as sent.
    """

    answers: Callable[[str], bytes | Iterable[bytes]]
    port: int = 0
    requests: list[str] = field(default_factory=list)
    key: str = "raw-server-key"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def serve_forever(self, listener: socket.socket) -> None:
        """Answers until the listener is shut down, each connection in a thread of its own."""
        threads = []
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=self._answer, args=(connection,)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(65536)
                if not part:
                    return
                head += part
            text = head.decode("latin-1")
            self.requests.append(text)
            answer = self.answers(text)
            for part in (answer,) if isinstance(answer, bytes) else answer:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)


def http_answer(
    body: bytes = b"[]", status: str = "200 OK", headers: Mapping[str, str | None] | None = None
) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(body)}"]
    headers = {"Date": formatdate(usegmt=True), **(headers or {})}
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass(frozen=True)
class PostgresDataset:
    """A dataset of a test in PostgreSQL, and how the program is told of it.

    Attributes:
        url: The database's.
        name: Of the dataset and of its pipeline.
        folder: Folder for the pipeline's files.
    """

    url: str
    name: str
    folder: Path

    @property
    def pipeline(self) -> dlt.Pipeline:
        """A new pipeline object, as a new process would have it."""
        return dlt.pipeline(
            self.name,
            destination=dlt.destinations.postgres(self.url),
            dataset_name=self.name,
            pipelines_dir=str(self.folder),
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query; tables without a schema are the dataset's."""
        with self.pipeline.sql_client() as client:
            return [tuple(row) for row in client.execute_sql(sql) or ()]

    def bytes_on_disk(self) -> dict[str, bytes]:
        """What the server has on its disk: tables, indexes and long values, by name.

        The staging dataset's are among them.
        """
        self.query("CHECKPOINT")
        rows = self.query(
            "WITH own AS (SELECT c.oid, c.reltoastrelid, n.nspname || '.' || c.relname AS name"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            f" WHERE n.nspname LIKE '{self.name}%' AND c.relkind IN ('r', 'i'))"
            " SELECT name, pg_read_binary_file(pg_relation_filepath(oid)) FROM own"
            " UNION ALL SELECT name || ' (long values)',"
            " pg_read_binary_file(pg_relation_filepath(reltoastrelid)) FROM own"
            " WHERE reltoastrelid <> 0"
        )
        return {name: bytes(content) for name, content in rows}

    @property
    def options(self) -> list[str]:
        """The options that name it."""
        return [
            *("--pipeline", self.name, "--dataset", self.name, "--destination", "postgres"),
            *("--pipelines-dir", str(self.folder)),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """The variable that has its address."""
        return {"DESTINATION__POSTGRES__CREDENTIALS": self.url}


class CommandLine:
    """Runs the project's scripts in a folder of their own, against a sandbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if not is_configuration(name)
        } | {
            "HOME": str(folder),
            # For root, dlt's working folder is not below HOME (dlt 1.31): all tests would share it.
            "DLT_DATA_DIR": str(folder / "dlt"),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "SOURCES__NP6__BACKOFF": "0.01",
            "SOURCES__CLOCK_TOLERANCE": ANY_DIFFERENCE,
            "SOURCES__SAME_ACCOUNT": "true",
            "COLUMNS": "300",
        }
        self.environment.pop("PYTHONWARNINGS", None)

    def arguments(self, *arguments: str) -> list[str]:
        """The command for ``np6_to_duckdb`` or for a module (``-m name``)."""
        first, *rest = arguments
        if first.startswith("-m "):
            return [sys.executable, "-m", first.removeprefix("-m "), *rest]
        return [sys.executable, str(ROOT / "pipelines" / f"{first}.py"), *rest]

    def where(self, warehouse: Warehouse) -> list[str]:
        """The options that name a warehouse."""
        return warehouse.where

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Starts a script."""
        return subprocess.Popen(
            self.arguments(*arguments),
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, stdin: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script to its end."""
        process = self.start(*arguments, **environment)
        return self.end_of(process, stdin)

    def end_of(
        self, process: subprocess.Popen[str], stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Gives a script its standard input, if any, and waits for its end."""
        try:
            output, errors = process.communicate(stdin, timeout=200)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
