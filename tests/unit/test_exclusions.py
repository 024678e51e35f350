"""Recurrence rules in schedules, and what schedules leave out; previews and fires agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskscheduler import CatchUp, NewSchedule, Scheduler, TaskQuery
from taskscheduler.application.calendar.recurrence import Timetable
from taskscheduler.application.maintenance.schedule_runner import ScheduleRunner
from taskscheduler.domain.errors import InvalidSchedule
from taskscheduler.domain.rule import Gap, Rule
from taskscheduler.testing import in_memory
from taskscheduler.testing.clock import START, ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskscheduler.application.client.schedules import Schedules

MADE_AT = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
DAY = timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")


def fires(count: int, after: datetime = MADE_AT, **fields: Any) -> list[str]:
    rule = NewSchedule(name="n", kind="mail", **fields).rule
    found = islice(Timetable(rule, made_at=MADE_AT).fires(after), count)
    return [f"{at:%FT%TZ}" for at in found]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"rrule": "FREQ=DAILY"}, ["2026-03-01T12:00:01Z", "2026-03-02T12:00:01Z"]),
        (
            {"rrule": "FREQ=DAILY", "starts_at": datetime(2026, 3, 2, tzinfo=UTC)},
            ["2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"],
        ),
        (
            {"rrule": "FREQ=WEEKLY;BYDAY=TU;BYHOUR=2;BYMINUTE=30;BYSECOND=0", "cron": "0 3 2 3 *"},
            ["2026-03-02T03:00:00Z", "2026-03-03T02:30:00Z"],
        ),
        (
            {"rrule": "FREQ=SECONDLY;INTERVAL=2;COUNT=2"},
            ["2026-03-01T12:00:01Z", "2026-03-01T12:00:03Z"],
        ),
        (
            {"cron": "0 3 * * *", "except_": ["2026-03-02"]},
            ["2026-03-03T03:00:00Z", "2026-03-04T03:00:00Z"],
        ),
        (
            {"cron": "0 3 * * *", "except_": ["2026-03-02/2026-03-04", "2026-03-06T03:00:00Z"]},
            ["2026-03-05T03:00:00Z", "2026-03-07T03:00:00Z"],
        ),
        (
            {"cron": "0 3 * * *", "except_": ["2026-03-02T04:00:00+01:00"]},
            ["2026-03-03T03:00:00Z", "2026-03-04T03:00:00Z"],
        ),
        (
            {"cron": "0 3 * * *", "except_": ["* * * 3 *"]},
            ["2026-04-01T03:00:00Z", "2026-04-02T03:00:00Z"],
        ),
        (
            {"cron": "* * * * *", "except_": ["* 10-23 * * *"]},
            ["2026-03-02T00:00:00Z", "2026-03-02T00:01:00Z"],
        ),
        (
            {"cron": "* * * * * *", "except_": ["0-58 * * * *"]},
            ["2026-03-01T12:59:00Z", "2026-03-01T12:59:01Z"],
        ),
        (
            {"cron": "*/10 * * * * *", "except_": ["0,20 * * * * *"]},
            ["2026-03-01T12:00:10Z", "2026-03-01T12:00:30Z"],
        ),
        (
            {"cron": "0 3 * * *", "except_": ["FREQ=WEEKLY;BYDAY=MO,TU"]},
            ["2026-03-04T03:00:00Z", "2026-03-05T03:00:00Z"],
        ),
        (
            {"cron": "0 3,4 * * *", "except_": ["RRULE:FREQ=DAILY;BYHOUR=3;BYMINUTE=0;BYSECOND=0"]},
            ["2026-03-02T04:00:00Z", "2026-03-03T04:00:00Z"],
        ),
        (
            {"every": DAY, "except_": ["2026-03-02"]},
            ["2026-03-03T12:00:00Z", "2026-03-04T12:00:00Z"],
        ),
        (
            {"cron": "@hourly", "except_": ["@daily"], "time_zone": "Asia/Kolkata"},
            ["2026-03-01T12:30:00Z", "2026-03-01T13:30:00Z"],
        ),
        (
            {"cron": "* * * * * *", "except_": ["2026-03-01/2026-12-31"]},
            ["2027-01-01T00:00:00Z", "2027-01-01T00:00:01Z"],
        ),
    ],
    ids=str,
)
def test_what_is_left_out(fields: dict[str, Any], expected: list[str]):
    assert fires(2, **fields) == expected


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cron": "0 3 * * *", "except_": ["2026-13-01"]}, "except"),
        ({"cron": "0 3 * * *", "except_": ["2026-03-02/2026-03-01"]}, "except"),
        ({"cron": "0 3 * * *", "except_": ["9999-12-31"]}, "except"),
        ({"cron": "0 3 * * *", "except_": ["2026-03-02T03:00:00"]}, "except"),
        ({"cron": "0 3 * * *", "except_": ["christmas"]}, "except"),
        ({"cron": "0 3 * * *", "except_": ["FREQ=OFTEN"]}, "except"),
        ({"cron": "0 3 * * *", "except_": [""]}, "except"),
        ({"cron": "0 3 * * *", "except_": ["@daily"] * 201}, "except"),
        ({"cron": "* * * * *", "except_": ["* * * * *"]}, "except"),
        ({"rrule": "FREQ=OFTEN"}, "rrule"),
        ({"rrule": ""}, "rrule"),
        ({"rrule": "FREQ=DAILY;BYHOUR=" + "1," * 1_000}, "rrule"),
        ({"rrule": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"}, "rrule"),
        ({"rrule": "FREQ=DAILY", "every": DAY}, "cron"),
        ({"rrule": "FREQ=DAILY;UNTIL=20200101"}, "rrule"),
    ],
    ids=str,
)
@pytest.mark.anyio
async def test_what_makes_no_sense_is_refused_by_its_field(
    scheduler_in_memory: Scheduler, fields: dict[str, Any], field: str
):
    with pytest.raises(InvalidSchedule) as caught:
        await scheduler_in_memory.schedules.put(NewSchedule(name="n", kind="mail", **fields))
    assert caught.value.field == field


def test_rules_go_by_the_clocks_of_their_zone():
    """As expressions do: what is left out happens right after; what goes by hours does not."""
    before = datetime(2026, 3, 28, tzinfo=UTC)
    daily = {"rrule": "FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0", "time_zone": "Europe/Berlin"}
    assert fires(3, before, **daily) == [
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-30T00:30:00Z",
    ]
    assert fires(2, before, **daily, gap=Gap.SKIP)[1] == "2026-03-30T00:30:00Z"
    hourly = {"rrule": "FREQ=HOURLY;BYMINUTE=0;BYSECOND=0", "time_zone": "Europe/Berlin"}
    begin = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    assert fires(4, begin, **hourly) == [f"2026-10-25T0{hour}:00:00Z" for hour in range(4)]


@pytest.mark.anyio
async def test_a_change_takes_the_others_away(scheduler_in_memory: Scheduler):
    schedules = scheduler_in_memory.schedules
    await schedules.put(NewSchedule(name="n", kind="mail", cron="0 3 * * *", crons=("0 4 * * *",)))
    kept = (await schedules.edit("n", rrule="FREQ=DAILY", except_=["2026-03-02"])).definition
    assert (kept.cron, kept.crons, kept.rrule) == (None, (), "FREQ=DAILY")
    kept = (await schedules.edit("n", crons=("0 5 * * *",))).definition
    assert (kept.rrule, kept.crons, kept.except_) == (None, ("0 5 * * *",), ("2026-03-02",))
    kept = (await schedules.edit("n", every=DAY)).definition
    assert (kept.rrule, kept.crons, kept.every) == (None, (), DAY)
    kept = (await schedules.edit("n", rrule="FREQ=DAILY", cron="0 3 * * *")).definition
    assert (kept.rrule, kept.cron, kept.every) == ("FREQ=DAILY", "0 3 * * *", None)


RULES: dict[str, Callable[[datetime], bool]] = {
    "2026-01-01": lambda wall: (wall.month, wall.day) == (1, 1),
    "2026-01-02/2026-01-03": lambda wall: wall.month == 1 and wall.day in {2, 3},
    "* 1-3 * * *": lambda wall: wall.hour in {1, 2, 3},
    "*/3 * * * *": lambda wall: wall.minute % 3 == 0,
    "10-50/10 4 * * 5": lambda wall: (
        wall.hour == 4 and wall.minute in range(10, 51, 10) and wall.weekday() == 4
    ),
    "FREQ=WEEKLY;BYDAY=SU": lambda wall: wall.weekday() == 6,
    "FREQ=HOURLY;BYMINUTE=7;BYSECOND=0": lambda wall: (wall.minute, wall.second) == (7, 0),
}


@settings(max_examples=20, deadline=None)
@given(
    excepts=st.lists(st.sampled_from(sorted(RULES)), max_size=3, unique=True),
    times=st.sampled_from(
        [
            {"cron": "*/7 * * * *"},
            {"rrule": "FREQ=MINUTELY;INTERVAL=11"},
            {"cron": "0 * * * *", "rrule": "FREQ=DAILY;BYHOUR=4;BYMINUTE=10,30;BYSECOND=0"},
            {"every": timedelta(minutes=13)},
        ]
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin"]),
    hours=st.integers(1, 90),
)
@pytest.mark.anyio
async def test_fires_are_what_was_foreseen(
    excepts: list[str], times: dict[str, Any], zone: str, hours: int
):
    """Whatever is left out; and it is what is left of all times, one by one."""
    clock = ManualClock()
    async with in_memory(clock) as scheduler:
        schedules: Schedules = scheduler.schedules
        given: dict[str, Any] = {"kind": "mail", "catch_up": CatchUp.ALL, "time_zone": zone}
        definition = NewSchedule(name="n", **given, **times, except_=tuple(excepts))
        await schedules.put(definition)
        until = START + timedelta(hours=hours)
        foreseen = [at for at in await schedules.preview("n", 1_000) if at <= until]
        runner = ScheduleRunner(scheduler.store)
        clock.advance(hours=hours)
        for _ in range(200):
            await runner.turn()
            if ((await schedules.get("n")).next_fire_at or until + DAY) > until:
                break
        stored = sorted(task.execute_at for task in await scheduler.list(TaskQuery(limit=10_000)))
        assert stored == foreseen
        bare = Timetable(definition.rule._replace(except_=()), made_at=START)
        every_one = takewhile(lambda at: at <= until, bare.fires(START))
        walls = [(at, at.astimezone(ZoneInfo(zone))) for at in every_one]
        assert stored == [
            at for at, wall in walls if not any(RULES[each](wall) for each in excepts)
        ]


def test_where_clocks_change_nothing_is_left_out_by_the_way():
    """A jump over what is left out lands before what is not."""
    rule = Rule(cron="*/15 * * * *", time_zone="Europe/Berlin", except_=("* 0-1 * * *",))
    begin = datetime(2026, 10, 24, 20, tzinfo=UTC)
    end = begin + DAY
    found = list(takewhile(end.__ge__, Timetable(rule, made_at=begin).fires(begin)))
    bare = Timetable(rule._replace(except_=()), made_at=begin).fires(begin)
    expected = [at for at in takewhile(end.__ge__, bare) if at.astimezone(BERLIN).hour > 1]
    assert found == expected
    assert len(found) == 24 * 4 - 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@every 90s", timedelta(seconds=90)),
        (" @Every 1h30m ", timedelta(minutes=90)),
        ("@every 1.5h", timedelta(minutes=90)),
        ("@every 1m500ms", timedelta(seconds=60.5)),
    ],
)
@pytest.mark.anyio
async def test_an_interval_in_the_place_of_an_expression(
    scheduler_in_memory: Scheduler, text: str, expected: timedelta
):
    """It is one, also where it takes the place of another rule."""
    definition = NewSchedule(name="n", kind="mail", cron=text)
    assert (definition.cron, definition.every) == (None, expected)
    schedules = scheduler_in_memory.schedules
    await schedules.put(NewSchedule(name="n", kind="mail", cron="0 3 * * *", gap=Gap.SKIP))
    edited = (await schedules.edit("n", cron=text)).definition
    assert (edited.cron, edited.every, edited.gap) == (None, expected, None)
    assert (await schedules.edit("n", cron="0 4 * * *")).definition.every is None


@pytest.mark.parametrize("text", ["@every", "@every 5", "@every 1d", "@every -5s", "@every 5 s"])
def test_what_is_no_interval_is_refused(text: str):
    with pytest.raises(InvalidSchedule) as caught:
        NewSchedule(name="n", kind="mail", cron=text)
    assert caught.value.field == "cron"
    with pytest.raises(InvalidSchedule) as caught:
        NewSchedule(name="n", kind="mail", cron="@every 1ms")
    assert caught.value.field == "every_s"
