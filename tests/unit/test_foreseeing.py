"""What changes of clocks do to the fires to come, and what other policies would do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler.application.calendar.preview import Preview, foreseen
from taskscheduler.application.calendar.recurrence import Timetable
from taskscheduler.application.maintenance.schedule_runner import ScheduleRunner
from taskscheduler.domain.errors import InvalidSchedule
from taskscheduler.domain.rule import Fold, Gap, Rule
from taskscheduler.domain.schedule import NewSchedule, due_at

if TYPE_CHECKING:
    from taskscheduler import Scheduler
    from taskscheduler.testing import ManualClock

BEFORE_GAP = datetime(2026, 3, 28, 0, 0, tzinfo=UTC)
BEFORE_FOLD = datetime(2026, 10, 24, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def previewed(after: datetime, count: int = 3, **fields: Any) -> Preview:
    given: dict[str, Any] = {"cron": "30 2 * * *", "time_zone": "Europe/Berlin"} | fields
    rule = Rule(**given)
    fires = Timetable(rule, made_at=LONG_AGO).fires(after)
    shown = [next(fires) for _ in range(count)]
    return foreseen(rule, made_at=LONG_AGO, after=after, fires=shown)


def texts(preview: Preview) -> list[tuple[str, str | None]]:
    return [(f"{fire.at:%d %H:%M}", fire.clocks) for fire in preview.fires]


@pytest.mark.parametrize("gap", [None, Gap.AFTER])
def test_a_fire_that_is_moved_is_flagged(gap: Gap | None):
    found = previewed(BEFORE_GAP, gap=gap)
    assert texts(found) == [("28 01:30", None), ("29 01:00", "gap"), ("30 00:30", None)]
    assert "gap skip" in str(found.fires[1].note)
    assert found.left_out == []


def test_a_fire_that_is_left_out_is_told_of():
    found = previewed(BEFORE_GAP, gap=Gap.SKIP)
    assert texts(found) == [("28 01:30", None), ("30 00:30", None), ("31 00:30", None)]
    (left_out,) = found.left_out
    assert (f"{left_out.at:%d %H:%M}", left_out.clocks) == ("29 01:00", "gap")
    assert "gap after" in str(left_out.note)


def test_the_first_of_two_passes():
    found = previewed(BEFORE_FOLD)
    assert texts(found) == [("24 00:30", None), ("25 00:30", "fold"), ("26 01:30", None)]
    assert "this is the first; fold second would fire at 2026-10-25T01:30:00Z" in str(
        found.fires[1].note
    )
    (left_out,) = found.left_out
    assert f"{left_out.at:%d %H:%M}" == "25 01:30"
    assert "fold second or both" in str(left_out.note)


def test_the_second_of_two_passes():
    found = previewed(BEFORE_FOLD, fold=Fold.SECOND)
    assert texts(found) == [("24 00:30", None), ("25 01:30", "fold"), ("26 01:30", None)]
    assert "this is the second" in str(found.fires[1].note)
    assert [f"{fire.at:%d %H:%M}" for fire in found.left_out] == ["25 00:30"]


def test_both_passes():
    found = previewed(BEFORE_FOLD, fold=Fold.BOTH)
    assert texts(found) == [("24 00:30", None), ("25 00:30", "fold"), ("25 01:30", "fold")]
    assert found.left_out == []


@pytest.mark.parametrize("zone", ["UTC", "Etc/GMT+5", "Asia/Tokyo"])
def test_clocks_that_do_not_change_are_not_told_of(zone: str):
    found = previewed(BEFORE_GAP, 30, cron="*/30 * * * *", time_zone=zone)
    assert {fire.clocks for fire in found.fires} == {None}
    assert found.left_out == []


def test_intervals_know_no_clocks():
    found = previewed(BEFORE_GAP, 30, cron=None, every=timedelta(minutes=30))
    assert {fire.clocks for fire in found.fires} == {None}
    with pytest.raises(InvalidSchedule, match="gap"):
        NewSchedule(name="a", kind="mail", every=timedelta(minutes=30), gap=Gap.SKIP)
    with pytest.raises(InvalidSchedule, match="fold"):
        NewSchedule(name="a", kind="mail", every=timedelta(minutes=30), fold=Fold.BOTH)


def test_several_expressions_fire_once_where_they_meet():
    found = previewed(BEFORE_GAP, 5, cron="0 * * * *", crons=("0 2 * * *", "15 3 * * *"))
    assert texts(found) == [
        ("28 01:00", None),
        ("28 02:00", None),
        ("28 02:15", None),
        ("28 03:00", None),
        ("28 04:00", None),
    ]
    only = previewed(BEFORE_GAP, 2, cron=None, crons=("0 2 * * *", "15 3 * * *"))
    assert texts(only) == [("28 01:00", None), ("28 02:15", None)]


def test_the_expression_at_fault_is_named():
    with pytest.raises(InvalidSchedule) as caught:
        previewed(BEFORE_GAP, crons=("0 3 * *",))
    assert caught.value.field == "crons"


def test_jitter_is_the_same_at_each_look_and_another_for_each_fire():
    hour = timedelta(hours=1)
    times = [BEFORE_GAP + hour * number for number in range(200)]
    spans = [due_at("nightly", at, hour) - at for at in times]
    assert spans == [due_at("nightly", at, hour) - at for at in times]
    assert all(timedelta(0) <= span < hour for span in spans)
    assert len(set(spans)) == len(spans)
    assert min(spans) < hour / 8
    assert max(spans) > hour * 7 / 8
    assert spans[0] != due_at("weekly", times[0], hour) - times[0]
    assert due_at("nightly", times[0], None) == times[0]


@pytest.mark.anyio
async def test_what_is_used_up_has_ended(scheduler_in_memory: Scheduler, manual_clock: ManualClock):
    """Also when it is paused and resumed, until it may store more."""
    scheduler = scheduler_in_memory
    definition = NewSchedule(name="a", kind="mail", every=timedelta(minutes=1), max_fires=3)
    await scheduler.schedules.put(definition)
    assert len(await scheduler.schedules.preview("a", 10)) == 3
    firing = ScheduleRunner(scheduler.store)
    for left in (2, 1, 0, 0):
        manual_clock.advance(minutes=1)
        await firing.turn()
        assert len(await scheduler.schedules.preview("a", 10)) == left
    schedule = await scheduler.schedules.get("a")
    assert (schedule.fire_count, schedule.next_fire_at) == (3, None)
    await scheduler.schedules.pause("a")
    assert (await scheduler.schedules.resume("a")).next_fire_at is None
    assert (await scheduler.schedules.edit("a", max_fires=2)).next_fire_at is None
    more = await scheduler.schedules.edit("a", max_fires=4)
    assert more.next_fire_at is not None
    manual_clock.advance(minutes=10)
    await firing.turn()
    schedule = await scheduler.schedules.get("a")
    assert (schedule.fire_count, schedule.next_fire_at) == (4, None)
