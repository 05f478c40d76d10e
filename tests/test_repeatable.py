"""Tests give the same result at every moment: read from their code, by ``ast``.

A clock that is read when a module is imported is half an hour old when the last test runs, and may
be of another day. Chance without a seed fails once in a while, and not again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
FILES = sorted(set(FOLDER.rglob("*.py")) - set((FOLDER / "benchmarks").rglob("*.py")))
CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today"}


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What of a module runs when it is imported: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for outside in (*child.decorator_list, child.args):
                yield outside
                yield from at_import(outside)
        elif not isinstance(child, ast.Lambda):
            yield child
            yield from at_import(child)


def calls(nodes: Iterator[ast.AST]) -> Iterator[tuple[str, ast.Call]]:
    for node in nodes:
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def clocks_at_import(code: str) -> list[str]:
    return [name for name, _ in calls(at_import(ast.parse(code))) if name in CLOCKS]


def chance_without_a_seed(code: str) -> list[str]:
    """Calls of the module's own generator, and generators without a seed."""
    return [
        name
        for name, call in calls(ast.walk(ast.parse(code)))
        if (name in ("random.Random", "Random") and not call.args)
        or ("import random\n" in code and re.fullmatch(r"random\.[a-z_]+", name))
    ]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("NOW = time.time() - 5", 1),
        ("class A:\n    now: int = field(default=time.time())", 1),
        ("def f(now=datetime.now(timezone.utc)): ...", 1),
        ("def f():\n    return time.time()", 0),
        ("now = lambda: time.time()", 0),
    ],
)
def test_a_clock_that_is_read_at_import_is_found(code: str, found: int) -> None:
    assert len(clocks_at_import(code)) == found


def test_no_test_reads_a_clock_when_it_is_imported() -> None:
    for file in FILES:
        code = file.read_text("utf-8")
        if "time" in code:
            assert clocks_at_import(code) == [], file.name


def test_no_test_leaves_anything_to_chance() -> None:
    assert chance_without_a_seed("import random\nrandom.shuffle(x)\nrandom.Random()")
    for file in FILES:
        code = file.read_text("utf-8")
        if "random" in code:
            assert chance_without_a_seed(code) == [], file.name
