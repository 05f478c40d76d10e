"""A configured value that a setting does not have: every command refuses it, in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest
from dlt.common.schema.typing import TTableFormat

from np6_source import SettingError, np6_source
from np6_source.__main__ import COMMANDS, main
from np6_source.parameters import CHOICES

NEEDED: Mapping[str, tuple[str, ...]] = {
    "gaps": ("--start", "2024-03-01", "--end", "2024-03-02"),
    "ids": ("--target-ids", "CON1"),
    "person": ("--contact", "CON1"),
    "erase": ("--contact", "CON1"),
}
SAID = {
    "on_error": ("keeep", "on_error='keeep' must be one of raise, keep (did you mean keep?)"),
    "bad_events": ("refused", "bad_events='refused' must be one of refuse, keep (did you mean"),
    "timestamp_format": ("isoo", "timestamp_format='isoo' must be one of iso, ms (did you mean"),
    "table_format": ("detla", "table_format='detla' must be one of delta, iceberg, hive, native ("),
    "pii": (
        "strikt",
        "pii='strikt' must be one of keep, pseudonyms, strict (did you mean strict?)",
    ),
    "views": ("of", "views='of' must be one of auto, require, off (did you mean off?)"),
    "materialize": ("message", "materialize='message' must be one of messages, nothing (did you"),
}


@pytest.fixture(autouse=True)
def a_folder_and_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCES__NP6__API_KEY", "a-key-of-nobody")
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", "http://127.0.0.1:9/")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_it(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCES__NP6__ON_ERROR", "keeep")
    # What check finds is its result: it has a status of its own.
    assert main([command, *NEEDED.get(command, ())]) == (1 if command == "check" else 2)
    said = capsys.readouterr()
    assert SAID["on_error"][1] in (said.out if command == "check" else said.err)
    assert list(Path().glob("*.duckdb")) == []


@pytest.mark.parametrize("name", SAID)
def test_every_setting_that_has_a_few_values_is_looked_at(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    value, said = SAID[name]
    monkeypatch.setenv(f"SOURCES__NP6__{name.upper()}", value)
    assert main(["status"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(said)
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("name", CHOICES)
def test_the_source_refuses_it_in_code_as_well(name: str) -> None:
    value, said = SAID[name]
    with pytest.raises(SettingError) as refused:
        np6_source("a-key-of-nobody", **{name: value})
    assert str(refused.value).startswith(said)


def test_the_table_formats_are_dlt_s() -> None:
    assert set(CHOICES["table_format"]) == set(get_args(TTableFormat))


def test_a_class_of_robots_is_refused_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["robots", "--classes", "mmp"]) == 2
    said = "--classes='mmp' must be one of mpp, gsr, genericrobot (did you mean mpp?)"
    assert capsys.readouterr().err == f"{said}\n"
