"""The walls of the package: who may know what. Read from the imports, by ``ast``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "np6_source"
FILES = sorted(PACKAGE.rglob("*.py"))

FACTS = {
    *("schema", "windows", "errors", "endpoints", "dimensions", "destinations"),
    *("parameters", "settings"),
}
"""Modules at the top that only state facts: every folder may know them."""

MAY_KNOW_DLT = {
    *("source", "__main__", "cli", "tables", "extract", "views", "dlt_internals"),
    *("loading", "parts", "orchestration", "status", "recheck", "reconcile", "ledger", "robots"),
    *("runs", "bookkeeping", "upkeep", "persons", "masking"),
    *("destinations", "dataset_lock", "lake", "open_tables", "duck", "indexes"),
}
"""Folders and modules that may import dlt."""

FOLDERS: dict[str, set[str]] = {
    "events": {"schema", "windows"},
    "api": {*FACTS, "dlt_internals", "redaction"} - {"schema", "destinations"},
    "tables": {*FACTS, "dlt_internals", "redaction", "lake", "open_tables", "dataset_lock"},
    "open_tables": {
        *("destinations", "schema", "errors", "dataset_lock", "dlt_internals", "temporary_folder"),
    },
    "bookkeeping": {*FACTS, "dlt_internals", "dataset_lock", "events", "open_tables", "tables"},
    "extract": {
        *(*FACTS, "dlt_internals", "api", "events", "tables", "ledger", "lake"),
        *("open_tables", "dataset_lock", "bookkeeping", "runs"),
    },
    "runs": {*FACTS, "dlt_internals", "dataset_lock", "bookkeeping", "lake", "temporary_folder"},
    "upkeep": {
        *(*FACTS, "dlt_internals", "dataset_lock", "bookkeeping", "extract", "ledger"),
        *("open_tables", "persons", "robots", "runs", "tables", "temporary_folder", "views"),
    },
    "masking": {
        *(*FACTS, "dlt_internals", "bookkeeping", "events", "extract", "ledger", "persons"),
        "views",
    },
    "persons": {
        *(*FACTS, "dlt_internals", "dataset_lock", "bookkeeping", "events", "extract", "ledger"),
        *("open_tables", "tables", "views"),
    },
    "views": {*FACTS, "deduplication", "dlt_internals"},
    "volume": {"windows"},
    "assumptions": {"api", "windows", "endpoints"},
    "sandbox": {"endpoints", "dimensions"},
}
"""Which other parts of the package a folder may import. ``cli`` may import any but ``sandbox``."""

FOREIGN = {
    "events": {"dlt", "requests", "tenacity", "filelock", "pendulum"},
    "api": {"dlt", "duckdb", "pyarrow"},
    "views": {"duckdb", "pyarrow", "requests"},
    "assumptions": {"dlt", "duckdb", "pyarrow", "requests", "tenacity"},
    "volume": {"dlt", "duckdb", "pyarrow", "requests", "tenacity"},
    "sandbox": {"dlt", "requests", "tenacity"},
    "open_tables.merge": {"dlt", "requests"},
    "open_tables.iceberg": {"dlt", "requests"},
    "open_tables.rewrite": {"dlt", "duckdb", "pyarrow", "requests"},
    "open_tables.compaction": {"dlt", "duckdb", "pyarrow", "requests"},
    "open_tables.maintenance": {"dlt", "duckdb", "requests"},
}
"""Packages that a folder or a module may not import."""


@cache
def imports_of(file: Path) -> tuple[tuple[str, bool], ...]:
    """What a module imports: the name from the package's root, and whether it is in the package."""
    return tuple(found_imports(file))


def found_imports(file: Path) -> Iterator[tuple[str, bool]]:
    folders = file.relative_to(PACKAGE).parts[:-1]
    tree = ast.parse(file.read_text("utf-8"))
    for block in [node for node in tree.body if isinstance(node, ast.If)]:
        if ast.unparse(block.test) == "TYPE_CHECKING":
            tree.body.remove(block)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for entry in node.names:
                yield entry.name.split(".")[0], False
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".") if node.module else []
            if node.level:
                module = [*folders[: len(folders) - node.level + 1], *module]
                names = [] if module and node.module else [entry.name for entry in node.names]
                for name in names or [None]:
                    yield ".".join([*module, *([name] if name else [])]), True
            elif module[0] == "np6_source":
                yield ".".join(module[1:]) or "__init__", True
            else:
                yield module[0], False


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts)


