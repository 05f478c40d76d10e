"""Writes the layout that ``dlt init`` takes: ``python .ci/dlt_init_bundle.py [FOLDER]``.

    sources/np6/…              a copy of the package
    sources/np6/requirements.txt
    sources/np6_pipeline.py

``dlt init np6 duckdb --location FOLDER`` then copies code into a project that its owner can change,
as it does for dlt's verified sources. It stands on its own: np6-source is not installed beside it.
The sandbox stays out.

The folder becomes a git repository, which ``dlt init`` asks for (dlt 1.31): it can also be pushed
as it is, and its address given as the location.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PACKAGE = "np6_source"
NAME = "np6"
LEFT_OUT = ("sandbox", "__pycache__")

_IMPORT = re.compile(rf"^(\s*)from {PACKAGE}(?:\.([\w.]+))? import ", re.MULTILINE)


def script_source(text: str) -> str:
    """A script that uses the package, as it is written beside the bundle."""
    return _IMPORT.sub(
        lambda found: f"{found[1]}from {NAME}{'.' + found[2] if found[2] else ''} import ", text
    )


def requirements() -> list[str]:
    """What the package needs, without its extras."""
    needed = [Requirement(line) for line in requires("np6-source") or ()]
    return sorted(str(need) for need in needed if need.marker is None)


def write(folder: Path) -> None:
    """Writes the bundle; what was in the folder goes.

    Args:
        folder: Where to.
    """
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "sources" / NAME
    shutil.copytree(ROOT / PACKAGE, source, ignore=shutil.ignore_patterns(*LEFT_OUT))
    lines = "".join(f"{line}\n" for line in requirements())
    (source / "requirements.txt").write_text(lines, "utf-8")
    script = script_source((ROOT / "pipelines" / f"{NAME}_pipeline.py").read_text("utf-8"))
    (folder / "sources" / f"{NAME}_pipeline.py").write_text(script, "utf-8")
    _commit(folder)


def _commit(folder: Path) -> None:
    git = ["git", "-C", str(folder)]
    author = ["-c", "user.name=np6-source", "-c", "user.email=np6-source@localhost"]
    message = f"np6-source {version('np6-source')}"
    for command in (
        [*git, "init", "--quiet", "--initial-branch", "main"],
        [*git, "add", "--all"],
        [*git, *author, "commit", "--quiet", "--no-gpg-sign", "--message", message],
    ):
        subprocess.run(command, check=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Write the layout that dlt init takes.")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build" / "dlt-init-bundle")
    folder = parser.parse_args().folder
    write(folder)
    print(f"dlt init {NAME} duckdb --location {folder}")


if __name__ == "__main__":
    main()
