"""How the API may behave where the reference leaves it open: what the sandbox plays on request.

The defaults are what the connector assumes. In Python ``Variants(mixed_robots="left_out")``, on
the command line ``--variant mixed_robots=left_out``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints


@dataclass(frozen=True)
class Variants:
    """One choice for each open question.

    Attributes:
        mixed_robots: Whether operations without the ``classification`` parameter, the mixed ones
            above all, return robots' hits: ``included`` or ``left_out``.
    """

    mixed_robots: Literal["included", "left_out"] = "included"

    def __post_init__(self) -> None:
        """Checks the choices.

        Raises:
            ValueError: One is not among the values that the question has.
        """
        for name, values in _choices().items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"Variant {name}={getattr(self, name)!r} is none of {', '.join(values)}"
                )

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Variants:
        """Reads variants from texts such as ``mixed_robots=left_out``.

        Raises:
            ValueError: There is no such variant, or it has no such value.
        """
        chosen: dict[str, str] = {}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in _choices():
                raise ValueError(f"Variant {text!r}: the names are {', '.join(_choices())}")
            chosen[name] = value
        return cls(**chosen)  # type: ignore[arg-type]


def _choices() -> dict[str, tuple[str, ...]]:
    types = get_type_hints(Variants)
    return {field.name: get_args(types[field.name]) for field in fields(Variants)}
