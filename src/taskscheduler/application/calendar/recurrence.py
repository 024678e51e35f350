"""When a schedule fires: what its cron expression, or its interval, means on its clocks.

Clocks that are put forward or back are treated as Debian's cron does it: what is to happen at a
wall time that is left out happens once right after the gap, what is to happen at one that comes
twice happens at the first. Expressions whose hour or minute begins with a star, and those with
seconds, go by elapsed time: what is left out does not happen, what comes twice happens twice. A
rule may say otherwise by ``gap`` and ``fold``. Intervals know no clocks. Recurrence rules that go
by hours, minutes or seconds go by elapsed time, too; they begin with ``starts_at``, or else when
the schedule was made.
"""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from taskscheduler.application.calendar.cron import Expression, expression_of
from taskscheduler.application.calendar.exclusions import LEFT_OUT_MAX, Exclusions
from taskscheduler.application.calendar.rrule import rule_of
from taskscheduler.application.calendar.wall_clock import Walls, moments
from taskscheduler.application.calendar.zones import zone_of
from taskscheduler.domain.errors import InvalidSchedule
from taskscheduler.domain.rule import Fold, Gap
from taskscheduler.domain.values import EARLIEST, LATEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

    from taskscheduler.domain.rule import Rule

TICK: Final = timedelta(microseconds=1)
SECOND: Final = timedelta(seconds=1)


class OnWalls(Walls, Protocol):
    """Wall times that know whether they go by elapsed time when clocks change."""

    by_elapsed_time: bool


class Recurrence(Protocol):
    """The fires of a schedule that neither begins nor ends."""

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the fires after ``moment``, earliest first, in UTC."""
        ...


class OnClocks:
    """``Recurrence`` by wall times on the clocks of a zone."""

    def __init__(
        self, walls: OnWalls, zone: ZoneInfo, *, gap: Gap | None = None, fold: Fold | None = None
    ) -> None:
        """Map ``walls`` by the policies that are given, or else by what they are."""
        self._zone = zone
        self._walls = walls
        self._gap = gap or (Gap.SKIP if walls.by_elapsed_time else Gap.AFTER)
        self._fold = fold or (Fold.BOTH if walls.by_elapsed_time else Fold.FIRST)

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
    zone = zone_of(rule.time_zone)
    if rule.every is not None:
        return Interval(rule.every, rule.starts_at or made_at)
    walls: list[OnWalls] = [_cron(text, rule) for text in rule.expressions]
    if rule.rrule is not None:
        walls.append(rule_of(rule.rrule, rule.time_zone, anchor_of(rule, made_at)))
    recurrences = [OnClocks(each, zone, gap=rule.gap, fold=rule.fold) for each in walls]
    return recurrences[0] if len(recurrences) == 1 else Several(recurrences)


def _cron(text: str, rule: Rule) -> Expression:
    try:
        return expression_of(text)
    except InvalidSchedule as error:
        field = "cron" if text == rule.cron else "crons"
        raise InvalidSchedule(field, error.reason) from None


def anchor_of(rule: Rule, made_at: datetime) -> datetime:
    """Return the wall time at which recurrence rules begin: the first that may fire."""
    first = rule.starts_at or made_at + TICK
    wall = first.astimezone(zone_of(rule.time_zone)).replace(tzinfo=None, fold=0)
    whole = wall.replace(microsecond=0)
    return whole if whole == wall else whole + SECOND


class Timetable:
    """The fires of one schedule.

    Raises:
        InvalidSchedule: its rule, its time zone or what it leaves out is not understood.
    """

    def __init__(self, rule: Rule, *, made_at: datetime, before: bool = False) -> None:
        """Read ``rule``, of a schedule that was made at ``made_at``.

        With ``before`` it tells of fires before then, too, unless ``starts_at`` forbids them.
        """
        self._first = rule.starts_at or (EARLIEST + TICK if before else made_at + TICK)
        self._last = rule.ends_at
        self._recurrence = recurrence_of(rule, made_at)
        self._exclusions = (
            Exclusions(rule.except_, rule.time_zone, anchor_of(rule, made_at))
            if rule.except_
            else None
        )

    def fires(self, moment: datetime) -> Iterator[datetime]:
        """Yield the fires after ``moment``, earliest first, in UTC; at times there are none.

        Raises:
            InvalidSchedule: too many in a row are left out.
        """
        coming = self._recurrence.after(max(moment, self._first - TICK))
        left_out = 0
        while (at := next(coming, None)) is not None:
            if self._last is not None and at > self._last:
                return
            until = None if self._exclusions is None else self._exclusions.until(at)
            if until is None:
                left_out = 0
                yield at
                continue
            left_out += 1
            if left_out > LEFT_OUT_MAX:
                reason = f"leaves out more than {LEFT_OUT_MAX} fires in a row"
                raise InvalidSchedule("except", reason)
            if until > at + SECOND:
                coming = self._recurrence.after(until - TICK)

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
