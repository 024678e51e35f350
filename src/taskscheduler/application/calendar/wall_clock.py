"""From wall times to moments: what the clocks of a zone show, and when they show it.

Whoever knows calendars yields wall times without a zone. Here each is given its moment: one, none
where the clocks are put forward past it, two where they are put back over it. ``Gap`` and ``Fold``
say what is to become of these.
"""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from taskscheduler.domain.rule import Fold, Gap
from taskscheduler.domain.values import LATEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

SECOND: Final = timedelta(seconds=1)
BARREN_YEARS_MAX: Final = 50
"""What has not fired for so long never will: the 29th of February on a given day of the week comes
every 28 years, and once in 40 around a year such as 2100."""


class Walls(Protocol):
    """A calendar's wall times."""

    def __call__(self, after: datetime) -> Iterator[datetime]:
        """Yield the wall times later than ``after``, in order, in whole seconds, naive."""
        ...


def moments(
    walls: Walls, zone: ZoneInfo, after: datetime, *, gap: Gap, fold: Fold
) -> Iterator[datetime]:
    """Yield the moments of ``walls`` after ``after``, in UTC, in order, each once.

    It ends with the year 9000, or where nothing was found for ``BARREN_YEARS_MAX`` years.
    """
    begin = _begin(zone, after, fold)
    told = after
    waiting: list[datetime] = []  # second passes, which later first passes may precede
    last_year = begin.year + BARREN_YEARS_MAX
    coming = walls(begin)
    while (wall := next(coming, None)) is not None:
        if wall.year > last_year or wall.year >= LATEST.year:
            break
        first, second = _passes(zone, wall)
        if first > second:  # left out
            change = _change(zone, second, first)
            if gap is Gap.SKIP:
                coming = walls(_wall(zone, change) - SECOND)
                continue
            first = second = change
        # No later wall time comes before the first pass of this one.
        if fold is Fold.FIRST or first == second:
            heapq.heappush(waiting, first)
        else:
            for moment in (first, second) if fold is Fold.BOTH else (second,):
                heapq.heappush(waiting, moment)
        while waiting and waiting[0] <= first:
            if (moment := heapq.heappop(waiting)) > told:
                told = moment
                last_year = wall.year + BARREN_YEARS_MAX
                yield moment
    for moment in sorted({each for each in waiting if each > told}):
        yield moment


def _begin(zone: ZoneInfo, after: datetime, fold: Fold) -> datetime:
    """Return a wall time such that all moments later than ``after`` belong to later ones."""
    wall = _wall(zone, after)
    if fold is Fold.FIRST:
        return wall
    first, second = _passes(zone, wall)
    if first >= second:
        return wall
    # In a fold: wall times before this one have a second pass to come.
    return _wall(zone, _change(zone, first, second)) - SECOND


def _wall(zone: ZoneInfo, moment: datetime) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _passes(zone: ZoneInfo, wall: datetime) -> tuple[datetime, datetime]:
    """Return when the clocks show ``wall``, by the offset before a change and by that after it.

    They are the same but near a change: the first is the earlier one in a fold, the later one in a
    gap, where neither shows it.
    """
    first = wall.replace(tzinfo=zone).astimezone(UTC)
    return first, wall.replace(tzinfo=zone, fold=1).astimezone(UTC)


def _change(zone: ZoneInfo, before: datetime, behind: datetime) -> datetime:
    """Return the moment of the change that lies after ``before`` and not after ``behind``."""
    old = before.astimezone(zone).utcoffset()
    low, high = 0, int((behind - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if (before + middle * SECOND).astimezone(zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return before + high * SECOND
