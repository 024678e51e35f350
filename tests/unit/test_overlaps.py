"""Fires that are late, overlap or fail: what a worker makes of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskscheduler import CatchUp, NewSchedule, Overlap, Scheduler, TaskQuery, TaskStatus
from taskscheduler.application.calendar.fire_plan import PLANNED_AT_ONCE, plan, timetable_of
from taskscheduler.application.maintenance.schedule_runner import RELEASE_EVERY, ScheduleRunner
from taskscheduler.application.metrics.attempt_stats import AttemptStats
from taskscheduler.domain.errors import InvalidSchedule, StoreUnavailable
from taskscheduler.domain.fire import TAKE, Due
from taskscheduler.domain.ledger import Outcome
from taskscheduler.domain.schedule import Schedule
from taskscheduler.domain.status import Event
from taskscheduler.testing.clock import START
from taskscheduler.testing.contracts.steps import claim, end, join
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from taskscheduler.application.client.schedules import Schedules
    from taskscheduler.testing import ManualClock

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def hourly(name: str = "hourly", **fields: Any) -> NewSchedule:
    given: dict[str, Any] = {"kind": "mail", "cron": "0 * * * *"} | fields
    return NewSchedule(name=name, **given)


@pytest.fixture
def scheduler(scheduler_in_memory: Scheduler) -> Scheduler:
    return scheduler_in_memory


@pytest.fixture
def schedules(scheduler: Scheduler) -> Schedules:
    return scheduler.schedules


@pytest.fixture
def firing(scheduler: Scheduler) -> ScheduleRunner:
    return ScheduleRunner(scheduler.store)


async def hours_of(scheduler: Scheduler) -> list[float]:
    tasks = await scheduler.list(TaskQuery(limit=1_000))
    return sorted((task.execute_at - START) / HOUR for task in tasks)


# -- catching up -----------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"catch_up": CatchUp.ALL, "catch_up_window": 2.4 * HOUR}, [4, 5]),
        ({"catch_up": CatchUp.ALL, "catch_up_window": 1.4 * HOUR}, [5]),
        ({"catch_up": CatchUp.ALL, "catch_up_window": HOUR / 4}, []),
        ({"catch_up_window": HOUR}, [5]),
        ({"catch_up_window": HOUR / 4}, []),
        ({"catch_up": CatchUp.NONE, "catch_up_window": 9 * HOUR}, []),
        ({"catch_up_max": 3}, [3, 4, 5]),
        ({"catch_up_max": 1}, [5]),
        ({"catch_up_max": 5}, [1, 2, 3, 4, 5]),
        ({"catch_up_max": 9}, [1, 2, 3, 4, 5]),
        ({"catch_up_max": 4}, [2, 3, 4, 5]),
        ({"catch_up_max": 3, "catch_up_window": 2 * HOUR}, [4, 5]),
        ({"catch_up_max": 2, "catch_up_window": 4 * HOUR}, [4, 5]),
        ({"catch_up_max": 1, "overlap": Overlap.BUFFER_ONE}, [5]),
    ],
)
async def test_late_fires_within_bounds(
    fields: dict[str, Any],
    expected: list[int],
    schedules: Schedules,
    firing: ScheduleRunner,
    manual_clock: ManualClock,
    scheduler: Scheduler,
):
    await schedules.put(hourly(**fields))
    manual_clock.advance(HOUR * 5.5)
    assert await firing.turn() is not None
    assert await hours_of(scheduler) == expected
    entries = await schedules.fires("hourly")
    stored = [entry for entry in entries if entry.outcome is Outcome.STORED]
    missed = [entry for entry in entries if entry.outcome is Outcome.MISSED]
    assert (len(stored), len(missed)) == (len(expected), 5 - len(expected))
    assert (await schedules.get("hourly")).next_fire_at == START + 6 * HOUR


@pytest.mark.anyio
async def test_the_bounds_hold_for_living_workers_too(
    schedules: Schedules, firing: ScheduleRunner, manual_clock: ManualClock, scheduler: Scheduler
):
    await schedules.put(hourly("window", cron=None, every=SECOND, catch_up_window=3 * SECOND))
    await schedules.put(hourly("most", cron=None, every=SECOND, catch_up_max=2))
    await firing.turn()
    manual_clock.advance(10 * SECOND)
    await firing.turn()
    for name, late, reason in (
        ("window", [0, 1, 2, 3], "it was later than catch_up_window_s allows: 3 s"),
        ("most", [0, 1], "more were due at once than catch_up_max allows: 2"),
    ):
        entries = await schedules.fires(name)
        found = [each.late.total_seconds() for each in entries if each.late is not None]
        assert found == late
        assert {each.reason for each in entries if each.outcome is Outcome.MISSED} == {reason}
    assert len(await scheduler.list(TaskQuery())) == 6


@given(
    every=st.integers(1, 90),
    late=st.integers(0, 2_000),
    most=st.none() | st.integers(1, 200),
    window=st.none() | st.integers(1, 3_000),
    crons=st.integers(0, 1),
)
def test_a_plan_stores_the_latest_and_tells_of_all(
    every: int, late: int, most: int | None, window: int | None, crons: int
):
    """Against walking through all fires, one by one."""
    given: dict[str, Any] = {"cron": None, "every": every * SECOND}
    if crons:
        given = {"cron": f"*/{min(every, 60)} * * * * *", "crons": ("7 * * * * *",)}
    definition = hourly(
        catch_up=CatchUp.ALL,
        catch_up_max=most,
        catch_up_window=None if window is None else window * SECOND,
        **given,
    )
    first = START + 5 * SECOND
    due = Due.of(Schedule.make(definition, now=START, next_fire_at=first))
    now = first + late * SECOND
    all_of_them = [first, *takewhile(lambda at: at <= now, timetable_of(due).fires(first))]
    kept = [at for at in all_of_them if window is None or at >= now - window * SECOND]
    kept = kept[-most:] if most is not None else kept
    planned = plan(due, now, START)
    assert planned.fires == kept[:PLANNED_AT_ONCE]
    gone = len(all_of_them) - len(kept)
    assert planned.missed == min(gone, 500)
    told = [each.at for each in planned.untaken]
    assert told == all_of_them[: min(gone, 500)]
    following = kept[PLANNED_AT_ONCE] if len(kept) > PLANNED_AT_ONCE else None
    assert planned.next_fire_at == (following or timetable_of(due).after(now))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"catch_up_window": timedelta(0)}, "catch_up_window_s"),
        ({"catch_up_window": timedelta(days=367)}, "catch_up_window_s"),
        ({"catch_up_max": 0}, "catch_up_max"),
        ({"catch_up_max": 1_001}, "catch_up_max"),
        ({"catch_up_max": 2, "catch_up": CatchUp.LATEST}, "catch_up_max"),
        ({"catch_up_max": 2, "catch_up": CatchUp.NONE}, "catch_up_max"),
        ({"catch_up_max": 2, "overlap": Overlap.SKIP}, "catch_up_max"),
        ({"catch_up": CatchUp.ALL, "overlap": Overlap.CANCEL_RUNNING}, "catch_up"),
        ({"pause_after_failures": 0}, "pause_after_failures"),
        ({"pause_after_failures": 1_001}, "pause_after_failures"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(fields: dict[str, Any], field: str):
    with pytest.raises(InvalidSchedule) as caught:
        hourly(**fields)
    assert caught.value.field == field


@pytest.mark.anyio
async def test_a_bound_is_one_of_all(schedules: Schedules):
    """Unless something else is asked for."""
    assert hourly(catch_up_max=3).catch_up is CatchUp.ALL
    assert hourly().catch_up is CatchUp.LATEST
    assert hourly(catch_up_window=HOUR).catch_up is CatchUp.LATEST
    await schedules.put(hourly())
    edited = await schedules.edit("hourly", catch_up_max=3)
    assert edited.definition.catch_up is CatchUp.ALL
    await schedules.put(hourly("skips", overlap=Overlap.SKIP))
    with pytest.raises(InvalidSchedule):
        await schedules.edit("skips", catch_up_max=3)


# -- overlaps --------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_what_waits_is_stored_once_the_task_has_ended(
    schedules: Schedules, scheduler: Scheduler, manual_clock: ManualClock
):
    tally = AttemptStats()
    firing = ScheduleRunner(scheduler.store, tally)
    worker_id = await join(scheduler.store)
    await schedules.put(hourly(overlap=Overlap.BUFFER_ALL))
    manual_clock.advance(HOUR)
    await firing.turn()
    (lease,) = await claim(scheduler.store, worker_id)
    manual_clock.advance(HOUR)
    assert await firing.turn() == RELEASE_EVERY
    assert await hours_of(scheduler) == [1]
    await end(scheduler.store, lease, Event.COMPLETE)
    await firing.turn()
    assert await hours_of(scheduler) == [1, 2]
    assert await firing.turn() == HOUR
    assert (tally.fires["stored"], tally.fires["buffered"]) == (2, 1)
    found = [entry.outcome for entry in await schedules.fires("hourly")]
    assert found == [Outcome.STORED, Outcome.BUFFERED, Outcome.STORED]


@pytest.mark.anyio
async def test_the_last_task_is_cancelled_for_the_next(
    schedules: Schedules, scheduler: Scheduler, firing: ScheduleRunner, manual_clock: ManualClock
):
    worker_id = await join(scheduler.store)
    await schedules.put(hourly(overlap=Overlap.CANCEL_RUNNING))
    ids: list[Any] = []
    for _ in range(3):
        manual_clock.advance(HOUR)
        await firing.turn()
        ids.append((await schedules.get("hourly")).last_task_id)
        await claim(scheduler.store, worker_id)
    found = [(await scheduler.get(task_id)).status for task_id in ids]
    assert found == [TaskStatus.CANCELLED, TaskStatus.CANCELLED, TaskStatus.IN_PROGRESS]
    entries = await schedules.fires("hourly")
    assert [entry.reason for entry in entries] == [
        f"the task of the last fire was cancelled: {ids[1]}",
        f"the task of the last fire was cancelled: {ids[0]}",
        None,
    ]
    await scheduler.delete(ids[2], force=True)
    manual_clock.advance(3 * HOUR)  # living workers are late
    await scheduler.store.schedules.watch()
    await firing.turn()
    entries = await schedules.fires("hourly")
    newest = [(entry.outcome, (entry.at - START) / HOUR) for entry in entries][:1]
    assert newest == [(Outcome.STORED, 6)]


@pytest.mark.anyio
async def test_who_goes_down_after_cancelling_is_followed(
    schedules: Schedules, scheduler: Scheduler, manual_clock: ManualClock
):
    """The task that was to follow is stored by another."""
    await schedules.put(hourly(overlap=Overlap.CANCEL_RUNNING))
    manual_clock.advance(HOUR)
    await ScheduleRunner(scheduler.store).turn()
    first = (await schedules.get("hourly")).last_task_id
    assert first is not None
    faulty: Any = Faulty(scheduler.store.schedules)
    faulty.refuse("fire")
    manual_clock.advance(HOUR)
    with pytest.raises(StoreUnavailable):
        await ScheduleRunner(replace(scheduler.store, schedules=faulty)).turn()
    assert (await scheduler.get(first)).status is TaskStatus.CANCELLED
    manual_clock.advance(TAKE)
    await ScheduleRunner(scheduler.store).turn()
    assert await hours_of(scheduler) == [1, 2]


@pytest.mark.anyio
async def test_a_schedule_whose_tasks_fail_is_paused(
    schedules: Schedules,
    scheduler: Scheduler,
    manual_clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
):
    tally = AttemptStats()
    firing = ScheduleRunner(scheduler.store, tally)
    worker_id = await join(scheduler.store)
    await schedules.put(hourly(pause_after_failures=2))
    await schedules.put(hourly("other"))
    for _ in range(3):
        manual_clock.advance(HOUR)
        with caplog.at_level(logging.WARNING, "taskscheduler.schedules"):
            await firing.turn()
        for lease in await claim(scheduler.store, worker_id):
            await end(scheduler.store, lease, Event.FAIL)
    paused = await schedules.get("hourly")
    assert (paused.is_paused, paused.fire_count) == (True, 2)
    assert paused.pause_reason == "the last 2 tasks failed"
    assert not (await schedules.get("other")).is_paused
    assert (tally.fires["paused"], tally.fires["stored"]) == (1, 5)
    assert "schedule hourly is paused: its last tasks failed" in caplog.messages
    resumed = await schedules.resume("hourly")
    assert resumed.pause_reason is None
    manual_clock.advance(HOUR)
    await firing.turn()
    assert (await schedules.get("hourly")).fire_count == 3
