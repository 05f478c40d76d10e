"""What the documentation says is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from np6_source.__main__ import COMMANDS
from np6_source.cli.documentation import BLOCKS, refreshed
from np6_source.schema import TABLES

ROOT = Path(__file__).parents[2]


PAGES = (
    "README.md",
    "llms.txt",
    *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
)


@pytest.mark.parametrize("name", PAGES)
def test_derived_parts_are_up_to_date(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert refreshed(text) == text, "run `make docs`"


def test_every_derived_part_is_shown_somewhere() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in PAGES]
    shown = {name for text in texts for name in re.findall(r"<!-- begin (\w+) -->", text)}
    assert shown == set(BLOCKS)


def test_the_data_dictionary_has_every_column() -> None:
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    for table in TABLES:
        section = text.split(f"## `{table.name}`", 1)[1].split("\n## ", 1)[0]
        for column in table.columns:
            assert f"| `{column.name}` |" in section


def test_every_make_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in (*PAGES, "CONTRIBUTING.md")]
    named = {name for text in texts for name in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)}
    assert named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_every_command_is_shown_in_a_page() -> None:
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in PAGES)
    shown = re.findall(r"(?:np6-source|python -m np6_source) ([a-z]+)", text)
    assert COMMANDS.keys() <= set(shown)


def test_every_file_that_a_page_names_exists() -> None:
    """Modules of the package, tests and pipelines, as paths from the root."""
    for name in (*PAGES, "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for path in re.findall(r"\b(?:np6_source|tests|pipelines)/[\w/]+\.\w+", text):
            assert (ROOT / path).exists(), f"{name} names {path}"


def test_every_local_link_of_the_documentation_leads_somewhere() -> None:
    for name in (*PAGES, "CHANGELOG.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}"
