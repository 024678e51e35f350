"""When a schedule fires: what its cron expression, or its interval, means on its clocks.

Clocks that are put forward or back are treated as Debian's cron does it, by ``cronsim``: what is
to happen at a wall time that is left out happens once right after the gap, what is to happen at
one that comes twice happens at the first; expressions whose hour or minute begins with a star, and
those with seconds, go by elapsed time. Intervals know no clocks.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from taskscheduler.domain.errors import InvalidSchedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskscheduler.domain.schedule import NewSchedule

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
OWN: Final = frozenset({"localtime", "posixrules"})
"""Files among the zones that are another zone on each machine."""
TICK: Final = timedelta(microseconds=1)
SECOND: Final = timedelta(seconds=1)


class Beat(Protocol):
    """The fires of a schedule that neither begins nor ends."""

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the fires after ``moment``, earliest first, in UTC."""
        ...


def zone_of(name: str) -> ZoneInfo:
    """Return the zone of that name. Raises what ``ZoneInfo`` does."""
    if name in OWN:
        raise ZoneInfoNotFoundError(name)
    return ZoneInfo(name)


class Cron:
    """``Beat`` by a cron expression."""

    def __init__(self, expression: str, time_zone: str) -> None:
        """Read both. Raises InvalidSchedule."""
        self._expression = NICKNAMES.get(expression.strip().lower(), expression)
        try:
            self._zone = zone_of(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            reason = f"{time_zone!r} is no IANA time zone, such as Europe/Berlin"
            raise InvalidSchedule("time_zone", reason) from None
        try:
            CronSim(self._expression, datetime.now(UTC))
        except CronSimError as error:
            reason = (
                f"{expression!r} is not understood ({str(error).lower()}): give five fields, "
                "minute hour day month weekday, or six with the seconds first, or one of "
                f"{', '.join(NICKNAMES)}"
            )
            raise InvalidSchedule("cron", reason) from None

    def after(self, moment: datetime) -> Iterator[datetime]:
        """See ``Beat.after``."""
        for fire in CronSim(self._expression, moment.astimezone(self._zone)):
            at = fire.astimezone(UTC)
            if at > moment:  # in an hour that comes twice, it counts from the first
                yield at


class Interval:
    """``Beat`` every so often: at ``anchor`` and whole multiples of ``every`` from there."""

    def __init__(self, every: timedelta, anchor: datetime) -> None:
        """Count from ``anchor``."""
        self._every = every
        self._anchor = anchor

    def after(self, moment: datetime) -> Iterator[datetime]:
        """See ``Beat.after``."""
        number = (moment - self._anchor) // self._every + 1
        while True:
            yield self._anchor + number * self._every
            number += 1


class Timetable:
    """The fires of one schedule.

    Raises:
        InvalidSchedule: its cron expression or its time zone is none.
    """

    def __init__(self, definition: NewSchedule, *, made_at: datetime) -> None:
        """Read ``definition``, of a schedule that was made at ``made_at``."""
        self._first = definition.starts_at or made_at + TICK
        self._last = definition.ends_at
        if definition.cron is not None:
            self._beat: Beat = Cron(definition.cron, definition.time_zone)
        else:
            assert definition.every is not None  # noqa: S101 - a definition has one of the two
            Cron("@daily", definition.time_zone)
            self._beat = Interval(definition.every, definition.starts_at or made_at)

    def fires(self, moment: datetime) -> Iterator[datetime]:
        """Yield the fires after ``moment``, earliest first, in UTC; at times there are none."""
        for at in self._beat.after(max(moment, self._first - TICK)):
            if self._last is not None and at > self._last:
                return
            yield at

    def after(self, moment: datetime) -> datetime | None:
        """Return the first fire after ``moment``, or None."""
        return next(self.fires(moment), None)

    def until(self, first: datetime, now: datetime, limit: int) -> list[datetime]:
        """Return the fires from ``first`` on, up to ``now`` included, at most ``limit``."""
        found: list[datetime] = []
        for at in islice(self.fires(first - TICK), limit):
            if at > now:
                break
            found.append(at)
        return found

    def latest(self, first: datetime, now: datetime) -> datetime:
        """Return the last fire up to ``now``, of those from ``first`` on, which is one of them.

        By halves, so that years of seconds are passed over in a few steps.
        """
        before, behind = first - TICK, now
        while behind - before > SECOND:
            middle = before + (behind - before) / 2
            at = self.after(middle)
            if at is not None and at <= now:
                before = middle
            else:
                behind = middle
        found = first
        for at in self.fires(before):
            if at > now:
                break
            found = at
        return found
