"""A reader's machine: a clean copy of the repository, a new home, nothing but a key and a URL.

The blocks of a page are found by Sybil and run in the order in which they are printed, in one
copy. What a reader fills in (the key, dates, a folder) is replaced as the page's test says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import tomlkit
from sybil import Document, Sybil
from sybil.parsers.markdown import CodeBlockParser

from np6_source.sandbox import Sandbox, generated_account
from tests.support import ROOT

PATIENCE = 450
"""Seconds that a block may take on a busy machine, with what is around it."""

LANGUAGES = ("sh", "python", "sql", "toml", "text", "cron", "yaml", "ini", "console", "mermaid")
PLACEHOLDER = "SOURCES__NP6__API_KEY=..."
TIMES_AND_COUNTS = re.compile(r"\d{4}-\d\d-\d\d(?:T[\d:]+Z)?|\d[\d,.]*")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The page, relative to the repository.
        line: Where it begins.
        language: What the fence says.
        text: Its content.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def first_line(self) -> str:
        """Names the block in a page's test."""
        return self.text.strip().splitlines()[0].strip()

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.first_line[:40]}"


RUNNABLE = ("sh", "python", "sql", "toml")


def runnable(page: str) -> list[Block]:
    """The blocks that a reader would run or copy; the others are outputs and pictures."""
    return [block for block in blocks(page) if block.language in RUNNABLE]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order.

    Raises:
        AssertionError: A fence has a language that no test knows.
    """
    path = ROOT / page
    fences = re.findall(r"^```(\w*)$", path.read_text("utf-8"), re.MULTILINE)
    unknown = {language for language in fences if language} - set(LANGUAGES)
    assert not unknown, f"{page}: no test knows blocks of {unknown}"
    found: list[Block] = []

    def keep(language: str) -> CodeBlockParser:
        return CodeBlockParser(language, evaluator=lambda example: None)

    document: Document = Sybil([keep(language) for language in LANGUAGES]).parse(path)
    for example in document.examples():
        language = str(example.region.lexemes["arguments"])
        found.append(Block(page, example.line, language, str(example.parsed)))
    return found


class Project:
    """A copy of the repository on a reader's machine.

    Attributes:
        folder: The copy.
        sandbox: The account that the reader's key opens.
        fill_in: What the reader writes in place of a printed text.
    """

    def __init__(self, folder: Path, sandbox: Sandbox, fill_in: Mapping[str, str]) -> None:
        self.folder = folder / "np6_source"
        self.sandbox = sandbox
        self.fill_in = {PLACEHOLDER: f"SOURCES__NP6__API_KEY={sandbox.key}", **fill_in}
        _copy_repository(self.folder)
        _link_environment(self.folder / ".venv")
        home = folder / "home"
        home.mkdir()
        self.environment = {
            "PATH": f"{self.folder / '.venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            # For root, dlt's working folder is not below HOME (dlt 1.31).
            "DLT_DATA_DIR": str(home / ".dlt"),
            "LANG": "C.UTF-8",
            "SOURCES__NP6__API_KEY": sandbox.key,
            "SOURCES__NP6__BASE_URL": sandbox.url,
        }

    def run(self, block: Block) -> str:
        """Runs a block as its language says; returns what it prints.

        Raises:
            AssertionError: It fails.
        """
        text = block.text
        assert "pip install" not in text, "it would change the environment of the tests"
        for printed, written in self.fill_in.items():
            text = text.replace(printed, written)
        if block.language == "sql":
            return self.query(text)
        if block.language == "toml":
            return self.configure(text)
        if block.language == "python":
            return self.command([sys.executable, "-"], text)
        return self.command(["bash", "-euo", "pipefail", "-s"], text)

    def command(self, command: list[str], text: str) -> str:
        """Runs a command with a text on standard input."""
        if command[0] == sys.executable:
            command = [str(self.folder / ".venv" / "bin" / "python"), *command[1:]]
        done = subprocess.run(
            command,
            input=text,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def query(self, text: str) -> str:
        """Runs the statements on the file that the script made."""
        with duckdb.connect(str(self.folder / "np6_to_duckdb.duckdb")) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            rows = [
                connection.execute(statement.query).fetchall()
                for statement in connection.extract_statements(text)
            ]
        assert rows, "no statement"
        assert any(rows[-1:]), f"no row comes of it:\n{text}"
        return "\n".join(map(str, rows[-1]))

    def configure(self, text: str) -> str:
        """Writes a piece of configuration to the file that its first line names."""
        named = re.match(r"# (\.dlt/(?:config|secrets)\.toml)", text)
        assert named, f"the first line does not name the file:\n{text}"
        file = self.folder / named[1]
        before = tomlkit.parse(file.read_text("utf-8") if file.exists() else "")
        _merge(before, tomlkit.parse(text))
        file.write_text(tomlkit.dumps(before), "utf-8")
        return ""


def normalized(output: str) -> list[str]:
    """A printed output without times, counts, column widths and empty lines."""
    lines = [TIMES_AND_COUNTS.sub("0", line) for line in output.splitlines()]
    lines = [re.sub(r"[━─═│┃┏┓┗┛┡┩╇┳┻├┤┼┬┴└┘┌┐\s]+", " ", line).strip() for line in lines]
    return [line for line in lines if line]


@contextmanager
def project(
    folder: Path, fill_in: Mapping[str, str] | None = None, **account: Any
) -> Iterator[Project]:
    """A reader's machine beside an account of the last weeks."""
    end = datetime.now(timezone.utc).replace(microsecond=0)
    made_up = {"events": 3_000, "seed": 6, "start": end - timedelta(weeks=4), "end": end, **account}
    with Sandbox(generated_account(**made_up)) as sandbox:
        yield Project(folder, sandbox, fill_in or {})


def _merge(table: Any, added: Any) -> None:
    for name, value in added.items():
        if isinstance(value, dict) and name in table:
            _merge(table[name], value)
        else:
            table[name] = value


def _copy_repository(target: Path) -> None:
    """Copies what git knows and what it would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if not (ROOT / name).is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


def _link_environment(target: Path) -> None:
    """The environment that ``make install`` makes, as it would be found in the copy."""
    target.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith("."):
            (target / entry.name).symlink_to(entry)
    for marker in (".ready", ".installed"):
        (target / marker).touch()
    assert os.access(target / "bin" / "python", os.X_OK)
