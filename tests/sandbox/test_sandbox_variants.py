"""The open questions of the reference, settled in another way than the connector assumes."""

from __future__ import annotations

from typing import Any

import pytest

from np6_source.sandbox import Account, Variants


class TestNames:
    def test_as_text_and_in_python(self) -> None:
        assert Variants.parse(["mixed_robots=left_out"]) == Variants(mixed_robots="left_out")
        assert Variants.parse([]) == Variants()

    @pytest.mark.parametrize("text", ["robots=none", "mixed_robots=none", "mixed_robots", ""])
    def test_unknown_ones_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="mixed_robots"):
            Variants.parse([text])


class TestMixedRobots:
    def robots(self, account: Account) -> set[str]:
        rows = account.connection.cursor().execute(
            "SELECT event_id FROM events WHERE robot IS NOT NULL"
        )
        return {event_id for (event_id,) in rows.fetchall()}

    def ids(self, found: Any) -> set[str]:
        return {event["id"] for event in found.json()}

    def test_left_out_only_classification_returns_them(
        self, generated: Account, serve: Any, call: Any
    ) -> None:
        robots = self.robots(generated)
        included = serve(generated)
        left_out = serve(generated, variants=Variants(mixed_robots="left_out"))
        for path in ("/actions/events", "/actions/reactivities"):
            everything, people = (self.ids(call(sandbox, path)) for sandbox in (included, left_out))
            assert everything & robots
            assert people == everything - robots
        contact = next(
            event["source"]["detail"]["activation"]["receiver"]["id"]
            for event in generated.events()
            if event["id"] in robots
        )
        path = f"/targets/{contact}/events/hits/open"
        classes = "genericrobot,mpp,gsr"
        assert self.ids(call(left_out, path, classification=classes)) & robots
        assert not self.ids(call(left_out, path)) & robots
