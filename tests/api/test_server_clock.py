from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from np6_source.api.server_clock import NOISE_MS, ServerClock, as_utc
from np6_source.windows import to_ms

LOCAL = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def clock() -> ServerClock:
    """A clock on a machine whose own time stands still."""
    return ServerClock(local=LOCAL.timestamp)


def header(offset: timedelta) -> str:
    return (LOCAL + offset).strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    "offset",
    [timedelta(hours=1), timedelta(hours=-1), timedelta(seconds=3), timedelta(days=-400)],
    ids=str,
)
def test_it_takes_the_server_time_over_the_local_one(offset: timedelta) -> None:
    server = clock()

    server.observe(header(offset))

    assert server.now() == to_ms(LOCAL + offset)
    assert server.earlier() == to_ms(LOCAL + min(offset, timedelta(0)))


@pytest.mark.parametrize("offset", [timedelta(seconds=s) for s in (-2, -1, 0, 1, 2)], ids=str)
def test_a_difference_within_the_noise_is_none(offset: timedelta) -> None:
    server = clock()

    server.observe(header(offset))

    assert server.offset_ms == 0


def test_the_last_header_counts() -> None:
    server = clock()

    server.observe(header(timedelta(hours=1)))
    server.observe(header(timedelta(0)))

    assert server.now() == to_ms(LOCAL)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "yesterday",
        "2024-05-01",
        "Wed, 99 May 2024 99:99:99 GMT",
        "Fri, 31 Dec 9999 23:59:59 -0100",
        "0",
    ],
    ids=repr,
)
def test_an_unreadable_header_is_left_aside(text: str | None) -> None:
    server = clock()
    server.observe(header(timedelta(hours=1)))

    server.observe(text)

    assert server.now() == to_ms(LOCAL + timedelta(hours=1))


@given(st.text(max_size=40))
def test_no_header_stops_a_run(text: str) -> None:
    clock().observe(text)


def test_it_moves_with_the_local_clock() -> None:
    seconds = [LOCAL.timestamp()]
    server = ServerClock(local=lambda: seconds[0])
    server.observe(header(timedelta(hours=1)))

    seconds[0] += 5

    assert server.now() == to_ms(LOCAL + timedelta(hours=1, seconds=5))


def test_noise_is_wider_than_the_resolution_of_a_date_header() -> None:
    assert NOISE_MS > 1_000


def test_as_utc_is_to_the_second() -> None:
    assert as_utc(to_ms(LOCAL) + 999) == LOCAL
