"""Recurrence rules of RFC 5545: which wall times they mean.

They are walked from near where they are asked for, in steps that are counted, so that no rule takes
long: libraries walk from a rule's beginning, and through 8,000 years if nothing fits it. The tests
compare with one.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, datetime, time, timedelta
from functools import cached_property, lru_cache
from itertools import islice, product
from typing import TYPE_CHECKING, Final

from taskscheduler.application.calendar.rrule_parts import SUB_DAILY, Parts, read
from taskscheduler.domain.errors import InvalidSchedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
STEPS: Final = {"DAILY": DAY, "HOURLY": HOUR, "MINUTELY": MINUTE, "SECONDLY": SECOND}
LAST: Final = datetime(9_000, 1, 1)  # noqa: DTZ001 - a wall time
TIMES_MAX: Final = 1_440
"""So many times a rule may name of one day."""
LOOKED_AT_MAX: Final = 20_000
"""After so many days, or moments, that do not fit, nothing is taken to follow: days of 54 years."""


class RecurrenceRule:
    """The wall times of a rule that begins at ``anchor``, a wall time too: see ``Walls``."""

    def __init__(self, text: str, time_zone: str, anchor: datetime) -> None:
        """Read ``text``. Raises InvalidSchedule."""
        self._parts = parts = read(text, time_zone)
        self._anchor = anchor
        self.by_elapsed_time = parts.frequency in SUB_DAILY
        """Whether it fires so often that it goes by elapsed time when clocks change."""
        self.names_times = any(parts.lists[name] for name in ("BYHOUR", "BYMINUTE", "BYSECOND"))
        """Whether it says at which times of a day."""
        unit = STEPS.get(parts.frequency, DAY)
        # What is not given is as the anchor has it, or whatever the steps lead to.
        self._hours = parts.lists["BYHOUR"] or _from(unit > HOUR, anchor.hour, 24)
        self._minutes = parts.lists["BYMINUTE"] or _from(unit > MINUTE, anchor.minute, 60)
        self._seconds = parts.lists["BYSECOND"] or _from(unit > SECOND, anchor.second, 60)
        self._days = DaysOf(parts, anchor)
        # Each day that fits is a day of the months: these are passed over faster.
        is_daily = (
            parts.frequency == "DAILY" and parts.interval == 1 and not parts.lists["BYSETPOS"]
        )
        self._unit = None if is_daily else STEPS.get(parts.frequency)
        times = len(self._hours) * len(self._minutes) * len(self._seconds)
        most = TIMES_MAX // 24 if parts.lists["BYSETPOS"] else TIMES_MAX
        if unit >= DAY and times > most:
            reason = f"names more than {most} times of a day: give it by FREQ=SECONDLY or by cron"
            raise InvalidSchedule("rrule", reason)

    def __call__(self, after: datetime) -> Iterator[datetime]:
        """See ``Walls``."""
        if self._parts.times is None:
            return self._walk(after)
        return islice(self._counted, bisect_right(self._counted, after), None)

    @cached_property
    def _counted(self) -> Sequence[datetime]:
        return list(islice(self._walk(self._anchor - SECOND), self._parts.times))

    def _walk(self, after: datetime) -> Iterator[datetime]:
        """Yield what comes after ``after``, until nothing has for too long."""
        after = max(after, self._anchor - SECOND).replace(microsecond=0)
        last = self._parts.until or LAST
        unit = self._unit
        sets = self._periods(after) if unit is None else self._steps(after, unit)
        looked_at = 0
        for wall in sets:
            if wall is None:
                looked_at += 1
                if looked_at > LOOKED_AT_MAX:
                    return
            elif wall > last:
                return
            elif wall > after:
                looked_at = 0
                yield wall

    def _periods(self, after: datetime) -> Iterator[datetime | None]:
        """Yield the times of one week, month or year after another; None for what does not fit."""
        for days in self._days.periods(after.date()):
            if not self._parts.lists["BYSETPOS"]:
                for day in days:
                    yield from (None,) if day is None else self._times(day)
                continue
            yield None
            walls = [wall for day in days if day is not None for wall in self._times(day)]
            yield from self._at_places(walls)

    def _times(self, day: date) -> Iterator[datetime]:
        for hour, minute, second in product(self._hours, self._minutes, self._seconds):
            yield datetime.combine(day, time(hour, minute, second))

    def _at_places(self, walls: Sequence[datetime]) -> Iterator[datetime]:
        places = {place - 1 if place > 0 else len(walls) + place for place in self._places}
        return (walls[place] for place in sorted(places) if 0 <= place < len(walls))

    @property
    def _places(self) -> Sequence[int]:
        return self._parts.lists["BYSETPOS"]

    def _steps(self, after: datetime, unit: timedelta) -> Iterator[datetime | None]:
        """Yield the times of one day, hour, minute or second after another, likewise."""
        step = self._parts.interval * unit
        first = self._anchor - (self._anchor - datetime.combine(self._anchor, time())) % unit
        at = first + max((after - first) // step, 0) * step
        while at < LAST:
            onward = self._onward(at, unit)
            if onward is not None:
                yield None
                at -= (at - onward) // step * step
                continue
            if unit == DAY:
                walls = self._times(at.date())
                yield from self._at_places(list(walls)) if self._places else walls
            else:
                for minute in self._minutes if unit == HOUR else (at.minute,):
                    for second in self._seconds if unit > SECOND else (at.second,):
                        yield at.replace(minute=minute, second=second)
            at += step

    def _onward(self, at: datetime, unit: timedelta) -> datetime | None:
        """Return the next moment that may fit if the one that begins at ``at`` does not."""
        if not self._days.fits(at.date()):
            return datetime.combine(self._days.following(at.date()), time())
        if unit < DAY and at.hour not in self._hours:
            return datetime.combine(at, time()) + _next(self._hours, at.hour, 24) * HOUR
        if unit < HOUR and at.minute not in self._minutes:
            return at.replace(minute=0, second=0) + _next(self._minutes, at.minute, 60) * MINUTE
        if unit < MINUTE and at.second not in self._seconds:
            return at.replace(second=0) + _next(self._seconds, at.second, 60) * SECOND
        return None


def _from(is_fixed: bool, number: int, many: int) -> Sequence[int]:  # noqa: FBT001
    return (number,) if is_fixed else range(many)


def _next(numbers: Sequence[int], number: int, beyond: int) -> int:
    place = bisect_right(numbers, number)
    return numbers[place] if place < len(numbers) else beyond


class DaysOf:
    """The days of a rule."""

    def __init__(self, parts: Parts, anchor: datetime) -> None:
        """Add to ``parts`` what follows from the anchor where no day is named."""
        self._parts = parts
        self._anchor = anchor.date()
        lists = parts.lists
        self._months = lists["BYMONTH"]
        self._month_days = frozenset(lists["BYMONTHDAY"])
        self._year_days = lists["BYYEARDAY"]
        self._weeks = lists["BYWEEKNO"]
        self._weekdays = frozenset(day for day, number in parts.weekdays if not number)
        self._nth = frozenset(each for each in parts.weekdays if each[1])
        named = parts.weekdays or self._month_days or self._year_days or self._weeks
        if not named and parts.frequency == "WEEKLY":
            self._weekdays = frozenset({anchor.weekday()})
        if not named and parts.frequency in {"MONTHLY", "YEARLY"}:
            self._month_days = frozenset({anchor.day})
            if parts.frequency == "YEARLY":
                self._months = self._months or [anchor.month]
        # The numbers of weekdays are those within the year, unless months are named.
        self._nth_in_year = parts.frequency == "YEARLY" and not lists["BYMONTH"]
        self._last: tuple[date, bool] | None = None

    def periods(self, after: date) -> Iterator[Iterator[date | None]]:
        """Yield the days of one period after another, from that of ``after`` on.

        None stands for a day that does not fit.
        """
        begin = self._begin(after)
        while begin.year < LAST.year - 100:  # no interval is longer
            yield self._within(begin, self._after(begin, 1))
            begin = self._after(begin, self._parts.interval)

    def _within(self, begin: date, end: date) -> Iterator[date | None]:
        """Yield the days of a span, month by month, and None for what does not fit."""
        while begin < end:
            following = _month_after(begin)
            if self._months and begin.month not in self._months:
                yield None
            else:
                for day in self._candidates(begin, min(following, end)):
                    yield day if self._fits(day) else None
            begin = following

    def _candidates(self, begin: date, end: date) -> Iterator[date]:
        """Yield the days from ``begin``, all of one month, that may fit."""
        length = (_month_after(begin) - DAY).day
        last = (end - DAY).day
        if self._month_days:
            days = sorted({day if day > 0 else length + 1 + day for day in self._month_days})
        elif self._weekdays or self._nth:
            weekdays = self._weekdays | {day for day, _ in self._nth}
            first = begin.weekday() - begin.day
            days = [day for day in range(begin.day, last + 1) if (first + day) % 7 in weekdays]
        else:
            days = range(begin.day, last + 1)
        return (begin.replace(day=day) for day in days if begin.day <= day <= last)

    def _begin(self, after: date) -> date:
        """Return where the period begins that ``after`` is in, or the one before that counts."""
        interval, anchor = self._parts.interval, self._anchor
        match self._parts.frequency:
            case "WEEKLY":
                first = anchor - (anchor.weekday() - self._parts.week_start) % 7 * DAY
                return first + max((after - first).days // (7 * interval), 0) * 7 * interval * DAY
            case "MONTHLY" | "DAILY":
                first = anchor.replace(day=1)
                months = (after.year - anchor.year) * 12 + after.month - anchor.month
                return self._after(first, max(months // interval, 0) * interval)
            case _:
                first = anchor.replace(month=1, day=1)
                years = after.year - anchor.year
                return self._after(first, max(years // interval, 0) * interval)

    def _after(self, begin: date, number: int) -> date:
        """Return where the period begins that is ``number`` after that of ``begin``."""
        match self._parts.frequency:
            case "WEEKLY":
                return begin + number * 7 * DAY
            case "MONTHLY" | "DAILY":
                month = begin.month - 1 + number
                return date(begin.year + month // 12, month % 12 + 1, 1)
            case _:
                return date(begin.year + number, 1, 1)

    def fits(self, day: date) -> bool:
        """Tell whether all lists that there are name ``day``."""
        if self._last is None or self._last[0] != day:
            self._last = day, self._fits(day)
        return self._last[1]

    def following(self, day: date) -> date:
        """Return the next day that may fit where ``day`` does not."""
        if self._months and day.month not in self._months:
            return _month_after(day)
        return day + DAY

    def _fits(self, day: date) -> bool:
        if self._months and day.month not in self._months:
            return False
        if self._weekdays or self._nth:
            weekday = day.weekday()
            if weekday not in self._weekdays and not self._is_nth(day, weekday):
                return False
        if self._month_days and self._month_days.isdisjoint(
            (day.day, (day - _month_after(day)).days)
        ):
            return False
        if self._year_days:
            first, end = date(day.year, 1, 1), date(day.year + 1, 1, 1)
            if not {(day - first).days + 1, (day - end).days} & set(self._year_days):
                return False
        return not self._weeks or self._is_in_weeks(day)

    def _is_nth(self, day: date, weekday: int) -> bool:
        if not self._nth:
            return False
        if self._nth_in_year:
            first, end = date(day.year, 1, 1), date(day.year + 1, 1, 1)
        else:
            first, end = day.replace(day=1), _month_after(day)
        number = (day - first).days // 7 + 1
        back = -(((end - day).days - 1) // 7 + 1)
        return (weekday, number) in self._nth or (weekday, back) in self._nth

    def _is_in_weeks(self, day: date) -> bool:
        """A week is of the year that has most of its days."""
        middle = day + (3 - (day.weekday() - self._parts.week_start) % 7) * DAY
        number = (middle - date(middle.year, 1, 1)).days // 7 + 1
        back = -(((date(middle.year + 1, 1, 1) - middle).days - 1) // 7 + 1)
        return number in self._weeks or back in self._weeks


def _month_after(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


@lru_cache(maxsize=1_024)
def rule_of(text: str, time_zone: str, anchor: datetime) -> RecurrenceRule:
    """Return what ``text`` means from ``anchor`` on. Raises InvalidSchedule."""
    return RecurrenceRule(text, time_zone, anchor)
