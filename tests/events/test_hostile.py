"""Answers that no API should give: never a crash without a message, never a wrong row."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from np6_source.events.json_file import UnreadableResponse, repair
from np6_source.events.reader import EventReader, ResponseContents
from np6_source.events.rows import Origin
from np6_source.sandbox import EventRow, Sandbox, account_from_events
from np6_source.windows import Window

MIB = 1024 * 1024


def payload(event: dict[str, Any], **text: str) -> EventRow:
    """An event whose JSON text has pieces replaced, to be served byte for byte."""
    raw = json.dumps(event)
    for placeholder, piece in text.items():
        raw = raw.replace(f'"{placeholder}"', piece)
    return EventRow(raw, event_id=event["id"], timestamp=event["timestamp"], type=event["type"])


@pytest.mark.parametrize(
    ("piece", "arrives"),
    [
        pytest.param(r'"a\ud800b"', "a�[U+D800]b", id="lone surrogate"),
        pytest.param(r'"a\u0000b"', "a�[U+0000]b", id="NUL"),
        pytest.param(r'"\ud83d\ude00"', "😀", id="pair of surrogates"),
        pytest.param('"' + "x" * 10 * MIB + '"', "x" * 10 * MIB, id="string of 10 MB"),
        pytest.param("123456789012345678901234567890", None, id="number past 64 bits"),
        pytest.param("1e400", None, id="number past a double"),
        pytest.param('{"a":1}', None, id="object in place of a text"),
        pytest.param("[" * 900 + "]" * 900, None, id="900 levels of arrays"),
    ],
)
def test_one_hostile_value_costs_no_other_event(
    piece: str,
    arrives: str | None,
    warehouse: Any,
    serve: Callable[..., Sandbox],
    source_of: Callable[..., Any],
    event: Callable[..., dict[str, Any]],
    at: Callable[[str], int],
) -> None:
    hostile = event(1, at("03-02T10:00"))
    hostile["source"]["detail"]["activation"]["recipient"] = "HOSTILE"
    account = account_from_events(
        [payload(hostile, HOSTILE=piece), event(2, at("03-02T10:00")), event(3, at("03-02T11:00"))]
    )

    warehouse.run(source_of(serve(account), "actions_events", end="2024-03-03"))
    rows = {row["id"]: row for row in warehouse.rows("events")}

    assert sorted(rows) == ["event-00001", "event-00002", "event-00003"]
    assert rows["event-00002"]["recipient"] == "person2@example.com"
    if arrives is not None:
        assert rows["event-00001"]["recipient"] == arrives
    else:
        assert piece[:4] in rows["event-00001"]["unmapped"].replace(" ", "")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> EventReader:
    return EventReader(tmp_path_factory.mktemp("spool"))


def outcome(reader: EventReader, file: Path) -> int | None:
    """How many events a body gives; None where it is refused with a message."""
    for is_repaired in (False, True):
        contents = ResponseContents()
        try:
            list(reader.read(file, Origin(Window(0, 2**43), 0), contents))
        except UnreadableResponse:
            if not is_repaired:
                repair(file)
            continue
        return contents.row_count
    return None


VALID = b'[{"id":"e1","timestamp":1614089582000,"type":"hit"},{"id":"e2","timestamp":5}]'


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=200))
def test_bytes_are_refused(reader: EventReader, tmp_path_factory: Any, body: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.json"
    file.write_bytes(body)
    assert outcome(reader, file) in (None, 0)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    position=st.integers(0, len(VALID) - 1),
    length=st.integers(0, 20),
    junk=st.binary(max_size=10),
)
def test_a_spoilt_body_is_refused_or_read_as_python_reads_it(
    reader: EventReader, tmp_path_factory: Any, position: int, length: int, junk: bytes
) -> None:
    body = VALID[:position] + junk + VALID[position + length :]
    file = tmp_path_factory.getbasetemp() / "spoilt.json"
    file.write_bytes(body)
    count = outcome(reader, file)
    if count is not None:
        events = json.loads(file.read_bytes().decode("utf-8-sig"))
        assert isinstance(events, list)
        assert count == len(events)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=JSON)
def test_json_of_another_shape_is_refused(
    reader: EventReader, tmp_path_factory: Any, value: Any
) -> None:
    file = tmp_path_factory.getbasetemp() / "shape.json"
    file.write_text(json.dumps(value))
    assert outcome(reader, file) == (0 if value == [] else None)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = sys.argv[2:]
import runpy
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("limit", [64 * 1024, 600 * 1024], ids=["while spooling", "while loading"])
def test_a_full_disk_is_said_and_the_next_run_is_right(
    limit: int,
    warehouse: Any,
    serve: Callable[..., Sandbox],
    event: Callable[..., dict[str, Any]],
    at: Callable[[str], int],
    tmp_path: Path,
) -> None:
    events = [event(number, at("03-02T10:00") + number) for number in range(1_500)]
    sandbox = serve(events)
    script = Path(__file__).parents[2] / "pipelines" / "np6_to_duckdb.py"
    command = [
        *(str(script), "--pipeline", warehouse.name, "--dataset", "np6", "--progress", "none"),
        *("--duckdb-file", str(warehouse.database), "--base-url", sandbox.url),
        *("--pipelines-dir", str(warehouse.pipelines_dir), "--start", "2024-03-01"),
        *("--resources", "actions_events"),
    ]
    environment = {"SOURCES__NP6__API_KEY": sandbox.key, "SOURCES__NP6__BACKOFF": "0.01"}
    environment |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "PATH": "", "HOME": str(tmp_path)}
    # A compiled module that the limit cuts would break every later run of this Python.
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
    wrapper = tmp_path / "limited.py"
    wrapper.write_text(LIMITED)

    full = subprocess.run(
        [sys.executable, str(wrapper), str(limit), *command],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert full.returncode == 1
    assert "File too large" in full.stderr or "disk" in full.stderr.lower()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY

    again = subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 0, again.stderr[-3000:]
    assert warehouse.ids() == sorted(e["id"] for e in events)
