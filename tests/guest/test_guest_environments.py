"""In projects and environments of others: the built wheel, and what ``dlt init`` copies.

Nothing of this checkout can be imported there. The API is served from this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from np6_source.sandbox import Sandbox
from tests.guest.conftest import EVERY_ID, TAt
from tests.support import ANY_DIFFERENCE, ROOT, is_configuration

pytestmark = pytest.mark.environments

DEVELOPMENT_ONLY = ("aiohttp", "hypothesis", "mypy", "pytest", "ruff")


class Environment:
    """A virtual environment, and a project folder whose commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        venv.create(folder, with_pip=True)

    def install(self, *packages: str) -> None:
        """Installs packages, in the versions that the tests passed with."""
        constraints = str(ROOT / "constraints.txt")
        self.run(
            ROOT.parent,
            *("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--constraint", constraints, *packages),
        )

    def install_without_constraints(self, *packages: str) -> None:
        """Installs packages in versions that the tests did not pass with."""
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        self.run(ROOT.parent, "python", *pip, *packages)

    def run(self, project: Path, program: str, *arguments: str, **environment: str) -> str:
        """What a program prints; its name is one of the environment's."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not is_configuration(name) and not name.startswith(("PYTHON", "VIRTUAL_ENV"))
        }
        # For root, dlt's working folder is not below HOME (dlt 1.31).
        own = {"HOME": str(project), "DLT_DATA_DIR": str(project / "dlt-data")}
        home = own if project != ROOT.parent else {}
        settings = {
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            # The sandbox's clock stands at the time of its events.
            "SOURCES__CLOCK_TOLERANCE": ANY_DIFFERENCE,
        }
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=project,
            env=inherited | home | settings | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def installed(self) -> set[str]:
        """Names of the installed packages."""
        listed = self.run(ROOT.parent, "python", "-m", "pip", "list", "--format", "json")
        return {package["name"].lower() for package in json.loads(listed)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--wheel-dir", str(folder), str(ROOT)),
        ],
        check=True,
        timeout=600,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def with_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("with-wheel") / "environment")
    environment.install(str(wheel))
    return environment


def configure(project: Path, sandbox: Sandbox) -> None:
    """Fills in what ``dlt init`` leaves open, as a person would."""
    (project / ".dlt").mkdir(exist_ok=True)
    (project / ".dlt" / "secrets.toml").write_text(f'[sources.np6]\napi_key = "{sandbox.key}"\n')
    (project / ".dlt" / "config.toml").write_text(
        f'[sources.np6]\nbase_url = "{sandbox.url}"\nstart = "2024-03-01"\n'
        "[runtime]\ndlthub_telemetry = false\n"
    )


HOST_SCRIPT = '''
"""A host project: orders of its own beside NP6's events, in one pipeline."""

import json

import dlt
from np6_source import np6_source


@dlt.source
def shop(until: int):
    @dlt.resource(primary_key="id", write_disposition="merge")
    def orders(changed=dlt.sources.incremental("changed", initial_value=0)):
        yield [{"id": n, "changed": n, "lines": [{"article": n}]} for n in range(until)]

    return orders


def counts(pipeline):
    dataset = pipeline.dataset()
    return {
        table: len(dataset(f"SELECT * FROM {table}").fetchall())
        for table in ("events", "events__hits", "orders", "orders__lines")
    }


pipeline = dlt.pipeline(
    "host", destination="duckdb", dataset_name="warehouse", pipelines_dir="pipelines"
)
seen = []
for data in (
    [np6_source(end="2024-03-01T12:00:00Z"), shop(3)],
    shop(4),
    np6_source(end="2024-03-02"),
    [shop(5), np6_source()],
):
    pipeline.run(data)
    seen.append(counts(pipeline) if len(pipeline.schema_names) == 2 else None)
