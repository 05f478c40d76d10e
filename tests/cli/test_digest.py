"""``np6-source digest``: values in, digests out, and the function for a database."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import duckdb
import pytest

from np6_source.__main__ import main
from np6_source.events.digests import DIALECTS, DigestKey, pads

SECRET = "a key of the company's, 32 bytes or more"
KEY = DigestKey(SECRET)
VALUES = "Marie@Example.com\r\n+33 6 12 34 56 78\n\nC1\n"


@pytest.fixture
def digest(command_line: Any) -> Any:
    """Runs the command as a process, with values on standard input."""

    def run(
        *arguments: str, values: str | bytes = VALUES, secret: str = SECRET
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command_line.arguments("-m np6_source", "digest", *arguments),
            input=values.encode() if isinstance(values, str) else values,
            cwd=command_line.folder,
            env=command_line.environment | {"SOURCES__NP6__PII_KEY": secret},
            capture_output=True,
            timeout=60,
            check=False,
        )

    return run


def test_it_prints_the_digest_of_each_line(digest: Any) -> None:
    found = digest()

    assert found.returncode == 0
    assert found.stdout.decode().splitlines() == [
        KEY.of("marie@example.com", "address"),
        KEY.of("33612345678", "address"),
        "",
        KEY.of("c1", "address"),
    ]
    assert SECRET.encode() not in found.stdout + found.stderr


def test_ids_are_taken_as_they_are(digest: Any) -> None:
    found = json.loads(digest("--class", "contact_id", "--json", values="C1\nc1\n").stdout)

    assert found["result"] == {
        "class": "contact_id",
        "key": KEY.id,
        "digests": [KEY.exact("C1"), KEY.exact("c1")],
    }


@pytest.mark.parametrize("secret", ["", "short"])
def test_without_a_usable_key_it_says_how_to_give_one(digest: Any, secret: str) -> None:
    found = digest(secret=secret)

    assert found.returncode == 2
    assert b"SOURCES__NP6__PII_KEY" in found.stderr
    assert found.stdout == b""


def test_what_is_no_text_is_refused(digest: Any) -> None:
    found = digest(values=b"\xff\xfe")

    assert (found.returncode, found.stdout) == (2, b"")
    assert b"UTF-8" in found.stderr


@pytest.mark.parametrize("command", [("digest",), ("person", "--contact", "-")])
def test_without_a_standard_input_it_says_so(command_line: Any, command: tuple[str, ...]) -> None:
    found = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command_line.arguments("-m np6_source", *command)],
        cwd=command_line.folder,
        env=command_line.environment | {"SOURCES__NP6__PII_KEY": SECRET},
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (found.returncode, found.stdout) == (2, b"")
    assert b"tandard input is closed" in found.stderr


def test_the_sql_it_prints_makes_the_same_digests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digest", "--sql", "duckdb", "--column", "email"]) == 0

    inner, outer = pads(SECRET)
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT {capsys.readouterr().out} FROM (SELECT 'Marie@Example.com' AS email)",
            {"ipad": inner.hex(), "opad": outer.hex()},
        ).fetchall()
    assert found == [(KEY.of("marie@example.com", "address"),)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_sql_holds_no_key(
    dialect: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__NP6__PII_KEY", SECRET)

    assert main(["digest", "--sql", dialect, "--json"]) == 0

    printed = capsys.readouterr().out
    assert "ipad" in json.loads(printed)["result"]["sql"]
    assert SECRET not in printed
    assert pads(SECRET)[0].hex() not in printed
