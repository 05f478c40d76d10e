from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import np6_source.events.json_file
from np6_source.events.json_file import (
    UnreadableResponse,
    check_brackets,
    repair,
    take_out_large,
)

PIECES = st.lists(
    st.sampled_from(
        [
            b"\\ud83d\\ude00",  # a pair: one character
            b"\\uD83D\\uDE00",
            b"\\ud800",  # lone surrogates
            b"\\uDFFF",
            b"\\udc00\\ud800",
            b"\\u0000",
            b"\\\\",  # an escaped backslash
            b"\\\\ud800",  # an escaped backslash and plain text
            b"\\\\\\ud800",  # an escaped backslash and a lone surrogate
            b'\\"',
            b"\\n",
            b"\\u00e9",
            b"\\u0001",
            b"\xc3\xa9",
            b"\xf0\x9f\x98\x80",
            b"\xff",  # not UTF-8
            b"\xc3",
            b"\xed\xa0\x80",
            b"plain",
            b"u0000",
            b"ud800",
        ]
    ),
    max_size=30,
)


@pytest.fixture(params=[1, 2, 5, 11, 13, 1024], ids="{} bytes at once".format)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr(np6_source.events.json_file, "_CHUNK", size)
    return size


def body(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / "answer.json"
    file.write_bytes(content)
    return file


class TestBrackets:
    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"[]", id="no event"),
            pytest.param(b'[{"id": 1}]', id="an event"),
            pytest.param(b"\xef\xbb\xbf[]", id="byte order mark"),
            pytest.param(b"\xef\xbb\xbf \r\n\t[]", id="byte order mark and blanks"),
            pytest.param(b" " * 10_000 + b"[]" + b"\n" * 10_000, id="long blanks around"),
            pytest.param(b"[]" + b" " * 4096, id="blanks of one block after it"),
            pytest.param(b"[" + b" " * 4095 + b"]", id="bracket on the block's edge"),
        ],
    )
    def test_an_array_passes(self, tmp_path: Path, content: bytes) -> None:
        check_brackets(body(tmp_path, content))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(b"", "the body is empty", id="empty"),
            pytest.param(b" \r\n\t" * 3_000, "the body is empty", id="blank"),
            pytest.param(b"\xef\xbb\xbf", "the body is empty", id="byte order mark alone"),
            pytest.param(b"<html>]", "HTML or XML", id="HTML"),
            pytest.param(b"\n\n<?xml?>", "HTML or XML", id="XML"),
            pytest.param(b'{"events": []}', "a JSON object", id="object"),
            pytest.param(b'{"events": [] ]', "a JSON object", id="object with a stray bracket"),
            pytest.param(b"12", "not JSON", id="number"),
            pytest.param(b'"[]"', "not JSON", id="text"),
            pytest.param(b"null", "not JSON", id="null"),
            pytest.param(b"Service unavailable", "not JSON", id="plain words"),
            pytest.param(b"\x1f\x8b\x08]", "not JSON", id="gzip"),
            pytest.param(b'[{"id": 1},', "breaks off", id="cut after a comma"),
            pytest.param(b'[{"id": 1}, \n ', "breaks off", id="cut after a comma and blanks"),
            pytest.param(b'[{"id": 1}', "breaks off", id="cut after an event"),
            pytest.param(b'[{"id": 1}, {"i', "breaks off", id="cut inside an event"),
            pytest.param(b"[", "breaks off", id="cut at the start"),
            pytest.param(b"[]" + b"\n" * 9_000 + b"<", "breaks off", id="text behind the array"),
        ],
    )
    def test_anything_else_is_named(self, tmp_path: Path, content: bytes, message: str) -> None:
        with pytest.raises(UnreadableResponse, match=message):
            check_brackets(body(tmp_path, content))

    def test_nothing_of_the_body_is_quoted(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableResponse) as caught:
            check_brackets(body(tmp_path, b"example@np6.com"))

        assert "np6.com" not in str(caught.value)


