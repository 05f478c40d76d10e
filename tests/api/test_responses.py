"""What a status and headers mean, without a network."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from np6_source.api.responses import (
    declared_charset,
    fewer_than_announced,
    partial,
    refusal,
    total_count,
    unreadable,
)
from np6_source.errors import (
    ExchangeFailed,
    Forbidden,
    IncompleteResponse,
    NotFound,
    RequestContext,
    TryAgainLater,
    Unauthorized,
    UnexpectedStatus,
    WindowTooLarge,
)

NOW = 1_714_557_600_000
"""2024-05-01T10:00:00Z in milliseconds."""
CONTEXT = RequestContext("actions_events", "", "[a, b)")


def sign_of(headers: dict[str, str], status: int = 200) -> str | None:
    failure = partial(status, CaseInsensitiveDict(headers), CONTEXT)
    return failure.problem if failure else None


class TestWhole:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Link": '<https://api.test/actions/events?page=2>; rel="next"'},
            {"Link": '<https://x/?page=1>; rel="first", <https://x/?page=2>; rel=next'},
            {"Link": "<https://x/?page=2>;title='more';REL='Next'"},
            {"Link": '<https://x/?page=2>; rel="last next"'},
            {"Content-Range": "items 0-99/1000"},
            {"Content-Range": "events 100-199/200"},
            {"Content-Range": "items 0-99/*"},
            {"Content-Range": "items */5"},
            {"Content-Range": "bytes=0-99/1000"},
            {"Content-Range": "a part"},
            {"X-Next-Page": "2"},
            {"X-Next-Cursor": "abc"},
            {"x-ms-continuationtoken": "abc"},
            {"X-Has-More": "true"},
            {"X-Truncated": "1"},
            {"X-Total-Pages": "2"},
            {"X-Pagination-Page-Count": "17"},
            {"X-Pagination": '{"HasNext": true}'},
            {"X-Pagination": '{"totalPages": 2, "currentPage": 1}'},
        ],
        ids=str,
    )
    def test_headers_that_say_there_is_more_are_a_failure(self, headers: dict[str, str]) -> None:
        problem = sign_of(headers)
        assert problem is not None
        assert problem.startswith("the response is not whole: ")

    def test_partial_content_is_a_failure(self) -> None:
        assert "206" in str(sign_of({"Content-Range": "items 0-1/2"}, status=206))

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Link": '<https://x/?page=1>; rel="self"'},
            {"Link": '<https://x/?rel=next>; rel="self"'},
            {"Link": '</docs/next>; rel="help"; title="the next release"'},
            {"Link": "nonsense"},
            {"Content-Range": "items 0-99/100"},
            {"Content-Range": "items */0"},
            {"X-Next-Page": ""},
            {"X-Next-Page": "null"},
            {"X-Has-More": "false"},
            {"X-Total-Pages": "1"},
            {"X-Total-Pages": "many"},
            {"X-Pagination": '{"hasNext": false, "totalPages": 1}'},
            {"X-Pagination": "[]"},
            {"X-Pagination": "nonsense"},
            {"X-RateLimit-Remaining": "5", "X-RateLimit-Limit": "100", "Age": "7"},
            {"X-Request-Id": "next", "Server-Timing": "total;dur=53", "Via": "1.1 next"},
        ],
        ids=str,
    )
    def test_other_headers_say_nothing_of_a_rest(self, headers: dict[str, str]) -> None:
        assert sign_of(headers) is None

    @given(
        st.dictionaries(
            st.sampled_from(["Link", "Content-Range", "X-Total-Count", "X-Pagination", "X-Pages"]),
            st.text(max_size=60),
        ),
        st.integers(min_value=0, max_value=10),
    )
    def test_no_header_stops_a_run(self, headers: dict[str, str], rows: int) -> None:
        sign_of(headers)
        declared_charset({"Content-Type": headers.get("Link", "")})
        fewer_than_announced(total_count(headers), rows, CONTEXT)


class TestTotalCount:
    @pytest.mark.parametrize(
        ("headers", "count"),
        [
            ({"X-Total-Count": "1000"}, 1000),
            ({"x-total": "1000"}, 1000),
            ({"Total-Results": " 1000 "}, 1000),
            ({"X-Pagination-Total-Count": "1000"}, 1000),
            ({"X-Pagination": '{"TotalCount": 1000}'}, 1000),
            ({"Content-Range": "items 0-999/1000"}, 1000),
            ({"X-Total-Count": "0"}, 0),
            ({"X-Total-Count": "-1"}, None),
            ({"X-Total-Count": "9" * 5000}, None),
            ({"X-Total-Count": "many"}, None),
            ({"Content-Length": "1000"}, None),
            ({}, None),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_it_is_read_from_every_usual_header(
        self, headers: dict[str, str], count: int | None
    ) -> None:
        assert total_count(CaseInsensitiveDict(headers)) == count

    @pytest.mark.parametrize(("total", "rows"), [(None, 5), (5, 5), (0, 0), (3, 5)])
    def test_as_many_rows_as_announced_are_whole(self, total: int | None, rows: int) -> None:
        assert fewer_than_announced(total, rows, CONTEXT) is None

    def test_fewer_rows_than_announced_are_not(self) -> None:
        failure = fewer_than_announced(1000, 100, CONTEXT)
        assert isinstance(failure, IncompleteResponse)
        assert "announce 1000 events, it holds 100" in str(failure)


class TestStatus:
    @pytest.mark.parametrize("status", [200, 204, 206])
    def test_a_body_is_read_of_a_success(self, status: int) -> None:
        assert refusal(status, {}, CONTEXT, NOW, 600) is None

    @pytest.mark.parametrize(
        "status", [408, 425, 500, 502, 503, 504, 507, 508, 520, 522, 524, 529, 599]
    )
    def test_what_may_pass_may_be_asked_again(self, status: int) -> None:
        refused = refusal(status, {}, CONTEXT, NOW, 600)
        assert refused is not None
        assert refused.may_repeat
        assert isinstance(refused.failure, WindowTooLarge)

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (201, UnexpectedStatus),
            (301, UnexpectedStatus),
            (400, UnexpectedStatus),
            (401, Unauthorized),
            (403, Forbidden),
            (404, NotFound),
            (413, WindowTooLarge),
            (501, UnexpectedStatus),
            (505, UnexpectedStatus),
        ],
    )
    def test_what_stays_is_asked_once(self, status: int, kind: type[Exception]) -> None:
        refused = refusal(status, {}, CONTEXT, NOW, 600)
        assert refused is not None
        assert not refused.may_repeat
        assert type(refused.failure) is kind

    @pytest.mark.parametrize("status", [429, 503, 524])
    def test_a_longer_wait_than_the_run_may_take_is_left_to_a_later_one(self, status: int) -> None:
        refused = refusal(status, {"Retry-After": "3600"}, CONTEXT, NOW, 600)
        assert refused is not None
        assert not refused.may_repeat
        assert isinstance(refused.failure, TryAgainLater)
        assert refused.failure.resume_at == datetime(2024, 5, 1, 11, 0, 1, tzinfo=timezone.utc)

    def test_a_failure_is_not_waited_for_until_the_rate_limit_begins_anew(self) -> None:
        limit = {"X-RateLimit-Limit": "600", "X-RateLimit-Reset": "3600"}
        for remaining in ({}, {"X-RateLimit-Remaining": "512"}):
            failed = refusal(503, {**limit, **remaining}, CONTEXT, NOW, 600)
            assert failed is not None
            assert failed.may_repeat
            assert failed.wait is None
        used_up = refusal(503, {**limit, "X-RateLimit-Remaining": "0"}, CONTEXT, NOW, 600)
        assert used_up is not None
        assert isinstance(used_up.failure, TryAgainLater)

    @pytest.mark.parametrize("wait", ["1" + "0" * 18, "9" * 4000, "99999999999", "-5", "inf"])
    @pytest.mark.parametrize("name", ["Retry-After", "X-RateLimit-Reset"])
    @pytest.mark.parametrize("status", [429, 503])
    def test_an_impossible_wait_is_none(self, status: int, name: str, wait: str) -> None:
        refused = refusal(status, {name: wait}, CONTEXT, NOW, 600)
        assert refused is not None
        assert refused.may_repeat
        assert not refused.wait

    def test_a_wrong_key_is_told_with_the_place_where_it_was_found(self) -> None:
        refused = refusal(401, {}, CONTEXT, NOW, 600, "the environment variable X")
        assert refused is not None
        assert str(refused.failure).endswith(
            "Check the key in the environment variable X; `np6-source check` tries it."
        )


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ("application/json", None),
        ("application/json; charset=ISO-8859-1", "ISO-8859-1"),
        ('application/json;charset="utf-16"', "utf-16"),
        ("application/json; version=1 ; CHARSET = utf-8 ; x=y", "utf-8"),
        ("application/json; charset=", None),
        ("charset", None),
    ],
)
def test_the_charset_is_that_of_the_content_type(content_type: str, charset: str | None) -> None:
    assert declared_charset({"Content-Type": content_type}) == charset


class TestUnreadable:
    def test_the_kind_and_the_line_are_shown_but_not_the_text(self) -> None:
        try:
            raise KeyError("somebody.private@example.com")
        except KeyError as error:
            failure = unreadable(error, CONTEXT)
        assert type(failure) is ExchangeFailed
        assert "KeyError in test_responses.py, line " in str(failure)
        assert "private" not in str(failure)

    def test_too_little_memory_asks_for_a_smaller_window(self) -> None:
        assert type(unreadable(MemoryError(), CONTEXT)) is WindowTooLarge
