"""A misspelt name in dlt's configuration: ``np6_source()`` refuses it as the commands do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import dlt
import pytest
from dlt.common.runtime.run_context import switch_context

from np6_source import SettingError, np6_source
from np6_source.cli.for_analysts import SETTINGS
from np6_source.extract.configured_names import OF_COMMANDS

KEY = "a-key-of-nobody"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A dlt project without configuration, for as long as the test runs."""
    before = dlt.current.run_context().run_dir
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dlt").mkdir()
    yield tmp_path
    switch_context(before)


def configure(project: Path, **files: str) -> None:
    for name, text in files.items():
        (project / ".dlt" / f"{name}.toml").write_text(text, "utf-8")
    switch_context(str(project))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SOURCES__NP6__STRAT", "did you mean SOURCES__NP6__START?"),
        ("SOURCES__NP6__NP6__STRAT", "did you mean SOURCES__NP6__NP6__START?"),
        ("SOURCES__NP6__PI__ADDRESS", "did you mean SOURCES__NP6__PII?"),
        ("SOURCES__NP6__LOCK_WIAT", "did you mean SOURCES__NP6__LOCK_WAIT?"),
        ("SOURCE__NP6__START", "did you mean SOURCES__NP6__START?"),
    ],
)
def test_in_the_environment(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2024-01-01")
    with pytest.raises(SettingError) as refused:
        np6_source(KEY)
    assert str(refused.value).endswith(f"is read by nobody: {said}")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"config": '[sources.np6]\nstrat = "2024-01-01"\n'},
            "strat in [sources.np6] of config.toml is read by nobody: did you mean start?",
        ),
        (
            {"secrets": '[sources.np6]\npii_kee = "a secret"\n'},
            "pii_kee in [sources.np6] of secrets.toml is read by nobody: did you mean pii_key?",
        ),
        (
            {"config": '[sources.np6.pi]\naddress = "hmac"\n'},
            "pi in [sources.np6] of config.toml is read by nobody: did you mean pii?",
        ),
        (
            {"config": '[source.np6]\nstart = "2024-01-01"\n'},
            "start in [source.np6] of config.toml is read by nobody: did you mean [sources.np6]?",
        ),
    ],
)
def test_a_wrong_name_in_a_file_is_refused(files: dict[str, str], said: str, project: Path) -> None:
    configure(project, **files)
    with pytest.raises(SettingError) as refused:
        np6_source(KEY)
    assert str(refused.value) == said


def test_of_a_clone_in_a_section_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = np6_source.clone(name="np6_shop", section="np6_shop")
    monkeypatch.setenv("SOURCES__NP6_SHOP__STRAT", "2024-01-01")
    np6_source(KEY)
    with pytest.raises(SettingError, match="did you mean SOURCES__NP6_SHOP__START"):
        shop(KEY)


def test_of_a_clone_in_the_same_section(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = np6_source.clone(name="shop")
    monkeypatch.setenv("SOURCES__NP6__SHOP__START", "2024-01-01")
    np6_source(KEY)
    shop(KEY)
    monkeypatch.setenv("SOURCES__NP6__SHOP__STRAT", "2024-01-01")
    with pytest.raises(SettingError, match="did you mean SOURCES__NP6__SHOP__START"):
        shop(KEY)


def test_in_the_sections_of_the_pipeline_that_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dlt reads them before the source's own (dlt 1.31), and no other pipeline's."""
    configure(project, config='[weekly.sources.np6]\nstrat = "2024-01-01"\n')
    monkeypatch.setenv("NIGHTLY__SOURCES__NP6__STRAT", "2024-01-01")
    dlt.pipeline("hourly", pipelines_dir=str(project))
    np6_source(KEY)
    dlt.pipeline("weekly", pipelines_dir=str(project))
    with pytest.raises(SettingError) as refused:
        np6_source(KEY)
    assert str(refused.value).startswith("strat in [weekly.sources.np6] of config.toml")
    dlt.pipeline("nightly", pipelines_dir=str(project))
    with pytest.raises(SettingError, match="did you mean NIGHTLY__SOURCES__NP6__START"):
        np6_source(KEY)


def test_what_dlt_and_hosts_have_there_is_none(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """dlt reads its own settings in the section of a source first (dlt 1.31)."""
    configure(
        project,
        config="""
[sources.np6]
max_table_nesting = 2
schema_contract = "evolve"
views = "off"
file_wait = 5
[sources.np6.extract]
workers = 3
[sources.np6.data_writer]
file_max_items = 1000
[sources.np6.schema]
naming = "snake_case"
[sources.np6.runtime]
request_timeout = 5
[sources.np6.actions_events]
anything = 1
[sources.np6.privacy]
purpose = "newsletter"
[sources.np6.another_clone]
start = "2024-01-01"
""",
    )
    with caplog.at_level(logging.WARNING, "np6_source"):
        np6_source(KEY)
    assert caplog.messages == []


def test_one_that_resembles_no_parameter_is_warned_of(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configure(project, config='[sources.np6]\nhobby = "x"\n')
    with caplog.at_level(logging.WARNING, "np6_source"):
        source = np6_source(KEY)
    assert caplog.messages == [
        "hobby in [sources.np6] of config.toml is read by nobody: np6_source has no parameter hobby"
    ]
    assert isinstance(source, dlt.sources.DltSource)


def test_the_settings_of_the_commands_are_known() -> None:
    assert set(OF_COMMANDS) == set(SETTINGS)
