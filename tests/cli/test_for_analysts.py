"""Views, ``messages`` as a table and the copy: by option, or configured once for a schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from np6_source.__main__ import main
from np6_source.cli.for_analysts import SETTINGS
from np6_source.sandbox import Sandbox
from tests.support import CommandLine, Warehouse, at, event

TMake = Callable[..., Any]


@pytest.fixture
def sandbox(serve: TMake) -> Sandbox:
    made: Sandbox = serve([event(n, at("03-01") + n * 1000) for n in range(9)], now=at("03-03"))
    return made


@pytest.fixture
def schedule(
    sandbox: Sandbox,
    warehouse: Warehouse,
    command_line: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., int]:
    """What a scheduler calls; returns the exit status."""
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
    monkeypatch.chdir(command_line.folder)
    where = command_line.where(warehouse)

    def call(*options: str) -> int:
        return main(
            ["load", "--start", "2024-03-01", "--resources", "actions_events", *where, *options]
        )

    return call


def relations(warehouse: Warehouse) -> set[str]:
    names = warehouse.query(
        "SELECT view_name FROM duckdb_views() WHERE schema_name = 'np6'"
        " UNION ALL SELECT table_name FROM duckdb_tables() WHERE schema_name = 'np6'"
    )
    return {name for (name,) in names} & {"messages", "messages_table"}


def configure(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"SOURCES__NP6__{name.upper()}", value)


def test_a_configured_schedule_needs_no_options(
    schedule: Callable[..., int], warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, materialize="messages", publish="analysts.duckdb")

    assert schedule() == 0

    assert relations(warehouse) == {"messages", "messages_table"}
    copy = Warehouse(warehouse.folder, database=Path("analysts.duckdb"))
    assert copy.query("SELECT count(*) FROM np6.messages") == [(9,)]


def test_a_configuration_file_says_the_same(
    command_line: CommandLine, warehouse: Warehouse, sandbox: Sandbox
) -> None:
    (command_line.folder / ".dlt").mkdir()
    (command_line.folder / ".dlt" / "config.toml").write_text(
        '[sources.np6]\nviews = "require"\nmaterialize = "messages"\npublish = "copy.duckdb"\n'
    )
    done = command_line.run(
        "np6_to_duckdb",
        *("--start", "2024-03-01", "--resources", "actions_events"),
        *command_line.where(warehouse),
        SOURCES__NP6__API_KEY=sandbox.key,
        SOURCES__NP6__BASE_URL=sandbox.url,
    )

    assert done.returncode == 0, done.stderr
    assert "read by nobody" not in done.stderr
    assert relations(warehouse) == {"messages", "messages_table"}
    assert (command_line.folder / "copy.duckdb").exists()


def test_an_option_takes_precedence(
    schedule: Callable[..., int], warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, views="off", materialize="messages", publish="analysts.duckdb")

    assert schedule("--publish", "") == 0
    assert relations(warehouse) == set()
    assert not Path("analysts.duckdb").exists()

    assert main(["views", *("--pipeline", warehouse.name), "--materialize", "nothing",
                 "--pipelines-dir", str(warehouse.pipelines_dir),
                 "--duckdb-file", str(warehouse.database)]) == 0  # fmt: skip
    assert relations(warehouse) == {"messages"}
    assert Path("analysts.duckdb").exists()


def test_executions_are_joined_by_action_and_contact_where_that_is_set(
    serve: TMake,
    schedule: Callable[..., int],
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    sent = event(99, at("03-01T12:00"))
    send = sent["source"]["detail"]["activation"]
    execution = {
        "id": send["id"],
        "kind": "message",
        "recipient": send["receiver"],
        "stamp": {"time": at("03-01T11:59"), "id": "of its own", "thread": "another"},
    }
    asked = event(98, at("03-01T11:59"), type="execution") | {
        "source": {"type": "email", "detail": {"execution": execution}}
    }
    sandbox = serve([asked, sent], now=at("03-03"))
    where = ("--pipeline", warehouse.name, "--pipelines-dir", str(warehouse.pipelines_dir),
             "--duckdb-file", str(warehouse.database))  # fmt: skip
    found = "SELECT message_id, was_executed FROM np6.messages ORDER BY ALL"
    joined = [("stamp-99", True)]

    configure(monkeypatch, api_key=sandbox.key, base_url=sandbox.url, message_key="action_contact")
    assert schedule() == 0
    assert warehouse.query(found) == joined
    capsys.readouterr()
    assert main(["views", "--print"]) == 0
    (printed,) = [
        statement
        for statement in capsys.readouterr().out.split(";\n")
        if statement.startswith('CREATE VIEW "np6"."messages" AS')
    ]
    warehouse.execute("DROP VIEW np6.messages", printed)
    assert warehouse.query(found) == joined
    warehouse.execute("DROP VIEW np6.messages")

    assert main(["views", *where, "--message-key", "stamp"]) == 0
    assert warehouse.query(found) == [("of its own", True), ("stamp-99", False)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("views", "always", "views='always' must be one of auto, require, off"),
        ("materialize", "yes", "materialize='yes' must be one of messages, nothing"),
        ("message_key", "contact", "message_key='contact' must be one of stamp, action_contact"),
        ("publish", "nowhere/file.duckdb", "the folder nowhere does not exist"),
        ("publsh", "file.duckdb", "did you mean SOURCES__NP6__PUBLISH?"),
    ],
)
def test_what_cannot_be_used_stops_before_anything_is_loaded(
    schedule: Callable[..., int],
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    name: str,
    value: str,
    message: str,
) -> None:
    configure(monkeypatch, **{name: value})

    assert schedule() == 2
    assert message in capsys.readouterr().err
    assert len(sandbox.requests) == 0


def test_the_page_lists_every_setting() -> None:
    page = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text(encoding="utf-8")
    for name in SETTINGS:
        assert f"| `{name}` |" in page
