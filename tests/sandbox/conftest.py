"""What the sandbox's tests share: small accounts, and a client that speaks plain HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from np6_source.sandbox import (
    Account,
    Sandbox,
    StoredAccount,
    account_from_events,
    generated_account,
    sample_account,
)

TCall = Callable[..., requests.Response]
TEvent = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def generated() -> Account:
    return generated_account(2500, seed=1)


@pytest.fixture
def samples() -> StoredAccount:
    return sample_account()


@pytest.fixture
def serve() -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes that end with the test."""
    with ExitStack() as stack:
        yield lambda account, **options: stack.enter_context(Sandbox(account, **options))


@pytest.fixture
def call() -> Iterator[TCall]:
    """Calls an operation of a sandbox, with its key and without following redirects."""
    with requests.Session() as session:

        def call(
            sandbox: Sandbox,
            path: str,
            headers: dict[str, str] | None = None,
            body: Any = None,
            method: str = "",
            **query: str | int,
        ) -> requests.Response:
            return session.request(
                method or ("GET" if body is None else "POST"),
                sandbox.url.rstrip("/") + path,
                params=query,
                json=body,
                headers={"X-Key": sandbox.key, **(headers or {})},
                allow_redirects=False,
                timeout=10,
            )

        yield call


@pytest.fixture(scope="session")
def event() -> TEvent:
    """Makes short activation events."""

    def event(number: int, timestamp: int, **changes: Any) -> dict[str, Any]:
        activation = {"id": "000AA1", "receiver": {"type": "footprint", "id": "0000CON1"}}
        return {
            "type": "activation",
            "id": f"event-{number}",
            "timestamp": timestamp,
            "source": {"type": "email", "detail": {"activation": activation}},
        } | changes

    return event


@pytest.fixture
def five(event: TEvent) -> StoredAccount:
    """Five events, at 1000, 2000, ... 5000 ms."""
    return account_from_events(event(number, number * 1000) for number in range(1, 6))
