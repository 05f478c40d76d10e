"""Every kind of trouble, injected once: all of them in ``make soak``, a few in ``make test``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reliability.kinds import KINDS, Kind
from tests.reliability.playing import Player, Tally, playing
from tests.reliability.trials import Call, Trial

QUICK = ("database_put_back", "outage")
"""What is played in ``make test``: seconds."""
SEED = 77


@pytest.fixture(scope="module")
def player(request: pytest.FixtureRequest) -> Iterator[Player]:
    with playing(lambda: request.getfixturevalue("postgres_socket")) as player:
        yield player


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind,
            marks=[] if kind.inject.__name__ in QUICK else [pytest.mark.soak],
            id=kind.inject.__name__,
        )
        for kind in KINDS
    ],
)
def test_nothing_is_lost_nothing_twice_and_it_is_said(kind: Kind, player: Player) -> None:
    tally = Tally()
    player.play(kind, SEED, tally)
    assert tally.odd == []
    assert tally.leaks == 0


def test_what_is_lost_or_twice_would_be_counted(player: Player) -> None:
    def spoilt(trial: Trial) -> Call:
        trial.load()
        first, second = sorted(trial.ids())[:2]
        trial.database.execute(
            f"DELETE FROM np6.events WHERE id = '{first}'",
            f"INSERT INTO np6.events SELECT * FROM np6.events WHERE id = '{second}'",
        )
        ended = Call(0, "")
        trial.check(ended, lambda fact: True)
        return ended

    tally = Tally()
    player.play(Kind(1, "rows removed and repeated by hand", (0,), "", spoilt), SEED, tally)
    assert (tally.lost, tally.twice) == (1, 1)
    assert "status 0, lost ['old-00000'], twice ['old-00001']" in tally.odd[0]