ids = pipeline.dataset()("SELECT id FROM events ORDER BY id").fetchall()
print(json.dumps({"counts": seen, "ids": [row[0] for row in ids]}))
'''


def test_the_wheel_beside_an_unrelated_source(
    with_wheel: Environment, sandbox: Sandbox, tmp_path: Path
) -> None:
    installed = with_wheel.installed()
    assert "np6-source" in installed
    assert not installed & set(DEVELOPMENT_ONLY)
    with_wheel.run(tmp_path, "python", "-m", "pip", "check")
    configure(tmp_path, sandbox)
    (tmp_path / "load.py").write_text(HOST_SCRIPT)
    found = json.loads(with_wheel.run(tmp_path, "python", "load.py").splitlines()[-1])
    assert found["ids"] == EVERY_ID
    assert [
        (seen["events"], seen["orders"], seen["orders__lines"]) for seen in found["counts"]
    ] == [
        (12, 3, 3),
        (12, 4, 4),
        (24, 4, 4),
        (48, 5, 5),
    ]
    assert {request.headers["X-Key"] for request in sandbox.requests} == {sandbox.key}


def test_the_wheel_tells_what_is_missing(
    with_wheel: Environment, sandbox: Sandbox, tmp_path: Path
) -> None:
    configure(tmp_path, sandbox)
    script = (ROOT / "pipelines" / "np6_pipeline.py").read_text()
    (tmp_path / "np6_pipeline.py").write_text(script)
    assert "events: 48 rows" in with_wheel.run(tmp_path, "python", "np6_pipeline.py")
    span = ("--start", "2024-03-01", "--end", "2024-03-02T23:00:00Z")
    gaps = with_wheel.run(
        tmp_path, *("python", "-m", "np6_source", "gaps", "--pipeline", "np6_pipeline", *span)
    )
    assert "Nothing is missing." in gaps


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "dlt-init-bundle"
    command = [sys.executable, str(ROOT / ".ci" / "dlt_init_bundle.py"), str(folder)]
    subprocess.run(command, check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def without_package(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What the copied code needs, and not the package."""
    environment = Environment(tmp_path_factory.mktemp("dlt-init") / "environment")
    environment.install("-r", str(bundle / "sources" / "np6" / "requirements.txt"))
    return environment


class TestDltInit:
    """``dlt init np6 duckdb --location``: code in the host's project, for its owner to change."""

    def test_the_bundle_has_the_layout(self, bundle: Path) -> None:
        found = (file for file in (bundle / "sources").rglob("*") if file.is_file())
        files = {str(file.relative_to(bundle)) for file in found}
        assert {"sources/np6_pipeline.py", "sources/np6/requirements.txt"} <= files
        assert {"sources/np6/__init__.py", "sources/np6/__main__.py"} <= files
        assert not any("sandbox" in file for file in files)
        for file in files:
            text = (bundle / file).read_text()
            for absolute in ("from np6_source", "import np6_source."):
                assert absolute not in text, (file, absolute)

    def test_the_copied_code_loads(
        self,
        without_package: Environment,
        bundle: Path,
        sandbox: Sandbox,
        at: TAt,
        tmp_path: Path,
    ) -> None:
        assert "np6-source" not in without_package.installed()
        sandbox.now = at("03-02")
        init = ("--non-interactive", "init", "np6", "duckdb", "--location", str(bundle))
        without_package.run(tmp_path, "dlt", *init)
        assert 'api_key = "<configure me>"' in (tmp_path / ".dlt" / "secrets.toml").read_text()
        requirements = (tmp_path / "requirements.txt").read_text()
        assert "dlt[duckdb]" in requirements
        configure(tmp_path, sandbox)
        assert "events: 24 rows" in without_package.run(tmp_path, "python", "np6_pipeline.py")
        sandbox.now = at("03-03")
        without_package.run(tmp_path, "python", "np6_pipeline.py")
        assert self.ids(without_package, tmp_path) == EVERY_ID
        span = ("--start", "2024-03-01", "--end", "2024-03-02T23:00:00Z")
        gaps = ("gaps", "--pipeline", "np6_pipeline", *span)
        assert "Nothing is missing." in without_package.run(tmp_path, "python", "-m", "np6", *gaps)

    def test_it_can_be_changed(
        self, without_package: Environment, bundle: Path, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        init = ("--non-interactive", "init", "np6", "duckdb", "--location", str(bundle))
        without_package.run(tmp_path, "dlt", *init)
        configure(tmp_path, sandbox)
        schema = tmp_path / "np6" / "schema.py"
        text = schema.read_text()
        assert text.count('"agency"') >= 1
        schema.write_text(text.replace('"agency",', '"np6_agency",', 1))
        without_package.run(tmp_path, "python", "np6_pipeline.py")
        assert self.ids(without_package, tmp_path, "np6_agency = 'DEMO'") == EVERY_ID

    def test_a_key_that_was_not_filled_in_is_named(
        self, without_package: Environment, bundle: Path, tmp_path: Path
    ) -> None:
        init = ("--non-interactive", "init", "np6", "duckdb", "--location", str(bundle))
        without_package.run(tmp_path, "dlt", *init)
        with pytest.raises(AssertionError, match="api_key"):
            without_package.run(tmp_path, "python", "np6_pipeline.py")

    def ids(self, environment: Environment, project: Path, where: str = "true") -> Any:
        """Ids in the project's DuckDB file, read in the project's environment."""
        code = (
            "import duckdb, json; rows = duckdb.connect('np6_pipeline.duckdb').execute("
            f'"SELECT id FROM np6.events WHERE {where} ORDER BY id").fetchall();'
            " print(json.dumps([row[0] for row in rows]))"
        )
        return json.loads(environment.run(project, "python", "-c", code))
