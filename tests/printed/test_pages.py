"""Every page is tested, and every exception is about a block that is printed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.printed.project import ROOT, runnable

MODULES = sorted(
    f"tests.printed.{file.stem}"
    for file in Path(__file__).parent.glob("test_*.py")
    if file.stem != Path(__file__).stem
)


def test_every_page_with_something_to_run_has_a_module() -> None:
    tested = {importlib.import_module(name).PAGE for name in MODULES}
    pages = ["README.md", *(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))]
    assert {page for page in pages if runnable(page)} <= tested


@pytest.mark.parametrize("index", ["README.md", "llms.txt"])
def test_every_page_is_named_where_readers_look_for_it(index: str) -> None:
    text = (ROOT / index).read_text("utf-8")
    pages = {f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if f"({page})" not in text} == set()


def test_every_exception_is_about_a_printed_block() -> None:
    for name in MODULES:
        module = importlib.import_module(name)
        printed = {block.first_line for block in runnable(module.PAGE)}
        assert set(module.NOT_RUN) <= printed, module.PAGE
