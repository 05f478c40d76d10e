"""``np6-source ids``: a digest back to the id that the user gave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from np6_source.__main__ import main
from np6_source.endpoints import scope_label

ADDRESS = "person1@example.com"
DIGEST = scope_label(ADDRESS, is_personal=True)


@pytest.fixture
def ids(tmp_path: Path) -> str:
    file = tmp_path / "ids.txt"
    file.write_text(f"other@example.com\n\n{ADDRESS}\n")
    return f"@{file}"


@pytest.mark.parametrize("digest", [DIGEST, DIGEST.removeprefix("sha256:"), f"{DIGEST},"])
def test_a_digest_as_it_was_shown_gives_the_id(
    ids: str, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ids", "--target-unicities", ids, "--json", "--digest", digest]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == {
        "ids": {DIGEST: {"id": ADDRESS, "number": 2}}
    }


def test_a_digest_of_no_id_is_said(ids: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ids", "--target-unicities", ids, "--digest", "sha256:0123"]) == 1
    assert capsys.readouterr().out == "sha256:0123: none of the given ids.\n"


def test_it_asks_for_the_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ids"]) == 2
    assert "--target-unicities or --target-hashes" in capsys.readouterr().err
    assert main(["ids", "--digest", DIGEST]) == 2
    said = capsys.readouterr().err
    assert "Give the ids to look among, those that your loads take: --target-unicities" in said


def test_with_a_key_digests_of_before_are_found_as_well(
    ids: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = "hmac:" + 64 * "0"
    assert main(["ids", "--target-unicities", ids, "--digest", keyed]) == 2
    assert "configure pii_key here as for the load" in capsys.readouterr().err
    monkeypatch.setenv("SOURCES__NP6__PII_KEY", "a secret of this test, long enough for it")
    assert main(["ids", "--target-unicities", ids, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["result"]["ids"]
    assert [one["id"] for one in listed.values()].count(ADDRESS) == 2
    assert DIGEST in listed
    (own,) = (d for d, one in listed.items() if one["id"] == ADDRESS and d != DIGEST)
    assert main(["ids", "--target-unicities", ids, "--digest", own, DIGEST]) == 0
