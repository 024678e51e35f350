"""When a schedule fires: what its cron expression, or its interval, means on its clocks.

Clocks that are put forward or back are treated as Debian's cron does it: what is to happen at a
wall time that is left out happens once right after the gap, what is to happen at one that comes
twice happens at the first. Expressions whose hour or minute begins with a star, and those with
seconds, go by elapsed time: what is left out does not happen, what comes twice happens twice. A
rule may say otherwise by ``gap`` and ``fold``. Intervals know no clocks.
"""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from taskscheduler.application.calendar.cron import expression_of
from taskscheduler.application.calendar.wall_clock import moments
from taskscheduler.application.calendar.zones import zone_of
from taskscheduler.domain.errors import InvalidSchedule
from taskscheduler.domain.rule import Fold, Gap
from taskscheduler.domain.values import EARLIEST, LATEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from taskscheduler.domain.rule import Rule

TICK: Final = timedelta(microseconds=1)
SECOND: Final = timedelta(seconds=1)


class Recurrence(Protocol):
    """The fires of a schedule that neither begins nor ends."""

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the fires after ``moment``, earliest first, in UTC."""
        ...


class Cron:
    """``Recurrence`` by a cron expression."""

    def __init__(
        self,
        expression: str,
        time_zone: str,
        *,
        gap: Gap | None = None,
        fold: Fold | None = None,
        field: str = "cron",
    ) -> None:
        """Read both; ``field`` is where the expression was given. Raises InvalidSchedule."""
        self._zone = zone_of(time_zone)
        try:
            self._walls = expression_of(expression)
        except InvalidSchedule as error:
            raise InvalidSchedule(field, error.reason) from None
        elapsed = self._walls.by_elapsed_time
        self._gap = gap or (Gap.SKIP if elapsed else Gap.AFTER)
        self._fold = fold or (Fold.BOTH if elapsed else Fold.FIRST)

    def after(self, moment: datetime) -> Iterator[datetime]:
        """See ``Recurrence.after``."""
        return moments(self._walls, self._zone, moment, gap=self._gap, fold=self._fold)


class Interval:
    """``Recurrence`` every so often: at ``anchor`` and whole multiples of ``every`` from there."""

    def __init__(self, every: timedelta, anchor: datetime) -> None:
        """Count from ``anchor``."""
        self._every = every
        self._anchor = anchor

    def after(self, moment: datetime) -> Iterator[datetime]:
        """See ``Recurrence.after``."""
        at = self._anchor + ((moment - self._anchor) // self._every + 1) * self._every
        while at < LATEST:
            yield at
            at += self._every


class Several:
    """``Recurrence`` by several of them; where they meet it fires once."""

    def __init__(self, recurrences: Sequence[Recurrence]) -> None:
        """Fire whenever one of ``recurrences`` does."""
        self._recurrences = recurrences

    def after(self, moment: datetime) -> Iterator[datetime]:
        """See ``Recurrence.after``."""
        told = moment
        for at in heapq.merge(*(each.after(moment) for each in self._recurrences)):
            if at > told:
                told = at
                yield at


def recurrence_of(rule: Rule, made_at: datetime) -> Recurrence:
    """Return what ``rule`` fires by. Raises InvalidSchedule."""
    if rule.every is not None:
        zone_of(rule.time_zone)
        return Interval(rule.every, rule.starts_at or made_at)
    recurrences = [
        Cron(
            text,
            rule.time_zone,
            gap=rule.gap,
            fold=rule.fold,
            field="cron" if text == rule.cron else "crons",
        )
        for text in rule.expressions
    ]
    return recurrences[0] if len(recurrences) == 1 else Several(recurrences)


class Timetable:
    """The fires of one schedule.

    Raises:
        InvalidSchedule: its cron expression or its time zone is none.
    """

    def __init__(self, rule: Rule, *, made_at: datetime, before: bool = False) -> None:
        """Read ``rule``, of a schedule that was made at ``made_at``.

        With ``before`` it tells of fires before then, too, unless ``starts_at`` forbids them.
        """
        self._first = rule.starts_at or (EARLIEST + TICK if before else made_at + TICK)
        self._last = rule.ends_at
        self._recurrence = recurrence_of(rule, made_at)

    def fires(self, moment: datetime) -> Iterator[datetime]:
        """Yield the fires after ``moment``, earliest first, in UTC; at times there are none."""
        for at in self._recurrence.after(max(moment, self._first - TICK)):
            if self._last is not None and at > self._last:
                return
            yield at

    def after(self, moment: datetime) -> datetime | None:
        """Return the first fire after ``moment``, or None."""
        return next(self.fires(moment), None)

    def latest(self, after: datetime, now: datetime) -> datetime | None:
        """Return the last fire after ``after`` and up to ``now``, or None.

        By halves, so that years of seconds are passed over in a few steps.
        """
        before, behind = after, now
        while behind - before > SECOND:
            middle = before + (behind - before) / 2
            at = self.after(middle)
            if at is not None and at <= now:
                before = middle
            else:
                behind = middle
        found: datetime | None = None
        for at in self.fires(before):
            if at > now:
                break
            found = at
        return found
