"""Recurrence rules: against a library on what both can do, and within bounds on what it cannot."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskscheduler.application.calendar.rrule import RecurrenceRule
from taskscheduler.domain.errors import InvalidSchedule

ANCHOR = datetime(2026, 3, 1, 12, 0, 1)  # noqa: DTZ001 - a wall time
SECOND = timedelta(seconds=1)
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
SPANS = {
    "YEARLY": timedelta(days=366 * 12),
    "MONTHLY": timedelta(days=366 * 4),
    "WEEKLY": timedelta(days=700),
    "DAILY": timedelta(days=400),
    "HOURLY": timedelta(days=21),
    "MINUTELY": timedelta(hours=30),
    "SECONDLY": timedelta(minutes=40),
}


def walls(text: str, after: datetime = ANCHOR, count: int = 3) -> list[str]:
    found = RecurrenceRule(text, "UTC", ANCHOR)(after - timedelta(seconds=1))
    return [wall.isoformat(" ") for wall in islice(found, count)]


def some(numbers: Any, most: int = 3) -> Any:
    return st.lists(numbers, min_size=1, max_size=most, unique=True)


def signed(most: int) -> Any:
    return st.integers(-most, most).filter(bool)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Return a rule that dateutil walks in a short time."""
    frequency = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY"]))
    by_days = frequency in {"YEARLY", "MONTHLY", "WEEKLY", "DAILY"}
    parts = {"FREQ": frequency, "INTERVAL": str(draw(st.integers(1, 5)))}

    def maybe(name: str, numbers: Any) -> None:
        if draw(st.integers(0, 3)) == 0:
            parts[name] = ",".join(map(str, draw(some(numbers))))

    maybe("BYMONTH", st.integers(1, 12))
    if frequency != "WEEKLY":
        maybe("BYMONTHDAY", signed(31))
    if frequency == "YEARLY":
        maybe("BYYEARDAY", signed(366))
        maybe("BYWEEKNO", signed(53))
    if draw(st.integers(0, 2)) == 0:
        days = st.sampled_from(DAYS)
        if frequency in {"YEARLY", "MONTHLY"} and "BYWEEKNO" not in parts:
            most = 5 if frequency == "MONTHLY" or "BYMONTH" in parts else 53
            # Of plain days beside numbered ones the library leaves out the plain.
            numbered = draw(st.booleans())
            numbers = signed(most).map(str) if numbered else st.just("")
            days = st.tuples(numbers, st.sampled_from(DAYS)).map("".join)
        parts["BYDAY"] = ",".join(draw(some(days)))
    maybe("BYHOUR", st.integers(0, 23))
    maybe("BYMINUTE", st.integers(0, 59))
    maybe("BYSECOND", st.integers(0, 59))
    if by_days and len(parts) > 2 and draw(st.integers(0, 3)) == 0:
        parts["BYSETPOS"] = ",".join(map(str, draw(some(signed(4)))))
    if draw(st.integers(0, 3)) == 0:
        parts["WKST"] = draw(st.sampled_from(DAYS))
    if draw(st.integers(0, 4)) == 0:
        parts["COUNT"] = str(draw(st.integers(1, 9)))
    return ";".join(f"{name}={value}" for name, value in parts.items())


@settings(max_examples=80, deadline=None, derandomize=True)
@given(text=rules(), minutes=st.integers(0, 600_000), hour=st.integers(0, 23))
def test_it_means_what_a_library_makes_of_it(text: str, minutes: int, hour: int):
    anchor = ANCHOR.replace(hour=hour) + timedelta(days=minutes % 400)
    span = SPANS[text.partition(";")[0].removeprefix("FREQ=")]
    end = anchor + span
    rule = RecurrenceRule(text, "UTC", anchor)
    found = list(takewhile(lambda at: at <= end, rule(anchor - SECOND)))
    # Where nothing follows soon the library looks for it through 8,000 years.
    following = next(rule(end), None)
    soon = following is not None and following <= end + span
    assume(soon or f"COUNT={len(found)}" in text.split(";"))
    library: Any = rrulestr(text, dtstart=anchor)
    walls: list[datetime] = list(takewhile(end.__ge__, library))
    assert found == walls, text
    begin = anchor + timedelta(minutes=minutes) % span
    late = list(takewhile(lambda at: at <= end, rule(begin)))
    assert late == [at for at in found if at > begin]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=DAILY", ["2026-03-01 12:00:01", "2026-03-02 12:00:01", "2026-03-03 12:00:01"]),
        ("RRULE:FREQ=DAILY;COUNT=2", ["2026-03-01 12:00:01", "2026-03-02 12:00:01"]),
        (" freq=daily;until=20260302; ", ["2026-03-01 12:00:01", "2026-03-02 12:00:01"]),
        ("FREQ=DAILY;UNTIL=20260302T120000", ["2026-03-01 12:00:01"]),
        ("FREQ=DAILY;UNTIL=20260302T120001Z", ["2026-03-01 12:00:01", "2026-03-02 12:00:01"]),
        (
            "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
            ["2026-03-27 09:00:00", "2026-04-24 09:00:00", "2026-05-29 09:00:00"],
        ),
        (
            "FREQ=SECONDLY;INTERVAL=20",
            ["2026-03-01 12:00:01", "2026-03-01 12:00:21", "2026-03-01 12:00:41"],
        ),
    ],
)
def test_what_a_rule_means(text: str, expected: list[str]):
    assert walls(text) == expected


