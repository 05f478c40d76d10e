"""How the API may behave where the reference leaves it open: what the sandbox plays on request.

The defaults are what the connector assumes. In Python ``Variants(mixed_robots="left_out")``, on
the command line ``--variant mixed_robots=left_out``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from .query import TDelay


@dataclass(frozen=True)
class Variants:
    """One choice for each open question, the default first.

    ===================  ===========================================================================
    name                 values
    ===================  ===========================================================================
    start_bound          ``inclusive``, ``exclusive``
    end_bound            ``exclusive``, ``inclusive``
    bounds_cut           ``none``; bounds are cut by ``second_down``, ``second_up`` or ``minute``
    numbers              a bound that is a number is ``ms``, ``s``, ``refused`` or ``ignored``
    offsets              of an ISO bound: ``honoured``, ``refused``, ``ignored``
    naive_bounds         an ISO bound without offset is ``utc`` or ``paris`` time
    default_span         what a request without a start returns: ``everything``, or the last ``day``
    reactivity_end       bounds ``reactions``, or ``activations`` as the reference's text has it
    mixed_sends          of a mixed ``/events`` operation: ``included``, ``left_out``
    mixed_robots         robots' hits of operations without ``classification``: ``included``,
                         ``left_out``
    robots_parameter     its name: ``classification``, ``classifications``, or ``neither``
    classified           with it hits ``of_the_class``, or ``all``
    default_robots       robots' hits without it: ``left_out``, ``shown``
    sort                 ``honoured``, ``ignored``, always ``ascending``
    row_cap              rows of a response at most; 0: no cap
    cap_said             that it was cut: ``no``, by a ``link`` header, by a ``total`` count
    unknown_ids          ``404``, ``empty`` (an array), ``400``
    error_body           ``empty``, ``json``, ``html``
    no_events            ``array``, ``204``, ``nothing`` (200 without a body)
    date                 the ``Date`` header: ``right``, ``none``, 5 minutes ``ahead``, ``behind``
    unconfirmed          operations of which only the title is known: ``there``, ``404``, ``405``,
                         ``403``, ``empty`` (an array, where 403 is meant)
    campaign_items       ``optional``, ``required``
    campaign_names       event types in the body: ``any``, or only the ``documented`` one
    selection            bounds act on an event's ``timestamp``, or on that of its ``activation``
    identity             of ``/reactivities``: the ``same`` events, or with other ``ids``,
                         ``timestamps`` or ``content``
    types                ``type`` of single-type operations: ``always``, ``left_out``
    stamps               of an execution: ``shared`` with its activation, its ``own``
    repeats              percent of the events that a response holds twice
    missing              percent of the events that a response lacks, others each time
    retention_days       days after which events are gone; 0: never
    batch_seconds        events can be read from the next multiple of so many seconds on; 0: at once
    delay                from its timestamp to when an event can be read: ``none``; ``constant``;
                         ``exponential``; all events of one hour in 24 (``batches``); nine days for
                         one event in a thousand (``nine_days``)
    delay_seconds        seconds of a constant delay, the mean of an exponential one, the longest
                         of a batch
    replica_seconds      every other response shows what could be read so many seconds ago
    vanishing            percent of the events that are gone a day after their timestamp
    moving               percent of the events that are dated a second later from the next day on
    whole_seconds        ``timestamp`` to the millisecond (``no``), or cut to the second (``yes``)
    too_large            a response of more than ``most_rows`` events: ``no``, ``413``, ``504``
    most_rows            see ``too_large``
    silent_minutes       minutes of each hour in which every response is an empty array
    unknown_types        percent of the events that have a type that no reference names
    unknown_paths        percent of the events that have a field that no reference names
    compression          gzip ``asked`` for, ``always``, ``never``
    ===================  ===========================================================================
    """

    start_bound: Literal["inclusive", "exclusive"] = "inclusive"
    end_bound: Literal["exclusive", "inclusive"] = "exclusive"
    bounds_cut: Literal["none", "second_down", "second_up", "minute"] = "none"
    numbers: Literal["ms", "s", "refused", "ignored"] = "ms"
    offsets: Literal["honoured", "refused", "ignored"] = "honoured"
    naive_bounds: Literal["utc", "paris"] = "utc"
    default_span: Literal["everything", "day"] = "everything"
    reactivity_end: Literal["reactions", "activations"] = "reactions"
    mixed_sends: Literal["included", "left_out"] = "included"
    mixed_robots: Literal["included", "left_out"] = "included"
    robots_parameter: Literal["classification", "classifications", "neither"] = "classification"
    classified: Literal["of_the_class", "all"] = "of_the_class"
    default_robots: Literal["left_out", "shown"] = "left_out"
    sort: Literal["honoured", "ignored", "ascending"] = "honoured"
    row_cap: int = 0
    cap_said: Literal["no", "link", "total"] = "no"
    unknown_ids: Literal["404", "empty", "400"] = "404"
    error_body: Literal["empty", "json", "html"] = "empty"
    no_events: Literal["array", "204", "nothing"] = "array"
    date: Literal["right", "none", "ahead", "behind"] = "right"
    unconfirmed: Literal["there", "404", "405", "403", "empty"] = "there"
    campaign_items: Literal["optional", "required"] = "optional"
    campaign_names: Literal["any", "documented"] = "any"
    selection: Literal["timestamp", "activation"] = "timestamp"
    identity: Literal["same", "ids", "timestamps", "content"] = "same"
    types: Literal["always", "left_out"] = "always"
    stamps: Literal["shared", "own"] = "shared"
    repeats: int = 0
    missing: int = 0
    retention_days: int = 0
    batch_seconds: int = 0
    delay: TDelay = "none"
    delay_seconds: int = 0
    replica_seconds: int = 0
    vanishing: int = 0
    moving: int = 0
    whole_seconds: Literal["no", "yes"] = "no"
    too_large: Literal["no", "413", "504"] = "no"
    most_rows: int = 0
    silent_minutes: int = 0
    unknown_types: int = 0
    unknown_paths: int = 0
    compression: Literal["asked", "always", "never"] = "asked"

    def __post_init__(self) -> None:
        """Checks the choices.

        Raises:
            ValueError: One is not among the values that the question has.
        """
        for name, values in choices().items():
            if not values and getattr(self, name) < 0:
                raise ValueError(f"Variant {name}={getattr(self, name)!r} is below 0")
            if values and getattr(self, name) not in values:
                raise ValueError(
                    f"Variant {name}={getattr(self, name)!r} is none of {', '.join(values)}"
                )

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Variants:
        """Reads variants from texts such as ``mixed_robots=left_out``.

        Raises:
            ValueError: There is no such variant, or it has no such value.
        """
        chosen: dict[str, str | int] = {}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in choices():
                raise ValueError(f"Variant {text!r}: the names are {', '.join(choices())}")
            if not choices()[name] and not value.isdecimal():
                raise ValueError(f"Variant {text!r}: a number is expected")
            chosen[name] = value if choices()[name] else int(value)
        return cls(**chosen)  # type: ignore[arg-type]


def choices() -> dict[str, tuple[str, ...]]:
    """The values of each variant, the default first; none for one that is a number."""
    types = get_type_hints(Variants)
    return {field.name: get_args(types[field.name]) for field in fields(Variants)}
