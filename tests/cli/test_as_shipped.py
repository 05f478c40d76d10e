"""What is printed for the first ten minutes, in a clean copy of the repository.

Nothing is configured but the key and the address of the API: the shipped ``.dlt/`` counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest

from np6_source.sandbox import Sandbox, generated_account
from tests.support import ROOT

TCall = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """An account with events of the last two weeks."""
    end = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=5)
    with Sandbox(generated_account(events=500, seed=3, start=end - timedelta(14), end=end)) as it:
        yield it


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows, and nothing else."""
    folder = tmp_path_factory.mktemp("clean") / "np6-source"
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture
def call(copy: Path, tmp_path: Path, sandbox: Sandbox) -> Iterator[TCall]:
    """Runs a command in the copy, in an environment that knows only the key and the address."""
    environment = {
        "HOME": str(tmp_path / "home"),
        # For root, dlt's working folder is not below HOME (dlt 1.31).
        "DLT_DATA_DIR": str(tmp_path / "home" / ".dlt"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SOURCES__NP6__API_KEY": sandbox.key,
        "SOURCES__NP6__BASE_URL": sandbox.url,
    }
    (tmp_path / "home").mkdir()

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=110
        )

    yield call
    for file in copy.glob("*.duckdb*"):
        file.unlink()


def make_run(*variables: str) -> list[str]:
    """``make run`` with the environment that runs this test."""
    ready = Path(sys.prefix) / ".ready"
    return ["make", f"VENV={sys.prefix}", "-o", str(ready), "run", *variables]


def events_in(file: Path) -> int:
    with duckdb.connect(str(file), read_only=True) as connection:
        ((count,),) = connection.sql("SELECT count(*) FROM np6.events").fetchall()
    return int(count)


COMMANDS = {
    "make run": (make_run(), "np6_to_duckdb.duckdb"),
    "the script": (["python", "pipelines/np6_to_duckdb.py"], "np6_to_duckdb.duckdb"),
    "the shortest script": (["python", "pipelines/np6_pipeline.py"], "np6_pipeline.duckdb"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_it_loads_as_printed(call: TCall, copy: Path, sandbox: Sandbox, name: str) -> None:
    command, file = COMMANDS[name]
    ended = call(*command)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert events_in(copy / file) == sum(sandbox.statistics()["served"].values()) > 0


def test_a_second_copy_of_the_project_has_a_file_of_its_own(
    call: TCall, copy: Path, tmp_path: Path, sandbox: Sandbox
) -> None:
    """Both have the same pipeline, whose state remembers the first folder (dlt 1.31)."""
    assert call("python", "pipelines/np6_to_duckdb.py").returncode == 0
    other = tmp_path / "other"
    other.mkdir()
    script = str(copy / "pipelines" / "np6_to_duckdb.py")
    ended = call("bash", "-c", f"cd '{other}' && python '{script}'")
    assert ended.returncode == 0, ended.stderr
    assert f"loaded into {copy.resolve() / 'np6_to_duckdb.duckdb'} before" in ended.stderr
    assert events_in(other / "np6_to_duckdb.duckdb") == events_in(copy / "np6_to_duckdb.duckdb")


def test_gaps_reads_what_the_script_has_loaded(call: TCall) -> None:
    assert call("python", "pipelines/np6_to_duckdb.py").returncode == 0
    end = datetime.now(timezone.utc) - timedelta(days=1)
    span = ("--start", (end - timedelta(7)).isoformat(), "--end", end.isoformat())
    ended = call("python", "-m", "np6_source", "gaps", *span)
    assert (ended.returncode, ended.stdout) == (0, "Nothing is missing.\n"), ended.stderr


LIMITS = "SELECT current_setting('memory_limit'), current_setting('threads')"

PROGRAM = f"""
from np6_source.cli.load import parse
from np6_source.cli.destination import open_pipeline
with open_pipeline(parse([])).sql_client() as client:
    print(client.execute_sql("{LIMITS}")[0], client.credentials.database)
"""


class TestMemory:
    """DuckDB's limits in the connection that dlt loads through."""

    def test_the_script_limits_it(self, call: TCall, copy: Path) -> None:
        ended = call("python", "-c", PROGRAM)
        file = copy.resolve() / "np6_to_duckdb.duckdb"
        assert ended.stdout == f"('333.7 MiB', 1) {file}\n", ended.stderr

    @pytest.mark.parametrize(
        ("variables", "limits", "file"),
        [
            (
                {"DESTINATION__DUCKDB__CREDENTIALS": "other.duckdb"},
                "('333.7 MiB', 1)",
                "other.duckdb",
            ),
            (
                {"DESTINATION__DUCKDB__CREDENTIALS__GLOBAL_CONFIG": '{"memory_limit": "1GiB"}'},
                "('1.0 GiB', 1)",
                "np6_to_duckdb.duckdb",
            ),
        ],
        ids=["a file", "a limit"],
    )
    def test_what_is_configured_counts(
        self, call: TCall, copy: Path, variables: dict[str, str], limits: str, file: str
    ) -> None:
        given = [f"{name}={value}" for name, value in variables.items()]
        ended = call("env", *given, "python", "-c", PROGRAM)
        assert ended.stdout == f"{limits} {copy.resolve() / file}\n", ended.stderr

    def test_a_project_of_ones_own_limits_it_as_the_example_says(
        self, call: TCall, copy: Path
    ) -> None:
        example = (copy / ".dlt" / "example.secrets.toml").read_text()
        secrets = copy / ".dlt" / "secrets.toml"
        lines = example[example.index("# [destination") :].splitlines()
        secrets.write_text("\n".join(line.removeprefix("# ") for line in lines))
        program = (
            "import dlt\n"
            'pipeline = dlt.pipeline("own", destination="duckdb", dataset_name="np6")\n'
            f'print(pipeline.sql_client().__enter__().execute_sql("{LIMITS}")[0])'
        )
        try:
            ended = call("python", "-c", program)
        finally:
            secrets.unlink()
        assert ended.stdout == "('333.7 MiB', 1)\n", ended.stderr
