"""What of log records and messages is about a person, and how it is taken out.

Two sources quote it: urllib3, which logs the URLs that it requests, and destinations, which quote
the rows that they refuse.
"""

from __future__ import annotations

import logging
import re

URL_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")
"""The loggers of urllib3 2 that write URLs, from DEBUG to WARNING."""

OF_URLS = (
    (re.compile(r"\?[^\s\"')]*"), "?..."),
    # urllib3 quotes headers that it cannot read.
    (re.compile(r"unparsed data: .*", re.DOTALL), "unparsed data: ..."),
    (re.compile(r"(/targets/)[^?\s\"')]+"), r"\1..."),
)
"""What of a logged request may be an id that is a person's address, and what stays of it."""

OF_ROWS = (
    # PostgreSQL quotes the whole row, and the key of one.
    (re.compile(r"(Failing row contains |VALUES )\([^\n]*"), r"\1(...)"),
    (re.compile(r"(Key \([^)\n]*\)=)\([^\n]*\)"), r"\1(...)"),
    # DuckDB and others quote the value that they cannot take.
    (re.compile(r"(?i)((?:convert|cast|invalid|input|type|value)\b[^'\"\n]*)'[^\n]*'"), r"\1'...'"),
    (re.compile(r"[^\s@'\"<>(),;:/]+@[^\s@'\"<>(),;:/]+"), "...@..."),
)
"""What of a destination's message comes from a row, and what stays of it."""


def without_ids(text: str) -> str:
    """A log line about a request without its query and without what comes after ``/targets/``."""
    for pattern, kept in OF_URLS:
        text = pattern.sub(kept, text)
    return text


def without_rows(text: str) -> str:
    """A destination's message without what it quotes of a row: addresses, values."""
    for pattern, kept in OF_ROWS:
        text = pattern.sub(kept, text)
    return text


def keep_ids_out_of_logs() -> None:
    """Lets urllib3's log quote no id, at all levels, in this process from now on.

    The filters stay: other clients in the process may still be at work. Each is the same object
    each time, which a logger keeps only once.
    """
    for name in URL_LOGGERS:
        logging.getLogger(name).addFilter(_without_ids)


def keep_rows_out_of_logs() -> None:
    """Lets dlt's log quote nothing of rows, in this process from now on.

    dlt 1.31 logs the messages of failed load jobs as the destination gives them.
    """
    logging.getLogger("dlt").addFilter(_without_rows)


def _without_ids(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_ids(record.getMessage()), ()
    # The traceback of unreadable headers quotes them.
    record.exc_info = record.exc_text = None
    return True


def _without_rows(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_rows(record.getMessage()), ()
    if record.exc_info:
        trace = logging.Formatter().formatException(record.exc_info)
        record.exc_text = without_rows(trace)
    return True
