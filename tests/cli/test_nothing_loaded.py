"""Commands that are about what is loaded, where nothing ever was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlt
import pytest

from np6_source.__main__ import main

SPAN = ("--start", "2024-03-01", "--end", "2024-03-02")


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the commands need is configured; nobody answers at that address."""
    monkeypatch.setenv("SOURCES__NP6__API_KEY", "key")
    monkeypatch.setenv("SOURCES__NP6__PII_KEY", "k" * 32)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", "http://127.0.0.1:9/")


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("gaps", *SPAN),
        ("gaps", *SPAN, "--fill"),
        ("recheck",),
        ("reconcile",),
        ("views",),
        ("robots",),
        ("person", "--contact", "000AA1"),
        ("erase", "--contact", "000AA1", "--yes"),
        ("retain", "--retention", "3 months"),
    ],
    ids=" ".join,
)
def test_a_file_that_is_not_there_is_status_4_and_is_not_made(
    command: tuple[str, ...], tmp_path: Path, capfd: Any
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    file = folder / "typo.duckdb"
    where = ("--duckdb-file", str(file), "--pipelines-dir", str(tmp_path / "dlt"))
    assert main([*command, *where]) == 4
    assert capfd.readouterr().err == f"Nothing is loaded here: there is no file {file}.\n"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("gaps", *SPAN),
        ("recheck",),
        ("reconcile",),
        ("views",),
        ("views", "--drop"),
        ("robots",),
        ("person", "--contact", "000AA1"),
        ("retain", "--retention", "3 months"),
    ],
    ids=" ".join,
)
def test_a_dataset_into_which_no_load_was_completed_is_status_4(
    command: tuple[str, ...], tmp_path: Path, capfd: Any
) -> None:
    """It is there, with dlt's tables: a load of something else, or one that failed, has made it."""
    file = tmp_path / "typo.duckdb"
    begun = dlt.pipeline(
        "begun",
        destination=dlt.destinations.duckdb(str(file)),
        dataset_name="np6",
        pipelines_dir=str(tmp_path / "begun"),
    )
    begun.run([{"hobby": 1}], table_name="hobbies")
    where = ("--duckdb-file", str(file), "--pipelines-dir", str(tmp_path / "dlt"))
    assert main([*command, *where]) == 4
    assert capfd.readouterr().err.startswith("Nothing is loaded here: ")
