"""What figures must be, and when they can be judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

# Other processes that keep more cores busy than this make the figures no evidence.
DISTURBED_CORES = 0.15


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure must be: at least (or at most) this."""

    side: Literal[">=", "<="]
    value: float

    def __str__(self) -> str:
        return f"{self.side} {self.value:g}"

    def holds(self, figure: float | None) -> bool:
        """Whether there is a figure, on the right side."""
        if figure is None:
            return False
        return figure >= self.value if self.side == ">=" else figure <= self.value


def head(
    figures: Mapping[str, float | None], bounds: Mapping[str, Bound], met: Callable[[str], bool | None]
) -> dict[str, Any]:
    """How a run's file begins: the rounded figures, then what became of those that have a bound."""
    return {
        **{name: None if value is None else round(value, 3) for name, value in figures.items()},
        "bounds": {name: {"bound": str(bound), "met": met(name)} for name, bound in bounds.items()},
    }
