"""How a command ends that Ctrl-C reaches while DuckDB answers, or whose connection breaks off."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from typing import Any

import duckdb
import psycopg2
import pytest

from np6_source.cli.checks.writable import finding_of
from np6_source.cli.outcome import run

LONG = "SELECT count(*) FROM range(10000000000) a, range(1000) b WHERE hash(a.range) = 5"


def ask_for_long(_: Any = None) -> int:
    """Asks DuckDB for something long, and sends this process a Ctrl-C meanwhile."""
    # A process that was started in the background may ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with duckdb.connect() as connection:
            return len(connection.sql(LONG).fetchall())
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("json", [False, True])
def test_ctrl_c_during_a_query_ends_a_command_without_a_word(json: bool, capfd: Any) -> None:
    options = argparse.Namespace(command="status", json=json)
    assert run(ask_for_long, options) == 130
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_during_a_step_of_a_check_is_no_problem_of_the_step(capfd: Any) -> None:
    def step(_: Any) -> int:
        try:
            return ask_for_long()
        except Exception as error:
            finding_of(error)
            return 1

    assert run(step, argparse.Namespace(command="check")) == 130
    assert capfd.readouterr() == ("", "")


def test_a_connection_that_the_server_closes_is_said_in_a_sentence(capfd: Any) -> None:
    """Where dlt opens a connection, the driver's error comes as it is."""

    def command(_: Any) -> int:
        raise psycopg2.OperationalError("server closed the connection\n\tunexpectedly\n")

    assert run(command, argparse.Namespace(command="status")) == 1
    said = "The destination's connection failed: server closed the connection. What is committed"
    assert capfd.readouterr() == ("", f"{said} stays: run it again.\n")
