"""When schedules fire."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskscheduler.application.calendar import zones
from taskscheduler.application.calendar.recurrence import TICK, Timetable
from taskscheduler.domain.errors import InvalidSchedule
from taskscheduler.domain.schedule import NewSchedule

if TYPE_CHECKING:
    from pathlib import Path

MADE_AT = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
YEARS = timedelta(days=366 * 3)

EXPRESSIONS = (
    "* * * * *",
    "*/7 3,15 * * MON-FRI",
    "30 2 * * *",
    "0 0 29 2 *",
    "0 9 L * *",
    "15 * * * *",
    "*/13 59 23 * * *",
    "* * * * * *",
    "@daily",
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")


def timetable(*, made_at: datetime = MADE_AT, **fields: Any) -> Timetable:
    return Timetable(NewSchedule(name="n", kind="mail", **fields).rule, made_at=made_at)


def fires(count: int, after: datetime, **fields: Any) -> list[str]:
    found = islice(timetable(made_at=after, **fields).fires(after), count)
    return [at.isoformat().replace("+00:00", "Z") for at in found]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * *", ["2026-03-02T03:00:00Z", "2026-03-03T03:00:00Z"]),
        ("*/20 * * * *", ["2026-03-01T12:20:00Z", "2026-03-01T12:40:00Z"]),
        ("0 0 1 1 *", ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
        ("0 12 * * MON", ["2026-03-02T12:00:00Z", "2026-03-09T12:00:00Z"]),
        ("0 12 13 * FRI", ["2026-03-06T12:00:00Z", "2026-03-13T12:00:00Z"]),
        ("30 0 12 * * *", ["2026-03-01T12:00:30Z", "2026-03-02T12:00:30Z"]),
        ("@monthly", ["2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z"]),
        (" @Hourly ", ["2026-03-01T13:00:00Z", "2026-03-01T14:00:00Z"]),
    ],
)
def test_what_an_expression_means(expression: str, expected: list[str]):
    assert fires(2, MADE_AT, cron=expression) == expected


def test_on_the_clocks_of_a_zone():
    assert fires(1, MADE_AT, cron="0 3 * * *", time_zone="Asia/Kolkata") == ["2026-03-01T21:30:00Z"]


def test_a_wall_time_that_is_left_out_happens_once_after_the_gap():
    before = datetime(2026, 3, 28, tzinfo=UTC)
    assert fires(3, before, cron="30 2 * * *", time_zone="Europe/Berlin") == [
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-30T00:30:00Z",
    ]


def test_a_wall_time_that_comes_twice_happens_once():
    before = datetime(2026, 10, 24, 12, tzinfo=UTC)
    expected = ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    assert fires(2, before, cron="30 2 * * *", time_zone="Europe/Berlin") == expected
    # Also for who asks between the two.
    between = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    assert fires(1, between, cron="30 2 * * *", time_zone="Europe/Berlin") == expected[1:]


def test_each_hour_goes_by_elapsed_time():
    before = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    found = fires(4, before, cron="0 * * * *", time_zone="Europe/Berlin")
    assert found == [f"2026-10-25T0{hour}:00:00Z" for hour in range(4)]


def test_an_interval_counts_from_when_the_schedule_was_made():
    every = timedelta(minutes=90)
    table = timetable(every=every, time_zone="Europe/Berlin")
    assert table.after(MADE_AT) == MADE_AT + every
    assert table.after(MADE_AT - YEARS) == MADE_AT + every
    assert table.after(MADE_AT + every) == MADE_AT + 2 * every
    assert table.after(MADE_AT + every - TICK) == MADE_AT + every


@pytest.mark.parametrize("fields", [{"every": timedelta(hours=1)}, {"cron": "0 * * * *"}])
def test_it_fires_from_its_beginning_to_its_end_both_included(fields: dict[str, Any]):
    first, last = datetime(2026, 3, 5, tzinfo=UTC), datetime(2026, 3, 5, 2, tzinfo=UTC)
    table = timetable(starts_at=first, ends_at=last, **fields)
    assert list(table.fires(MADE_AT)) == [first, first + timedelta(hours=1), last]
    assert table.after(first) == first + timedelta(hours=1)
    assert table.after(last) is None
    assert table.after(last - TICK) == last


def test_what_never_comes_never_fires():
    assert (
        timetable(cron="0 0 1 1 *", ends_at=datetime(2026, 12, 31, tzinfo=UTC)).after(MADE_AT)
        is None
    )


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* * * * * * *",
        "@never",
        "a b c d e",
        "*/0 * * * *",
        "5-5/0 * * * *",
        "0 0 31 2 *",
        "0 0 L/2 * *",
        "0 0 LW/2 * *",
        "*/61 * * * *",
        "*/90 * * * *",
        "0 */25 * * *",
        "0 0 */32 * *",
        "0 0 * */13 *",
        "0 0 * * */8",
        "*/61 * * * * *",
        "0,*/90 * * * *",
        "10-20/61 * * * *",
        "5/90 * * * *",
        "*/-5 * * * *",
        "*/5/5 * * * *",
        "/5 * * * *",
        "*/ * * * *",
        "0 0 * * MON#6",
        "0 0 L-3 * *",
        "0 0 15W * *",
        "*/٣ * * * *",
    ],
)
def test_an_expression_that_is_none(expression: str):
    with pytest.raises(InvalidSchedule) as refused:
        timetable(cron=expression)
    assert refused.value.field == "cron"


@pytest.mark.parametrize("step", ["*/60 * * * *", "0 */24 * * *", "0 0 */31 * *", "0 0 * * */7"])
def test_the_longest_steps_mean_what_they_say(step: str):
    assert timetable(cron=step).after(MADE_AT) is not None


def test_a_refused_step_is_named_with_its_field():
    with pytest.raises(InvalidSchedule, match=r"the hour's step in '\*/25' must be at most 24"):
        timetable(cron="0 */25 * * *")


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("5-5/10 * * * *", "5 * * * *"),
        ("0 3-3/2,5 * * *", "0 3,5 * * *"),
        ("0 0 1-1/7 * *", "0 0 1 * *"),
        ("0 0 1 mar-3/2 *", "0 0 1 3 *"),
        ("0 0 * * MON-1/2", "0 0 * * MON"),
        ("30-30/7 0 12 * * *", "30 0 12 * * *"),
    ],
)
def test_a_range_of_one_value_with_a_step_is_that_value(expression: str, same: str):
    assert fires(5, MADE_AT, cron=expression) == fires(5, MADE_AT, cron=same)


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("0 0 */31 2 MON#5", "UTC"),
        ("0 0 */31 2,4 2#5", "UTC"),
        ("* * 30 2 */1 ", "UTC"),
        # By elapsed time, and always at a time that is left out.
        ("*/5 2 25-31 3 */7", "Europe/Berlin"),
        ("* * 2 25-31 3 */7", "Europe/Berlin"),
    ],
)
def test_what_can_never_fire_is_found_out_in_a_bounded_time(expression: str, zone: str):
    try:
        table = timetable(cron=expression, time_zone=zone)
    except InvalidSchedule:
        return
    assert table.after(MADE_AT) is None


def test_the_rarest_fire_is_found():
    """A Sunday that is the 29th of February, around a year that has none."""
    sundays = fires(2, datetime(2072, 3, 1, tzinfo=UTC), cron="0 0 29 2 */7")
    assert [each[:10] for each in sundays] == ["2088-02-29", "2128-02-29"]


def test_time_comes_to_an_end():
    last = datetime(8999, 12, 1, tzinfo=UTC)
    assert len(fires(100, last, cron="0 0 1 * *")) <= 1
    assert len(fires(100, last, cron=None, every=timedelta(days=366))) == 0
    assert len(fires(10_000, last, cron="0 0 * * *", time_zone="Pacific/Kiritimati")) <= 31


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Europe/Atlantis",
        "../../etc/passwd",
        "/etc/localtime",
        "localtime",
        "posixrules",
        "Factory",
        "right/Europe/Berlin",
        "posix/Europe/Berlin",
        "europe/berlin",
        "zone.tab",
        "tzdata.zi",
        "Europe/Berlin/",
        "Europe/../Europe/Berlin",
        "x" * 65,
        "a\0b",
        "Europe",
    ],
)
@pytest.mark.parametrize("fields", [{"every": timedelta(hours=1)}, {"cron": "0 * * * *"}])
def test_a_zone_that_is_none(zone: str, fields: dict[str, Any]):
    with pytest.raises(InvalidSchedule) as refused:
        timetable(time_zone=zone, **fields)
    assert refused.value.field == "time_zone"


def test_zones_come_from_the_package_alone(tmp_path: Path):
    """Whatever the machine, or its environment, has of its own."""
    other = tmp_path / "Europe"
    other.mkdir()
    with resources.files("tzdata").joinpath("zoneinfo", "UTC").open("rb") as utc:
        (other / "Berlin").write_bytes(utc.read())
        (tmp_path / "Moon").write_bytes((other / "Berlin").read_bytes())
    zoneinfo.reset_tzpath([tmp_path])
    try:
        found = fires(1, MADE_AT, cron="0 3 * * *", time_zone="Europe/Berlin")
        assert found == ["2026-03-02T02:00:00Z"]
        with pytest.raises(InvalidSchedule):
            timetable(cron="0 3 * * *", time_zone="Moon")
    finally:
        zoneinfo.reset_tzpath()


def test_every_zone_can_be_read():
    assert len(zones.names()) > 500
    for name in zones.names():
        assert zones.zone_of(name).key == name


moments = st.integers(0, 235 * 24 * 3600 * 10).map(
    lambda tenths: datetime(2026, 3, 20, tzinfo=UTC) + timedelta(seconds=tenths / 10)
)
"""From before the clocks are put forward in spring until after they are put back."""


@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), moments)
def test_fires_only_go_forward(expression: str, zone: str, moment: datetime):
    table = timetable(cron=expression, time_zone=zone)
    found = [moment, *islice(table.fires(moment), 5)]
    assert len(found) > 1
    assert all(earlier < later for earlier, later in pairwise(found))
    # Whoever asks from a fire on, or from just before the next, is told the next.
    assert [table.after(at) for at in found[:-1]] == found[1:]
    assert [table.after(at - TICK) for at in found[1:]] == found[1:]


@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), moments, st.integers(0, 10**8))
def test_the_latest_is_the_last_one(expression: str, zone: str, moment: datetime, passed_s: int):
    table = timetable(cron=expression, time_zone=zone)
    first = table.after(moment)
    assert first is not None
    now = first + timedelta(seconds=passed_s)
    latest = table.latest(moment, now)
    assert latest is not None
    assert first <= latest <= now
    following = table.after(latest)
    assert following is not None
    assert following > now
    assert table.after(latest - TICK) == latest


def test_the_latest_of_years_of_seconds_takes_a_few_steps():
    table = timetable(every=timedelta(seconds=1))
    assert table.latest(MADE_AT, MADE_AT + YEARS) == MADE_AT + YEARS
    assert table.latest(MADE_AT, MADE_AT + TICK) is None
