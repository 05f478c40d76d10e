"""The questions, each with its rule."""

from __future__ import annotations

from .campaigns import default_body_is_taken
from .comparison import FINAL, LATE
from .headers import date_is_right, gzip_is_used, reset_is_understood
from .question import Question
from .robots import classes_are_apart, mixed_has_robots
from .rules import (
    acts_on_timestamp,
    empty_is_an_array,
    end_bounds_reactions,
    half_open,
    ids_come_once,
    message_has_one_stamp,
    mixed_has_sends,
    naive_is_utc,
    not_capped,
    numbers_are_ms,
    offsets_count,
    same_everywhere,
    sorted_as_asked,
    titled_are_there,
    to_the_millisecond,
    types_are_there,
    unknown_id_is_404,
    unknown_values_are_refused,
)
from .spans import no_start_is_from_the_beginning
from .visibility import VISIBLE

QUESTIONS = (
    Question("filter", "bounds act on timestamp", acts_on_timestamp),
    Question("bounds", "windows are half-open, to the second", half_open, True),
    Question("precision", "bounds act to the millisecond", to_the_millisecond, True),
    Question("numbers", "bounds that are numbers are milliseconds", numbers_are_ms, True),
    Question("offset", "an offset of a bound counts", offsets_count, True),
    Question("naive", "a bound without offset is UTC", naive_is_utc, True),
    Question("sort", "events come as sort asks, to the second", sorted_as_asked),
    Question("sends", "/actions/events has sends, too", mixed_has_sends),
    Question("reactivity-end", "reactivityEnd bounds reactions", end_bounds_reactions, True),
    Question("identity", "one id, timestamp and content everywhere", same_everywhere, True),
    Question("cap", "a response holds every event of its window", not_capped, True),
    Question("type", "single-type operations name the type", types_are_there),
    Question("stamps", "execution and activation share a stamp", message_has_one_stamp),
    Question("unknown-id", "an unknown id is 404", unknown_id_is_404),
    Question("refused", "an unknown value of sort is refused", unknown_values_are_refused),
    Question("unconfirmed", "operations known by their title exist", titled_are_there),
    Question("empty", "no events are an empty array", empty_is_an_array),
    Question("gzip", "responses are compressed", gzip_is_used),
    Question("classification", "a class returns robots' hits, and only these", classes_are_apart),
    Question("mixed-robots", "/actions/events has robots' hits", mixed_has_robots, True),
    Question("once", "a response has each id once", ids_come_once),
    Question("date", "responses have a right Date", date_is_right),
    Question("rate-limit", "X-RateLimit-Reset is understood", reset_is_understood),
)
"""In the order in which they are asked; the last three look back on all responses."""

CAMPAIGN_BODY = Question("campaign-body", "the body of campaigns is taken", default_body_is_taken)
"""Asked where campaigns are given."""

DEFAULT_SPAN = Question(
    "default-span", "without a start, events come from the first on", no_start_is_from_the_beginning
)
"""Asked where windows without bounds are allowed."""

ALL = (*QUESTIONS, CAMPAIGN_BODY, DEFAULT_SPAN, VISIBLE, FINAL, LATE)