def test_an_end_is_on_the_clocks_of_the_zone():
    rule = RecurrenceRule("FREQ=DAILY;UNTIL=20260302T120001Z", "Asia/Kolkata", ANCHOR)
    assert len(list(rule(ANCHOR - timedelta(seconds=1)))) == 2
    rule = RecurrenceRule("FREQ=DAILY;UNTIL=20260302T063000Z", "Asia/Kolkata", ANCHOR)
    assert len(list(rule(ANCHOR - timedelta(seconds=1)))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;INTERVAL=60;BYSECOND=5",
        "FREQ=HOURLY;INTERVAL=24;BYHOUR=3",
        "FREQ=MINUTELY;INTERVAL=1440;BYMINUTE=1",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=9",
    ],
)
def test_what_never_comes_is_given_up(text: str):
    """However often its parts would be looked at."""
    rule = RecurrenceRule(text, "UTC", ANCHOR)
    assert list(rule(ANCHOR)) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not understood"),
        ("DAILY", "not understood"),
        ("FREQ=FORTNIGHTLY", "FREQ must be one of"),
        ("BYDAY=MO", "FREQ must be one of"),
        ("FREQ=DAILY;FREQ=DAILY", "given twice"),
        ("FREQ=DAILY;BYEASTER=1", "not understood"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL must be 1 to"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL must be 1 to"),
        ("FREQ=DAILY;INTERVAL=99999999999999999999", "INTERVAL must be 1 to"),
        ("FREQ=YEARLY;INTERVAL=51", "INTERVAL must be 1 to 50"),
        ("FREQ=DAILY;COUNT=0", "COUNT must be 1 to"),
        ("FREQ=DAILY;COUNT=10001", "COUNT must be 1 to"),
        ("FREQ=DAILY;COUNT=1;UNTIL=20300101", "exclude each other"),
        ("FREQ=DAILY;UNTIL=2030-01-01", "UNTIL must be"),
        ("FREQ=DAILY;UNTIL=20300231", "UNTIL must be"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR must be 0 to 23"),
        ("FREQ=DAILY;BYHOUR=-1", "BYHOUR must be 0 to 23"),
        ("FREQ=DAILY;BYHOUR=", "BYHOUR must be 0 to 23"),
        ("FREQ=DAILY;BYSECOND=60", "BYSECOND must be 0 to 59"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY must be 1 to 31"),
        ("FREQ=MONTHLY;BYMONTHDAY=-32", "BYMONTHDAY must be 1 to 31"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY means nothing with FREQ=WEEKLY"),
        ("FREQ=DAILY;BYYEARDAY=1", "BYYEARDAY means nothing"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO means nothing"),
        ("FREQ=HOURLY;BYMINUTE=1;BYSETPOS=1", "BYSETPOS means nothing"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS means nothing without"),
        ("FREQ=MONTHLY;BYDAY=MON", "BYDAY must be days"),
        ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY must be days"),
        ("FREQ=MONTHLY;BYDAY=54MO", "BYDAY must be days"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY may have numbers"),
        ("FREQ=DAILY;WKST=1", "WKST must be a day"),
        ("DTSTART:20260101T000000\nRRULE:FREQ=DAILY", "starts_at"),
        (
            "FREQ=DAILY;BYHOUR=0,1;BYMINUTE="
            + ",".join(map(str, range(60)))
            + ";BYSECOND="
            + ",".join(map(str, range(60))),
            "times of a day",
        ),
    ],
)
def test_what_is_no_rule_is_refused(text: str, why: str):
    with pytest.raises(InvalidSchedule) as caught:
        RecurrenceRule(text, "UTC", ANCHOR)
    assert caught.value.field == "rrule"
    assert why in caught.value.reason