def visible(character: str) -> str:
    """What ``repair`` makes of a character; bytes that are no UTF-8 are U+DC80 to U+DCFF here."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\ufffd[{code - 0xDC00:02X}]"
    return f"\ufffd[U+{code:04X}]" if code == 0 or 0xD800 <= code < 0xE000 else character


class TestRepair:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            pytest.param(rb"\ud800", "\ufffd[U+D800]", id="lone high surrogate"),
            pytest.param(rb"\uDC00", "\ufffd[U+DC00]", id="lone low surrogate"),
            pytest.param(rb"\ud800\ud800", "\ufffd[U+D800]" * 2, id="two high surrogates"),
            pytest.param(rb"\udc00\ud800", "\ufffd[U+DC00]\ufffd[U+D800]", id="reversed"),
            pytest.param(rb"\ud800\ud83d\ude00", "\ufffd[U+D800]\U0001f600", id="before a pair"),
            pytest.param(rb"\ud83d\ude00\ude00", "\U0001f600\ufffd[U+DE00]", id="after a pair"),
            pytest.param(rb"\ud800 \udc00", "\ufffd[U+D800] \ufffd[U+DC00]", id="a pair apart"),
            pytest.param(rb"\ud800\n", "\ufffd[U+D800]\n", id="another escape behind"),
            pytest.param(rb"a\u0000b", "a\ufffd[U+0000]b", id="NUL"),
            pytest.param(rb"\\\ud800", "\\\ufffd[U+D800]", id="behind an escaped backslash"),
            pytest.param(b"a\xffb", "a\ufffd[FF]b", id="a byte that is not UTF-8"),
            pytest.param(b"\xe2\x82", "\ufffd[E2]\ufffd[82]", id="a character cut short"),
        ],
    )
    @pytest.mark.usefixtures("chunk")
    def test_what_is_no_text_is_written_visibly(
        self, tmp_path: Path, before: bytes, after: str
    ) -> None:
        file = body(tmp_path, b'["' + before + b'"]')

        assert repair(file)
        assert json.loads(file.read_bytes()) == [after]

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(rb"\ud83d\ude00", id="a pair"),
            pytest.param(rb"\uD83D\uDE00", id="a pair in capitals"),
            pytest.param(rb"\\ud800", id="an escaped backslash before letters"),
            pytest.param(rb"\\\\ud800", id="two escaped backslashes before letters"),
            pytest.param(rb"\\u0000", id="an escaped backslash before zeros"),
            pytest.param(rb"\u0001\u00e9\ue000", id="other escapes"),
            pytest.param("é\U0001f600\ue000".encode(), id="other characters"),
            pytest.param("\ufffd".encode(), id="the replacement character itself"),
            pytest.param(b"\r\n", id="line ends of another system"),
            pytest.param(b"", id="nothing"),
        ],
    )
    @pytest.mark.usefixtures("chunk")
    def test_clean_text_stays_as_it_is(self, tmp_path: Path, text: bytes) -> None:
        content = b'\xef\xbb\xbf [\r\n"' + text + b'" ]\r\n'
        file = body(tmp_path, content)

        assert not repair(file)
        assert file.read_bytes() == content

    @pytest.mark.usefixtures("chunk")
    def test_a_character_cut_short_at_the_end_is_visible(self, tmp_path: Path) -> None:
        file = body(tmp_path, b"[]\xe2\x82")

        assert repair(file)
        assert file.read_text(encoding="utf-8") == "[]\ufffd[E2]\ufffd[82]"

    @given(pieces=PIECES, padding=st.integers(0, 15))
    @example(pieces=[b"\xc3"], padding=0)
    @settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        deadline=None,
        max_examples=40,
    )
    @pytest.mark.usefixtures("chunk")
    def test_every_other_character_is_kept_and_what_is_none_can_be_told(
        self, tmp_path: Path, pieces: list[bytes], padding: int
    ) -> None:
        content = b'["' + b"." * padding + b"".join(pieces) + b'"]'
        file = body(tmp_path, content)
        read = json.loads(content.decode(errors="surrogateescape"))[0]

        repair(file)

        assert json.loads(file.read_bytes())[0] == "".join(map(visible, read))

    @pytest.mark.usefixtures("chunk")
    def test_repairing_twice_changes_nothing_more(self, tmp_path: Path) -> None:
        file = body(tmp_path, b'["\\ud800\\u0000\xff"]')
        repair(file)
        once = file.read_bytes()

        repair(file)

        assert file.read_bytes() == once

    def test_no_other_file_is_left(self, tmp_path: Path) -> None:
        file = body(tmp_path, b'["\\ud800"]')

        repair(file)

        assert list(tmp_path.iterdir()) == [file]


SMALL = ['{"id":"1"}', '{"a":["]",{"b":"\\\\\\""},"{"]}', '"te,xt"', "[1,[2]]", "null"]


class TestLargeEvents:
    @pytest.mark.parametrize("positions", [(0,), (2,), (5,), (0, 1), (0, 3, 5)], ids=str)
    @pytest.mark.parametrize("blank", ["", " ", "\n\t"])
    def test_they_are_taken_out_and_the_others_stay(
        self, tmp_path: Path, positions: tuple[int, ...], blank: str
    ) -> None:
        elements = list(SMALL)
        large = '{"x":"' + "é,]}" * 30 + '"}'
        for position in positions:
            elements.insert(position, large)
        text = "\ufeff[" + f"{blank},{blank}".join(elements) + blank + "]"
        file = body(tmp_path, text.encode())

        taken = take_out_large(file, 100)

        assert [event.beginning.strip() for event in taken] == [large] * len(positions)
        assert all(event.size >= len(large.encode()) for event in taken)
        assert json.loads(file.read_bytes()) == json.loads(f"[{','.join(SMALL)}]")

    def test_nothing_else_may_be_left(self, tmp_path: Path) -> None:
        file = body(tmp_path, b'[{"x":"' + b"y" * 200 + b'"}]')

        assert len(take_out_large(file, 100)) == 1
        assert file.read_bytes() == b"[]"
