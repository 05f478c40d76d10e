"""Keeps ids out of the HTTP library's log lines: an id may be a person's address."""

from __future__ import annotations

import logging
import re

CHATTY = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")
"""The loggers of urllib3 2 that write URLs, from DEBUG to WARNING."""

_QUERY = re.compile(r"\?[^\s\"')]*")
_HEADERS = re.compile(r"unparsed data: .*", re.DOTALL)
_TARGET = re.compile(r"(/targets/)[^?\s\"')]+")


def hide_ids() -> None:
    """Takes queries, and what comes after ``/targets/``, out of what urllib3 logs, at all levels.

    Headers that urllib3 cannot read, which it quotes, go as well.

    The filter stays for the life of the process: other clients in it may still be at work. It is
    the same object each time, which a logger keeps only once.
    """
    for name in CHATTY:
        logging.getLogger(name).addFilter(_without_ids)


def _without_ids(record: logging.LogRecord) -> bool:
    text = _QUERY.sub("?...", record.getMessage())
    text = _HEADERS.sub("unparsed data: ...", text)
    record.msg = _TARGET.sub(r"\1...", text)
    record.args = ()
    # The traceback of unreadable headers quotes them.
    record.exc_info = record.exc_text = None
    return True
