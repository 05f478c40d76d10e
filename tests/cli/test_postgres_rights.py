"""What a role that lacks a right in PostgreSQL is told: which, and not that anything is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from np6_source.__main__ import main
from tests.support import PostgresDataset, at, event

ALL = "actions_events"
ROLE = "np6_without_rights"


@pytest.fixture
def dataset(
    postgres_dataset: Callable[[str], PostgresDataset],
    serve: Callable[..., Any],
    source_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[PostgresDataset]:
    """Was loaded by its owner; commands connect as a role that may do nothing in it."""
    dataset = postgres_dataset("np6_rights")
    sandbox = serve([event(1, at("03-01T12:00"))], now=at("03-03"))
    dataset.pipeline.run(source_of(sandbox, ALL))
    for name, value in {"BASE_URL": sandbox.url, "API_KEY": sandbox.key}.items():
        monkeypatch.setenv(f"SOURCES__NP6__{name}", value)
    dataset.query(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'none'")
    url = dataset.url.replace("//postgres:", f"//{ROLE}:")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
    yield dataset
    dataset.query(f"DROP OWNED BY {ROLE}")
    dataset.query(f"DROP ROLE {ROLE}")


def test_a_role_without_a_right_is_told_which(
    dataset: PostgresDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL lists neither schemas nor tables that a role may not use."""

    def said_by(command: str, *options: str) -> str:
        assert main([command, *dataset.options, *options]) == 1
        return capsys.readouterr().err

    denied = "PostgreSQL: permission denied for"
    advice = "Give the role of destination.postgres.credentials that right"
    said = said_by("status")
    assert f"{denied} schema {dataset.name}" in said
    assert advice in said

    for right in ("ALL ON SCHEMA", "SELECT ON ALL TABLES IN SCHEMA"):
        dataset.query(f"GRANT {right} {dataset.name} TO {ROLE}")
    dataset.query(f"REVOKE ALL ON {dataset.name}.load_windows FROM {ROLE}")
    said = said_by("load", "--resources", ALL, "--progress", "none")
    assert f"{denied} table load_windows" in said
    assert "is gone" not in said
