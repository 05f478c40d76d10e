"""Robots' marks that can be relied on. Pure."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from .window import LoadableSpan


def unsure_hits(span: LoadableSpan) -> pa.Array:
    """Ids of hits that a request for a class returned and that may not be a robot's.

    The parameter is taken to mean "only hits of this class". It means something else, or the server
    does not know it, where a hit comes without a class as well, or for every class.

    Args:
        span: A complete span, its ids kept.

    Returns:
        Text; empty where one class alone was requested.
    """
    ids = {
        name: pa.chunked_array(part.facts.ids, pa.string()).combine_chunks()
        for name, part in span.parts.items()
    }
    unsure = [ids.pop("")] if "" in ids else []
    if len(ids) > 1:
        of_every_class, *others = ids.values()
        for other in others:
            of_every_class = of_every_class.filter(pc.is_in(of_every_class, value_set=other))
        unsure.append(of_every_class)
    return pa.concat_arrays(unsure) if unsure else pa.array([], pa.string())


def sure_marks(marks: pa.Table, unsure: pa.Array) -> pa.Table:
    """Robots' marks, without those of hits that may not be a robot's.

    Args:
        marks: Rows of ``events__robots``.
        unsure: See ``unsure_hits``.
    """
    return marks.filter(pc.invert(pc.is_in(marks["event_id"], value_set=unsure)))
