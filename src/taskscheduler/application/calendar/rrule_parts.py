"""Recurrence rules of RFC 5545: what they are made of, and which make sense."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.application.calendar.zones import zone_of
from taskscheduler.domain.errors import InvalidSchedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
SUB_DAILY: Final = frozenset({"HOURLY", "MINUTELY", "SECONDLY"})
INTERVALS_MAX: Final = {
    "YEARLY": 50,
    "MONTHLY": 600,
    "WEEKLY": 2_600,
    "DAILY": 18_250,
    "HOURLY": 8_784,
    "MINUTELY": 527_040,
    "SECONDLY": 31_622_400,
}
COUNT_MAX: Final = 10_000
BOUNDS: Final[Mapping[str, tuple[int, int, bool]]] = {
    "BYSECOND": (0, 59, False),
    "BYMINUTE": (0, 59, False),
    "BYHOUR": (0, 23, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYMONTH": (1, 12, False),
    "BYSETPOS": (1, 366, True),
}
"""The least and the greatest number of each list, and whether it may be counted from the end."""
WHERE: Final = {
    "BYMONTHDAY": {"WEEKLY"},
    "BYYEARDAY": {"DAILY", "WEEKLY", "MONTHLY"},
    "BYWEEKNO": INTERVALS_MAX.keys() - {"YEARLY"},
    "BYSETPOS": SUB_DAILY,
}
"""Which lists mean nothing with which frequencies."""
ORDINAL_DAY: Final = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
NUMBER: Final = re.compile(r"[+-]?[0-9]{1,8}")
UNTIL: Final = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?")
FORM: Final = "give a rule of RFC 5545, such as FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9;BYMINUTE=0"


class Parts(NamedTuple):
    """A rule that was read; an empty list stands for one that was not given.

    Each of ``weekdays`` has its number within the month or the year, 0 for all of them.
    """

    frequency: str
    interval: int
    times: int | None
    until: datetime | None
    week_start: int
    lists: Mapping[str, Sequence[int]]
    weekdays: Sequence[tuple[int, int]]


def _require(holds: object, reason: str) -> None:
    if not holds:
        raise InvalidSchedule("rrule", f"{reason}: {FORM}")


def read(text: str, time_zone: str) -> Parts:
    """Take ``text`` apart. Raises InvalidSchedule."""
    given = _given(text)
    frequency = given.get("FREQ", "")
    _require(frequency in INTERVALS_MAX, f"FREQ must be one of {', '.join(INTERVALS_MAX)}")
    lists = {name: _numbers(name, given.get(name)) for name in BOUNDS}
    weekdays = [_weekday(each) for each in given["BYDAY"].split(",")] if "BYDAY" in given else []
    _require_sense(given, frequency, lists, weekdays)
    times = given.get("COUNT")
    return Parts(
        frequency,
        _number("INTERVAL", given.get("INTERVAL", "1"), 1, INTERVALS_MAX[frequency]),
        None if times is None else _number("COUNT", times, 1, COUNT_MAX),
        _until(given["UNTIL"], time_zone) if "UNTIL" in given else None,
        DAYS.index(given.get("WKST", "MO")),
        lists,
        weekdays,
    )


def _given(text: str) -> dict[str, str]:
    rule = text.strip().upper()
    if rule.startswith("DTSTART"):
        reason = "must not have a DTSTART: that is starts_at, on the clocks of time_zone"
        raise InvalidSchedule("rrule", reason)
    found: dict[str, str] = {}
    for part in rule.removeprefix("RRULE:").rstrip(";").split(";"):
        name, equals, value = part.partition("=")
        known = equals and name in NAMES and name not in found
        _require(known, f"{part!r} is not understood, or given twice")
        found[name] = value
    return found


def _require_sense(
    given: Mapping[str, str],
    frequency: str,
    lists: Mapping[str, Sequence[int]],
    weekdays: Sequence[tuple[int, int]],
) -> None:
    _require(not {"COUNT", "UNTIL"} <= given.keys(), "COUNT and UNTIL exclude each other")
    for name, frequencies in WHERE.items():
        fits = not lists[name] or frequency not in frequencies
        _require(fits, f"{name} means nothing with FREQ={frequency}")
    others = any(name.startswith("BY") for name in given if name != "BYSETPOS")
    _require(others or not lists["BYSETPOS"], "BYSETPOS means nothing without another list")
    counted = any(number for _, number in weekdays)
    may_be = frequency in {"MONTHLY", "YEARLY"} and not lists["BYWEEKNO"]
    reason = "BYDAY may have numbers with FREQ=MONTHLY, or YEARLY without BYWEEKNO"
    _require(may_be or not counted, reason)
    _require(given.get("WKST", "MO") in DAYS, "WKST must be a day, such as MO")


def _number(name: str, text: str, low: int, high: int) -> int:
    fits = NUMBER.fullmatch(text) is not None and low <= int(text) <= high
    _require(fits, f"{name} must be {low} to {high}")
    return int(text)


def _numbers(name: str, text: str | None) -> list[int]:
    low, high, from_end = BOUNDS[name]
    found: set[int] = set()
    for each in () if text is None else text.split(","):
        is_back = from_end and each.startswith("-")
        number = _number(name, each[1:] if is_back else each, low, high)
        found.add(-number if is_back else number)
    return sorted(found)


def _weekday(text: str) -> tuple[int, int]:
    found = ORDINAL_DAY.fullmatch(text)
    number = 0 if found is None else int(found[1] or 0)
    fits = found is not None and (found[1] is None or 1 <= abs(number) <= BOUNDS["BYWEEKNO"][1])
    _require(fits, f"BYDAY must be days such as MO or -1FR, not {text!r}")
    return DAYS.index(text[-2:]), number


def _until(text: str, time_zone: str) -> datetime:
    """Return the last wall time that counts; of a day alone all of it does."""
    found = UNTIL.fullmatch(text)
    moment: datetime | None = None
    try:
        if found is not None:
            digits = f"{found[1]}{found[2] or '235959'}"
            moment = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
            if found[3]:
                moment = moment.astimezone(zone_of(time_zone))
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        reason = f"UNTIL must be such as 20301231 or 20301231T090000Z: {FORM}"
        raise InvalidSchedule("rrule", reason)
    return moment.replace(tzinfo=None, fold=0)


NAMES: Final = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *BOUNDS})
