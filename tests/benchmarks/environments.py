"""A virtual environment for each way, made when it is first needed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from catalogue import Way

LONGEST_REASON = 160


class Unavailable(Exception):
    """A way cannot be run; the message says why."""


def interpreter(way: Way, folder: Path) -> Path:
    """Python of a way's environment, which is made if need be.

    Args:
        way: The way.
        folder: Where environments are kept.

    Raises:
        Unavailable: Its packages cannot be installed.
    """
    if way.packages is None:
        return Path(sys.executable)
    place = folder.resolve() / way.name
    wanted = "\n".join(way.packages)
    ready = place / "installed.txt"
    python = place / "bin" / "python"
    if ready.exists() and ready.read_text() == wanted:
        return python
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *way.packages])
    if way.libduckdb:
        _install_libduckdb(way.libduckdb, place)
    ready.write_text(wanted)
    return python


def source_tree(way: Way, folder: Path) -> Path | None:
    """The package of a way's commit, taken out of the project's history; None: it has none.

    Args:
        way: The way.
        folder: Where commits are kept.

    Raises:
        Unavailable: The history is not there, as in an archive of the sources.
    """
    if way.commit is None:
        return None
    place = folder.resolve() / way.commit
    if not place.exists():
        place.mkdir(parents=True)
        archive = place / "package.tar"
        try:
            _run(["git", "archive", "--output", str(archive), way.commit, "np6_source", ".dlt"])
        except Unavailable:
            shutil.rmtree(place)
            raise
        shutil.unpack_archive(archive, place)
    return place


MANIFEST = """manifest_version = 1
name = "DuckDB"
version = "{version}"

[Driver]
entrypoint = "duckdb_adbc_init"

[Driver.shared]
linux_amd64 = "{library}"
"""


def _install_libduckdb(package: str, environment: Path) -> None:
    """Takes DuckDB's library out of an npm package, and says where it is as ADBC wants it."""
    _run(["npm", "pack", "--silent", package, "--pack-destination", str(environment)])
    (archive,) = environment.glob("*.tgz")
    shutil.unpack_archive(archive, environment)
    archive.unlink()
    drivers = environment / "etc" / "adbc" / "drivers"
    drivers.mkdir(parents=True)
    library = environment / "package" / "libduckdb.so"
    version = package.rpartition("@")[2]
    (drivers / "duckdb.toml").write_text(MANIFEST.format(version=version, library=library))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not there") from None
    if done.returncode:
        raise Unavailable(reason(done.stdout + done.stderr))


def versions(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of packages in an environment."""
    code = (
        "import json, sys; from importlib.metadata import version;"
        " print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run([str(python), "-c", code, *packages], capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def reason(output: str) -> str:
    """The line of a program's output that says best why it failed, without names of places."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|failed|exception|killed", line, re.I)]
    text = (telling or lines or ["it said nothing"])[-1]
    text = re.sub(r"\w+://(github\.com|pypi\.org)/\S*", r"\1", text)
    text = re.sub(r"\w+://\S+", "(an address)", text)
    text = re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+([\w.+-]+)", r"\1", text)
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
