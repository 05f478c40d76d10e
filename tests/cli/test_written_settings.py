"""Settings that a probe writes into ``config.toml``."""

from __future__ import annotations

from pathlib import Path

import pytest

from np6_source.assumptions.facts import TResult, Verdict
from np6_source.cli.probe import settings_of
from np6_source.cli.written_settings import difference, with_settings, write
from np6_source.errors import SettingError

BEFORE = """\
# Ours.
[runtime]
log_level = "WARNING"  # quiet

[sources.np6]
# How far back.
start = "2024-01-01"
"""


def test_comments_and_order_are_kept() -> None:
    after = with_settings(BEFORE, {"widen_bounds": 60.0, "row_limit": 500})
    assert after == BEFORE + "widen_bounds = 60.0\nrow_limit = 500\n"
    changed = difference(BEFORE, after, Path("config.toml"))
    assert [line for line in changed if line[:1] == "-" and line[:3] != "---"] == []


def test_a_value_that_is_there_is_replaced() -> None:
    assert with_settings("[sources.np6]\nrow_limit = 7 # n\n", {"row_limit": 9}) == (
        "[sources.np6]\nrow_limit = 9 # n\n"
    )


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    file = tmp_path / ".dlt" / "config.toml"
    after = with_settings("", {"row_limit": 9})
    assert after == "[sources.np6]\nrow_limit = 9\n"
    assert write(file, "", after) is None
    assert file.read_text() == after
    copy = write(file, after, "")
    assert copy is not None
    assert copy.read_text() == after
    assert sorted(one.name for one in file.parent.iterdir()) == sorted((file.name, copy.name))


@pytest.mark.parametrize("text", ["[sources", "sources = 3", '[sources]\nnp6 = "x"'])
def test_what_cannot_be_written_to_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"config\.toml"):
        with_settings(text, {"row_limit": 9})


def verdict(result: TResult, name: str, value: object) -> Verdict:
    return Verdict("q", "a", result, "e", setting=(name, value))


def test_only_settings_of_what_is_contradicted_are_written() -> None:
    found = [
        verdict("contradicted", "widen_bounds", 1.0),
        verdict("contradicted", "widen_bounds", 60.0),
        verdict("confirmed", "row_limit", 3),
        Verdict("q", "a", "contradicted", "e"),
    ]
    assert settings_of(found) == {"widen_bounds": 60.0}
