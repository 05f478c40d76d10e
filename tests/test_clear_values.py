"""Under a policy no clear value is anywhere: in no file, table, log line or printed message."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.support import at, event

SECRET = "a key of the company's, 32 bytes or more"
ADDRESS, OTHER = "marie.curie@lab.example", "pierre.curie@lab.example"
ID, UNKNOWN_ID = "PERSONMARIE77", "PERSONUNKNOWN99"
HASH = hashlib.md5(ADDRESS.encode(), usedforsecurity=False).hexdigest()
IP, AGENT, WORDS = "203.0.113.77", "MariesTelephone/7.77", "Chere Madame Curie"
PHONE = "+33612345678"
CLEAR = (ADDRESS, OTHER, ID, UNKNOWN_ID, HASH, IP, AGENT, WORDS, PHONE)
RESOURCES = ("actions_events", "target_events", "targets_events_hits_by_unicity")
CODED = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")


def persons() -> list[Any]:
    """Events with persons where nobody looks: as keys, in paths, arrays, labels, unknown fields."""
    person = {"type": "footprint", "id": ID, "unicity": ADDRESS, "hash": HASH}
    found = []
    for number in range(4):
        one = event(number, at("03-01T12:00") + number)
        activation = one["source"]["detail"]["activation"]
        activation.update(receiver=person, recipient=ADDRESS)
        found.append(one)
    found[1]["type"] = "hit"
    found[1]["source"]["detail"] |= {
        "link": {
            "type": "redirection",
            "label": WORDS,
            "destination": f"https://shop.example/{quote(ADDRESS)}/{HASH}?to={ADDRESS}",
        },
        "client": {"type": "web", "ip": {"value": IP}, "ua": {"ua": AGENT}},
    }
    found[2] |= {OTHER: 1, PHONE: {"nested": WORDS}, "friends": [OTHER, {ADDRESS: ID}]}
    found[2]["source"]["detail"][HASH] = IP
    found[3]["type"] = "execution"
    found[3]["source"]["detail"] = {
        "execution": {
            "id": "000AA1",
            "recipient": person,
            "data": {ADDRESS: OTHER, PHONE: [WORDS], "first_name": WORDS},
        }
    }
    return found


def forms(value: str) -> Iterator[bytes]:
    """A value as it may be written; an address also by digests that anybody can make."""
    lower = value.lower()
    yield from (lower.encode(), quote(lower, safe="").lower().encode(), lower.encode("utf-16-le"))
    if "@" in value or value == HASH:
        for name in ("md5", "sha1", "sha256"):
            yield hashlib.new(name, value.encode(), usedforsecurity=False).hexdigest()[:16].encode()


def layers(content: bytes, depth: int = 2) -> Iterator[bytes]:
    """Content, and what is inside of it in base64 and zlib."""
    yield content
    if not depth:
        return
    for match in CODED.finditer(content):
        for start in range(4):
            text = match.group()[start:].rstrip(b"=")
            decoded = base64.b64decode(text[: len(text) // 4 * 4])
            yield decoded
            if decoded[:1] == b"\x78":
                try:
                    yield from layers(zlib.decompressobj().decompress(decoded), depth - 1)
                except zlib.error:
                    continue


def contents(folder: Path, database: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that a run has left: files, decoded ones as well, their names, every table."""
    for file in (path for path in folder.rglob("*") if path.is_file()):
        yield f"{file} (name)", file.name.encode()
        yield str(file), file.read_bytes()
        if file.suffix == ".parquet":
            yield str(file), str(pq.read_table(file).to_pylist()).encode()
    with duckdb.connect(str(database)) as connection:
        tables = connection.execute("SELECT schema_name, table_name FROM duckdb_tables()")
        for schema, table in tables.fetchall():
            rows = connection.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall()
            yield f"{schema}.{table}", str(rows).encode()


def places(found: Iterator[tuple[str, bytes]]) -> set[tuple[str, str]]:
    """Where clear values are."""
    wanted = [(value, form) for value in CLEAR for form in forms(value)]
    return {
        (where, value)
        for where, content in found
        for layer in layers(content)
        for low in [layer.lower()]
        for value, form in wanted
        if form in low
    }


@pytest.mark.parametrize("pii", ["pseudonyms", "strict", None])
def test_clear_values_are_nowhere_under_a_policy_and_are_found_without(
    pii: str | None,
    warehouse: Any,
    serve: Any,
    source_of: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    sandbox = serve(persons(), now=at("03-02"))
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")
    secret = SECRET if pii else None
    options = {"pii": pii, "pii_key": secret, "on_error": "keep", "bad_events": "keep"}
    ids = {"target_ids": [ID, UNKNOWN_ID], "target_unicities": [ADDRESS]}

    warehouse.run(source_of(sandbox, *RESOURCES, **options, **ids))
    with sandbox.faults.during("status=500,path=/targets/"):
        warehouse.run(source_of(sandbox, *RESOURCES, **options, **ids))

    printed = capfd.readouterr()
    said = [("log", caplog.text.encode()), ("printed", (printed.out + printed.err).encode())]
    found = places(iter([*contents(warehouse.folder, warehouse.database), *said]))
    assert len(warehouse.ids()) == 4
    assert warehouse.rows("events__execution_data")
    assert "urllib3" in caplog.text
    if pii is None:
        assert {value for _, value in found} == set(CLEAR)
        assert len({where for where, _ in found}) > 5
    else:
        assert found == set()
        assert not any(SECRET in line for line in (caplog.text, printed.out, printed.err))
