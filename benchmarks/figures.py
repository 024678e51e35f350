"""The arithmetic: percentiles, ratios within a round, medians and spreads over rounds."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Spread(NamedTuple):
    """What several rounds came to."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def text(self) -> str:
        """The median, and in brackets the range, where there is one."""
        if self.rounds == 1:
            return number(self.median)
        return f"{number(self.median)} [{number(self.low)}-{number(self.high)}]"


def spread(values: Iterable[float]) -> Spread | None:
    """Return the median and the range of ``values``, or None where there are none."""
    found = sorted(values)
    if not found:
        return None
    return Spread(statistics.median(found), found[0], found[-1], len(found))


def percentile(values: Iterable[float], per_cent: float) -> float:
    """Return the smallest of ``values`` that at least ``per_cent`` of them do not exceed."""
    ordered = sorted(values)
    if not ordered:
        message = "there is no percentile of nothing"
        raise ValueError(message)
    rank = math.ceil(len(ordered) * per_cent / 100)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def ratios(
    over: Mapping[int, float], under: Mapping[int, float], *, lower_is_better: bool = False
) -> list[float]:
    """Divide round by round, leaving out the rounds that one of both lacks.

    Above 1 the first is better, whether more or less is.
    """
    both = sorted(over.keys() & under.keys())
    pairs = [(over[each], under[each]) for each in both]
    if lower_is_better:
        pairs = [(b, a) for a, b in pairs]
    return [a / b for a, b in pairs if b > 0]


def rotated(names: Sequence[str], number_of_round: int) -> list[str]:
    """Return ``names`` beginning with another one each round, so that no place is anybody's."""
    if not names:
        return []
    first = number_of_round % len(names)
    return [*names[first:], *names[:first]]


def number(value: float) -> str:
    """Write ``value`` with three digits that say something, and thousands set apart."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 3)}f}"
