"""An oracle of schedules, which shares nothing with the program but the zones.

It walks through the minutes (for six fields, the seconds) around every change of clocks, looks at
what the wall clock shows, and does what Debian's cron does; it knows no cron library. What the
program says must be the same, for every expression below in every zone.

    python -m tests.oracle                          # all zones, all changes of ten years
    python -m tests.oracle --zone Europe/Berlin --years 2
    python -m tests.oracle --gap skip --fold second # the policies that a rule may ask for

It prints what differs, and ends with 1 if anything does.
"""

from __future__ import annotations

import argparse
import calendar
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache, partial
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.application.calendar.recurrence import Timetable
from taskscheduler.application.calendar.zones import VERSION, names, zone_of
from taskscheduler.domain.rule import Fold, Gap, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

FIRST_YEAR: Final = 2024
YEARS: Final = 10
HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)
SECOND: Final = timedelta(seconds=1)
SPARSE: Final = 26 * HOUR
DENSE: Final = 3 * HOUR
"""No zone changes by more than two hours in these years."""

SPARSE_EXPRESSIONS: Final = (
    *(f"{minute} {hour} * * *" for hour in range(5) for minute in (0, 15, 30, 59)),
    *(f"{minute} 23 * * *" for minute in (0, 30, 59)),
    "0 12 * * *",
    "0 0,1,2,3 * * *",
    "0,30 2,3 * * *",
    "15,45 0-3 * * *",
    "0-59/20 1-2 * * *",
    "10 0-23 * * *",
    "0 0-23/2 * * *",
    "5 1-23/2 * * *",
    "5-5/10 3-3/2 * * *",
    "59 0-4 * * *",
    "0 2 * * SUN",
    "30 2 * * SAT,SUN",
    "0 3 * * 0",
    "0 3 * * 7",
    "30 1 * * MON-FRI",
    "0 0 * * FRI",
    "30 0 * 3 *",
    "30 2 * 10,11 *",
    "0 2 * 3,9-12 SUN",
    "0 2 25-31 3 *",
    "0 2 1-7 * SUN",
    "30 1 1-7 4,10,11 SUN",
    "30 2 */2 * *",
    "30 2 * * */2",
    "45 1 */3 * */2",
    "0 0 1 * *",
    "30 0 L * *",
    "30 2 LW * *",
    "0 2 * * SUN#2",
    "0 1 * * SUN#1",
    "30 2 * * 7L",
    "0 1 * * 0L",
    "30 23 * * SAT",
    "45 23 28-31 * *",
    "0 0 1 1 *",
    "0 0 29 2 *",
    "0 0 1 4 *",
    "@daily",
    "@weekly",
    "@monthly",
    "@yearly",
    "20 4 1-15/2 * *",
    "1 0 * * THU,FRI,SAT,SUN",
)
DENSE_EXPRESSIONS: Final = (
    "* * * * *",
    "*/2 * * * *",
    "*/5 * * * *",
    "*/7 * * * *",
    "*/15 * * * *",
    "*/20 * * * *",
    "*/30 * * * *",
    "*/45 * * * *",
    "*/60 * * * *",
    "* 2 * * *",
    "* 0 * * *",
    "* 1,3 * * *",
    "*/10 0-4 * * *",
    "*/30 2 * * SUN",
    "*/13 23 * * *",
    "*/9 */2 * * *",
    "0 * * * *",
    "30 * * * *",
    "15,45 * * * *",
    "59 * * * *",
    "10-50/10 * * * *",
    "7-7/3 * * * *",
    "0 */2 * * *",
    "30 */3 * * *",
    "0 */24 * * *",
    "0 * * * SUN",
    "0 * 1-7 * *",
    "0 * L * *",
    "5 * * * MON#1",
    "0-59 * * * *",
    "0-59 0-23 * * *",
    "1-59/2 1-3 * * *",
    "@hourly",
)
SECONDS_EXPRESSIONS: Final = (
    "0 30 2 * * *",
    "0 0 0 * * *",
    "30 0 3 * * *",
    "59 59 1 * * *",
    "0,30 */10 * * * *",
    "*/15 59 0-3 * * *",
    "*/45 0 * * * *",
    "0 */30 * * * SUN",
)
EXPRESSIONS: Final = SPARSE_EXPRESSIONS + DENSE_EXPRESSIONS + SECONDS_EXPRESSIONS

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}
BOUNDS: Final = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class Change(NamedTuple):
    """A change of clocks."""

    at: datetime
    old: timedelta
    new: timedelta