def part(name: str) -> str:
    """The folder or module at the top that a name belongs to."""
    first = name.split(".")[0]
    is_there = (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").exists()
    return first if is_there else "__init__"


def breaches() -> Iterator[tuple[str, str]]:
    for file in FILES:
        name = module_name(file)
        own = part(name)
        for imported, is_inside in imports_of(file):
            if is_inside:
                other = part(imported)
                allowed = FOLDERS.get(own)
                is_allowed = other == own or allowed is None or other in allowed
                if other == "sandbox" and own not in ("sandbox", "cli"):
                    is_allowed = False
                if other == "cli" and own not in ("cli", "__main__"):
                    is_allowed = False
            else:
                is_allowed = imported not in FOREIGN.get(own, set()) | FOREIGN.get(name, set())
                if imported == "dlt" and own not in MAY_KNOW_DLT:
                    is_allowed = False
            if not is_allowed:
                yield name, imported


def test_every_import_keeps_the_walls() -> None:
    assert set(breaches()) == set()


def test_no_module_imports_itself_through_others() -> None:
    inside = {
        module_name(file): {name for name, is_inside in imports_of(file) if is_inside}
        for file in FILES
    }

    TopologicalSorter(inside).prepare()  # Raises an error with the circle, if there is one.


def test_no_folder_imports_itself_through_others() -> None:
    inside: dict[str, set[str]] = {}
    for file in FILES:
        own = part(module_name(file))
        names = (part(name) for name, is_inside in imports_of(file) if is_inside)
        # The names of ``__init__`` are imported when they are used.
        inside.setdefault(own, set()).update({*names} - {own, "__init__"})

    TopologicalSorter(inside).prepare()  # As above.


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_every_folder_of_the_rules_is_there(folder: str) -> None:
    assert (PACKAGE / folder / "__init__.py").exists()


def test_the_map_has_every_folder_and_every_module_at_the_top() -> None:
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([\w.]+/?)`", row)}

    there = {file.name for file in PACKAGE.glob("*.py")}
    there |= {f"{file.parent.name}/" for file in PACKAGE.glob("*/__init__.py")}
    assert named - {"np6_source_plugin.py"} == there


def test_every_module_that_the_page_names_is_there() -> None:
    root = PACKAGE.parent
    page = (root / "CONTRIBUTING.md").read_text("utf-8")
    missing = {
        name for name in re.findall(r"`([\w/]+\.py)`", page) if not [*root.glob(f"**/{name}")]
    }
    for row in [line.split("|") for line in page.splitlines() if line.startswith("| `")]:
        folders = [PACKAGE / name for name in re.findall(r"`(\w+/)`", row[1])]
        for name in re.findall(r"`(\w+)`", row[2]):
            if not any((folder / f"{name}.py").exists() for folder in folders):
                missing.add(f"{row[1].strip()}: {name}")

    assert missing == set()


def test_the_map_says_which_folders_a_folder_or_module_knows() -> None:
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    above: set[str] = set()
    for row in [line.split("|") for line in page.splitlines() if line.startswith("| `")]:
        own = {name.strip("/").removesuffix(".py") for name in re.findall(r"`([\w.]+/?)`", row[1])}
        known = set(re.findall(r"`(\w+)/", row[3])) | (
            above if "all of the above" in row[3] else set()
        )
        imported = {
            part(name)
            for file in FILES
            if part(module_name(file)) in own
            for name, is_inside in imports_of(file)
            if is_inside
        }
        folders = {name for name in imported if (PACKAGE / name).is_dir()} - own - {"dlt_internals"}
        if "everything" not in row[3]:
            assert folders <= known, row[1]
        above |= own


KNOWS_DLTS_INSIDE = {"dlt_internals", "open_tables", "duck"}
"""What is reviewed when dlt is upgraded."""

OF_DLT = {
    "dlt",
    *("dlt.destinations", "dlt.destinations.exceptions", "dlt.pipeline.exceptions", "dlt.extract"),
    *("dlt.destinations.sql_client", "dlt.destinations.job_client_impl"),
    "dlt.destinations.impl.filesystem.filesystem",
    "dlt.destinations.impl.duckdb.configuration",
    *("dlt.common.pipeline", "dlt.common.schema", "dlt.common.schema.typing"),
    *("dlt.common.exceptions", "dlt.common.configuration", "dlt.common.configuration.exceptions"),
    *("dlt.common.destination", "dlt.common.destination.client"),
    *("dlt.common.destination.reference", "dlt.common.destination.exceptions"),
    "dlt.common.runtime.slack",
}
"""Modules of dlt that every module may import: configuration, errors, clients, types."""


def uses_of_dlts_inside() -> Iterator[tuple[str, str]]:
    for file in FILES:
        name = module_name(file)
        if part(name) in KNOWS_DLTS_INSIDE:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) and not node.level else None
            if module and module.split(".")[0] == "dlt" and module not in OF_DLT:
                yield name, module
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("pipeline", "resource", "source", "destination")
                and node.attr.startswith("_")
                and not node.attr.startswith("__")
            ):
                yield name, f"{node.value.id}.{node.attr}"


def test_what_dlt_does_not_promise_is_used_in_one_folder() -> None:
    assert set(uses_of_dlts_inside()) == set()
