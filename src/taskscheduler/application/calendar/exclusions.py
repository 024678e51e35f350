"""What a schedule leaves out: days, moments, and the times that another rule means."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.application.calendar.cron import NICKNAMES, expression_of
from taskscheduler.application.calendar.rrule import rule_of
from taskscheduler.application.calendar.zones import zone_of
from taskscheduler.domain.errors import InvalidSchedule
from taskscheduler.domain.moment import parse_moment
from taskscheduler.domain.values import LATEST

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

    from taskscheduler.application.calendar.wall_clock import Walls

DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)
QUARTER: Final = timedelta(minutes=15)
"""No clocks change within one."""
SECOND: Final = timedelta(seconds=1)
LEFT_OUT_MAX: Final = 5_000
"""So many fires in a row may be left out, those of a whole day counting as one."""
DAYS: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:/(\d{4}-\d\d-\d\d))?")
BEGINS_A_DAY: Final = re.compile(r"\d{4}-\d\d-")
CRON_FIELDS: Final = 5
FORM: Final = (
    "give a day (2026-12-25), days (2026-12-24/2026-12-26), a moment with an offset, a cron "
    "expression or a recurrence rule (FREQ=…)"
)


class Days(NamedTuple):
    """All days from the first to the last."""

    first: date
    last: date

    def until(self, wall: datetime, at: datetime, zone: ZoneInfo) -> datetime | None:  # noqa: ARG002
        """Return the moment up to which all is left out if ``at`` is, when clocks show ``wall``."""
        if not self.first <= wall.date() <= self.last:
            return None
        return _midnight(self.last + DAY, zone)


class Moment(NamedTuple):
    """One moment."""

    moment: datetime

    def until(self, _wall: datetime, at: datetime, _zone: ZoneInfo) -> datetime | None:
        """See ``Days.until``."""
        return at if at == self.moment else None


class Times(NamedTuple):
    """The times that a rule means, each as long as ``unit``."""

    walls: Walls
    unit: timedelta

    def until(self, wall: datetime, at: datetime, zone: ZoneInfo) -> datetime | None:
        """See ``Days.until``."""
        if self.unit == DAY:
            asked = datetime.combine(wall, time())
        else:
            asked = wall.replace(second=0 if self.unit >= MINUTE else wall.second, microsecond=0)
        if next(self.walls(asked - SECOND), None) != asked:
            return None
        if self.unit == DAY:
            return _midnight(wall.date() + DAY, zone)
        span = self.unit / SECOND
        passed = at.timestamp() % span if self.unit > SECOND else 0
        return at if self.unit == SECOND else at + timedelta(seconds=span - passed)


class Exclusions:
    """All that one schedule leaves out."""

    def __init__(self, texts: Iterable[str], time_zone: str, anchor: datetime) -> None:
        """Read ``texts``; rules begin at the wall time ``anchor``. Raises InvalidSchedule."""
        self._zone = zone_of(time_zone)
        self._entries = [_read(text, time_zone, anchor) for text in texts]

    def until(self, at: datetime) -> datetime | None:
        """Return the moment up to which all is left out if a fire at ``at`` is, else None.

        A fire then may be there again; that at ``at`` itself is left out in any case.
        """
        wall = at.astimezone(self._zone).replace(tzinfo=None, fold=0)
        found = (entry.until(wall, at, self._zone) for entry in self._entries)
        return max((each for each in found if each is not None), default=None)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _read(text: str, time_zone: str, anchor: datetime) -> Days | Moment | Times:
    found = DAYS.fullmatch(text.strip())
    try:
        if found is not None:
            first = date.fromisoformat(found[1])
            last = date.fromisoformat(found[2]) if found[2] else first
            if last < first:
                raise InvalidSchedule("except", f"{text!r} ends before it begins")
            if last.year >= LATEST.year:
                raise InvalidSchedule("except", f"{text!r} is too late a day")
            return Days(first, last)
        if BEGINS_A_DAY.match(text.strip()):
            return Moment(parse_moment(text.strip()))
    except ValueError as error:
        raise InvalidSchedule("except", f"{text!r} is not understood ({error}): {FORM}") from None
    try:
        if "=" in text:
            rule = rule_of(text, time_zone, anchor)
            if rule.by_elapsed_time or rule.names_times:
                return Times(rule, SECOND)
            # What names no times of a day means whole days.
            return Times(rule_of(text, time_zone, datetime.combine(anchor, time())), DAY)
        expression = expression_of(text)
    except InvalidSchedule as error:
        raise InvalidSchedule("except", f"{error.reason}; {FORM}") from None
    return Times(expression, _unit_of(text))


def _unit_of(text: str) -> timedelta:
    """Return how long a time of a cron expression lasts: five fields mean whole minutes."""
    fields = NICKNAMES.get(text.strip().lower(), text).split()
    if len(fields) > CRON_FIELDS:
        return SECOND
    if fields[0] != "*":
        return MINUTE
    return DAY if fields[1] == "*" else QUARTER