@dataclass(frozen=True)
class Spec:
    """An expression, read in the plainest way."""

    text: str
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    days: str
    weekdays: str
    by_elapsed_time: bool

    def shows(self, wall: datetime) -> bool:
        """Tell whether the clock shows what the expression asks for."""
        return (
            wall.second in self.seconds
            and wall.minute in self.minutes
            and wall.hour in self.hours
            and wall.month in self.months
            and _day(self.days, self.weekdays, wall.date())
        )


@cache
def spec_of(text: str) -> Spec:
    """Read ``text``."""
    fields = NICKNAMES.get(text, text).split()
    has_seconds = len(fields) == len(BOUNDS)
    if not has_seconds:
        fields.insert(0, "0")
    return Spec(
        text,
        _numbers(fields[0], *BOUNDS[0]),
        _numbers(fields[1], *BOUNDS[1]),
        _numbers(fields[2], *BOUNDS[2]),
        _numbers(fields[4], *BOUNDS[4]),
        fields[3],
        fields[5],
        has_seconds or "*" in (fields[1][0], fields[2][0]),
    )


def _numbers(field: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return frozenset(found)


@cache
def _day(days: str, weekdays: str, day: date) -> bool:
    of_month = any(_of_month(term, day) for term in days.split(","))
    of_week = any(_of_week(term, day) for term in weekdays.split(","))
    if days.startswith("*") or weekdays.startswith("*"):
        return of_month and of_week
    return of_month or of_week


def _of_month(term: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    if term == "L":
        return day.day == last
    if term == "LW":
        return day.weekday() < 5 and all(
            date(day.year, day.month, later).weekday() > 4 for later in range(day.day + 1, last + 1)
        )
    return day.day in _numbers(term, 1, 31)


def _of_week(term: str, day: date) -> bool:
    for number, name in enumerate(DAYS):
        term = term.replace(name, str(number))
    number = day.isoweekday() % 7
    if term.endswith("L"):
        last = calendar.monthrange(day.year, day.month)[1]
        return number == int(term[:-1]) % 7 and day.day > last - 7
    if "#" in term:
        wanted, _, nth = term.partition("#")
        return number == int(wanted) % 7 and (day.day - 1) // 7 + 1 == int(nth)
    return not {number, number + 7 if number == 0 else number}.isdisjoint(_numbers(term, 0, 7))


class Window(NamedTuple):
    """The time around a change: each moment, what the clock shows, which time it shows that."""

    moments: Sequence[datetime]
    walls: Sequence[datetime]
    passes: Sequence[int]
    comes_again: Sequence[bool]


@lru_cache(maxsize=8)
def window(change: Change, reach: timedelta, step: timedelta) -> Window:
    """Walk from ``reach`` before ``change`` until as long after it."""
    first = (change.at - reach).replace(second=0)
    moments = [first + number * step for number in range(int(2 * reach / step))]
    walls = [
        (at + (change.old if at < change.at else change.new)).replace(tzinfo=None) for at in moments
    ]
    if change.new > change.old:
        return Window(moments, walls, [1] * len(walls), [False] * len(walls))
    passed: Counter[datetime] = Counter()
    passes: list[int] = []
    for wall in walls:
        passed[wall] += 1
        passes.append(passed[wall])
    again = [number < passed[wall] for number, wall in zip(passes, walls, strict=True)]
    return Window(moments, walls, passes, again)


@lru_cache(maxsize=200_000)  # many zones change together
def told(
    spec: Spec, change: Change, reach: timedelta, step: timedelta, gap: Gap, fold: Fold
) -> list[datetime]:
    """Return when a job of ``spec`` begins near ``change``, by walking through the time."""
    moments, walls, passes, again = window(change, reach, step)
    found: set[datetime] = set()
    for at, wall, number, comes_again in zip(moments, walls, passes, again, strict=True):
        if spec.shows(wall) and (
            fold is Fold.BOTH or (number == 1 if fold is Fold.FIRST else not comes_again)
        ):
            found.add(at)
    if gap is Gap.AFTER:
        left_out = (change.at + change.old).replace(tzinfo=None)
        while left_out < (change.at + change.new).replace(tzinfo=None):
            if spec.shows(left_out):
                found.add(change.at)
            left_out += step
    return sorted(found)


def changes(zone: ZoneInfo, first: datetime, last: datetime) -> Iterator[Change]:
    """Yield the changes of clocks of ``zone``, found by looking at every hour."""
    at = first
    old = _offset(zone, at)
    while at < last:
        new = _offset(zone, at + HOUR)
        if new != old:
            low, high = at, at + HOUR
            while high - low > SECOND:
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                if _offset(zone, middle) == old:
                    low = middle
                else:
                    high = middle
            yield Change(high, old, new)
        at, old = at + HOUR, new


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def compared(
    name: str,
    expressions: Sequence[str] = EXPRESSIONS,
    *,
    first_year: int = FIRST_YEAR,
    years: int = YEARS,
    gap: Gap | None = None,
    fold: Fold | None = None,
) -> tuple[int, list[str]]:
    """Return how many windows of the zone were looked at, and what differs in which."""
    begin = datetime(first_year, 1, 1, tzinfo=UTC)
    end = datetime(first_year + years, 1, 1, tzinfo=UTC)
    looked_at = 0
    wrong: list[str] = []
    for change in changes(zone_of(name), begin, end):
        for text in expressions:
            spec = spec_of(text)
            step = SECOND if spec.text in SECONDS_EXPRESSIONS else MINUTE
            reach = SPARSE if spec.text in SPARSE_EXPRESSIONS else DENSE
            expected = told(
                spec,
                change,
                reach,
                step,
                gap or (Gap.SKIP if spec.by_elapsed_time else Gap.AFTER),
                fold or (Fold.BOTH if spec.by_elapsed_time else Fold.FIRST),
            )
            begin_at, *_, last = window(change, reach, step).moments
            rule = Rule(cron=text, time_zone=name, gap=gap, fold=fold)
            table = Timetable(rule, made_at=begin_at - timedelta(days=400))
            found = list(takewhile(partial(_until, last), table.fires(begin_at - SECOND)))
            looked_at += 1
            if found != expected:
                strange = sorted(set(found) ^ set(expected)) or [last]
                wrong.append(f"{name} {text!r} at {change.at:%F %T}: {strange[0]:%F %T} …")
    return looked_at, wrong


def _until(last: datetime, at: datetime) -> bool:
    return at <= last


def main() -> int:
    """Compare, print what differs, return how the process is to end."""
    parser = argparse.ArgumentParser(description="Compare schedules with a walk through the time.")
    parser.add_argument("--zone", action="append", help="a zone; may be repeated; by default all")
    parser.add_argument("--first-year", type=int, default=FIRST_YEAR)
    parser.add_argument("--years", type=int, default=YEARS)
    parser.add_argument("--gap", type=Gap, choices=list(Gap))
    parser.add_argument("--fold", type=Fold, choices=list(Fold))
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    given = parser.parse_args()
    one = partial(
        compared,
        first_year=given.first_year,
        years=given.years,
        gap=given.gap,
        fold=given.fold,
    )
    zones = sorted(given.zone or names())
    windows = differ = 0
    with ProcessPoolExecutor(given.jobs) as pool:
        for done, (looked_at, wrong) in enumerate(pool.map(one, zones), 1):
            windows += looked_at
            differ += len(wrong)
            for line in wrong[:10]:
                print(line)
            if sys.stderr.isatty():
                print(f"\r{done} of {len(zones)} zones", end="", file=sys.stderr)
    print(
        f"{windows:,} windows of {len(zones)} zones (tzdata {VERSION}), "
        f"{len(EXPRESSIONS)} expressions: {differ} wrong"
    )
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
