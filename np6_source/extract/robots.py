"""Robots' marks that can be relied on. Pure."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from .window import LoadableSpan


def ids_of_people(span: LoadableSpan) -> pa.ChunkedArray:
    """The ids that the request without a class returned beside those with one.

    Args:
        span: A complete span, its ids kept.

    Returns:
        Text; empty where there was no such request, or no other.
    """
    plain = span.parts[""].facts.ids if len(span.parts) > 1 and "" in span.parts else []
    return pa.chunked_array(plain, pa.string())


def sure_marks(marks: pa.Table, of_people: pa.ChunkedArray) -> pa.Table:
    """Robots' marks, without those of hits that the request without a class returns as well.

    The parameter may mean "these too" where it is taken to mean "only these".

    Args:
        marks: Rows of ``events__robots``.
        of_people: See ``ids_of_people``.
    """
    return marks.filter(pc.invert(pc.is_in(marks["event_id"], value_set=of_people)))
