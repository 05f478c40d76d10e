"""The installed package alone: a load without the repository, read by dlt and by DuckDB 1.4."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from np6_source.sandbox import Sandbox
from tests.guest.test_guest_environments import Environment, configure
from tests.support import ROOT

pytestmark = pytest.mark.environments

READ_WITH_DLT = """
import dlt
pipeline = dlt.pipeline("np6_to_duckdb", destination="duckdb", dataset_name="np6")
events = pipeline.dataset().events
print(len(events.df()), events.arrow().num_rows, events.to_ibis().count().execute())
"""

WITHOUT_PANDAS = """
import dlt, importlib.util
pipeline = dlt.pipeline("np6_to_duckdb", destination="duckdb", dataset_name="np6")
events = pipeline.dataset().events
print(events.arrow().num_rows, importlib.util.find_spec("pandas"))
try:
    events.df()
except ModuleNotFoundError as error:  # pandas, or numpy, which it brings.
    print(error.name in ("numpy", "pandas"))
"""

READ_WITH_DUCKDB = """
import duckdb
with duckdb.connect("np6_to_duckdb.duckdb", read_only=True) as connection:
    print(duckdb.__version__[:3], *connection.sql("SELECT count(*) FROM np6.events").fetchone())
    print(*connection.sql("SELECT count(*) > 0 FROM np6.action_performance").fetchone())
"""


def packages_to_read_with() -> list[str]:
    """What docs/operate.md says to install for ``.df()`` and ibis."""
    page = (ROOT / "docs" / "operate.md").read_text("utf-8")
    (command,) = re.findall(r"after `pip install\s+(.+?)` with `\.df\(\)`", page, re.DOTALL)
    return shlex.split(command)


def test_what_the_command_writes_is_read_by_dlt_ibis_and_duckdb_1_4(
    tmp_path: Path, serve: Any, event: Any, at: Any
) -> None:
    sandbox: Sandbox = serve(
        (event(n, at("03-01") + n * 3_600_000) for n in range(48)), now=at("03-03")
    )
    environment = Environment(tmp_path / "environment")
    # README's line, in a copy of this repository.
    environment.install(str(ROOT))
    project = tmp_path / "project"
    project.mkdir()
    configure(project, sandbox)
    printed = environment.run(
        project,
        *("np6-source", "load", "--progress", "none"),
        # The sandbox's clock stands at the time of its events.
        SOURCES__NP6__CLOCK_TOLERANCE="1000000000",
    )
    assert "48 new events, in np6 of np6_to_duckdb.duckdb." in printed
    read = environment.run(project, "python", "-c", WITHOUT_PANDAS)
    assert read.split() == ["48", "None", "True"]
    environment.install(*packages_to_read_with())
    read = environment.run(project, "python", "-c", READ_WITH_DLT)
    assert read.split() == ["48", "48", "48"]
    oldest = Environment(tmp_path / "oldest")
    oldest.install_without_constraints("duckdb==1.4.*")
    read = oldest.run(project, "python", "-c", READ_WITH_DUCKDB)
    assert read.split() == ["1.4", "48", "True"]
