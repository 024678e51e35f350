"""Schedules under a clock in the test's hands: made, changed, fired."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Handlers, Scheduler, Worker
from taskscheduler.application.acting import ActingScheduler
from taskscheduler.application.firing import CAUGHT_UP_AT_ONCE, Firing, plan
from taskscheduler.application.schedules import Schedules
from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import AuditQuery
from taskscheduler.domain.errors import (
    Forbidden,
    InvalidSchedule,
    InvalidTask,
    ScheduleExists,
    ScheduleNotFound,
    StoreUnavailable,
)
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.schedule import CatchUp, NewSchedule, Overlap, Schedule
from taskscheduler.domain.status import TaskStatus
from taskscheduler.testing.faults import Faulty

if TYPE_CHECKING:
    from taskscheduler.domain.task import Task
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
BOB = Caller(name="bob", queue_prefix="bob.")


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
def firing(scheduler: Scheduler) -> Firing:
    return Firing(scheduler.store)


async def tasks_of(scheduler: Scheduler) -> list[Task]:
    return sorted(await scheduler.list(TaskQuery(limit=10_000)), key=lambda task: task.execute_at)


# -- what can be a schedule ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": ".."}, "name"),
        ({"cron": None}, "cron"),
        ({"every": HOUR}, "cron"),
        ({"cron": "*" * 257}, "cron"),
        ({"cron": None, "every": timedelta(seconds=0.9)}, "every_s"),
        ({"cron": None, "every": timedelta(days=367)}, "every_s"),
        ({"time_zone": ""}, "time_zone"),
        ({"starts_at": datetime(2026, 1, 1)}, "starts_at"),  # noqa: DTZ001
        ({"ends_at": datetime(9001, 1, 1, tzinfo=UTC)}, "ends_at"),
        (
            {
                "starts_at": datetime(2026, 1, 2, tzinfo=UTC),
                "ends_at": datetime(2026, 1, 1, tzinfo=UTC),
            },
            "ends_at",
        ),
        ({"catch_up": CatchUp.ALL, "overlap": Overlap.SKIP}, "catch_up"),
        ({"kind": "a b"}, "kind"),
        ({"queue": "a b"}, "queue"),
        ({"priority": 10}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"timeout": timedelta(0)}, "timeout_s"),
        ({"payload": b"1" * 2_000_000}, "payload"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_its_field(fields: dict[str, Any], field: str):
    with pytest.raises(InvalidTask) as refused:
        hourly(**fields)
    assert refused.value.field == field


async def test_what_is_not_understood_is_not_kept(schedules: Schedules):
    for fields in ({"cron": "61 * * * *"}, {"time_zone": "Europe/Atlantis"}):
        with pytest.raises(InvalidSchedule):
            await schedules.put(hourly(**fields))
    await schedules.put(hourly())
    with pytest.raises(InvalidSchedule):
        await schedules.edit("hourly", cron="x")
    assert [each.definition for each in await schedules.list()] == [hourly()]


# -- making and changing ---------------------------------------------------------------------------


async def test_putting_it_again_changes_nothing(schedules: Schedules, manual_clock: ManualClock):
    first, made = await schedules.put(hourly())
    assert made
    assert first.next_fire_at == manual_clock.now() + HOUR
    manual_clock.advance(HOUR / 2)
    assert await schedules.put(hourly()) == (first, False)


async def test_another_definition_takes_its_place(schedules: Schedules, manual_clock: ManualClock):
    first, _ = await schedules.put(hourly())
    manual_clock.advance(minutes=20)
    second, made = await schedules.put(hourly(cron="30 * * * *", kind="fax"))
    assert not made
    assert second.next_fire_at == manual_clock.now() + timedelta(minutes=10)
    assert (second.created_at, second.changed_at) == (first.created_at, manual_clock.now())
    assert second.revision > first.revision
    assert await schedules.get("hourly") == second


async def test_what_is_edited_leaves_the_rest(schedules: Schedules, manual_clock: ManualClock):
    await schedules.put(hourly(payload=b"1"))
    edited = await schedules.edit("hourly", every=timedelta(minutes=5), priority=1)
    assert edited.definition == hourly(
        payload=b"1", cron=None, every=timedelta(minutes=5), priority=1
    )
    assert edited.next_fire_at == manual_clock.now() + timedelta(minutes=5)
    assert (await schedules.edit("hourly", cron="@daily")).definition.every is None
    same = await schedules.edit("hourly", priority=1)
    assert same == await schedules.edit("hourly", priority=1)


async def test_a_pause_stays_until_it_is_resumed(
    schedules: Schedules, firing: Firing, manual_clock: ManualClock, scheduler: Scheduler
):
    await schedules.put(hourly())
    paused = await schedules.pause("hourly")
    assert (paused.paused_at, paused.next_fire_at) == (manual_clock.now(), None)
    assert await schedules.pause("hourly") == paused
    manual_clock.advance(HOUR * 5)
    changed, _ = await schedules.put(hourly(priority=1))
    assert (changed.is_paused, changed.next_fire_at) == (True, None)
    assert await firing.turn() is None
    resumed = await schedules.resume("hourly")
    assert (resumed.paused_at, resumed.next_fire_at) == (None, manual_clock.now() + HOUR)
    assert await schedules.resume("hourly") == resumed
    assert await firing.turn() == HOUR
    assert await tasks_of(scheduler) == [], "what passed while it was paused was not to be"


async def test_a_trigger_stores_a_task_for_now(
    schedules: Schedules, manual_clock: ManualClock, scheduler: Scheduler
):
    await schedules.put(hourly(payload=b"7", queue="letters"))
    await schedules.pause("hourly")
    ids = [await schedules.trigger("hourly"), await schedules.trigger("hourly")]
    tasks = await tasks_of(scheduler)
    assert {task.id for task in tasks} == set(ids)
    assert {(task.payload, task.queue, task.process_at) for task in tasks} == {
        (b"7", "letters", manual_clock.now())
    }
    assert (await schedules.get("hourly")).is_paused


async def test_a_preview_tells_what_comes(
    schedules: Schedules, firing: Firing, manual_clock: ManualClock
):
    await schedules.put(hourly())
    start = manual_clock.now()
    expected = [start + HOUR * number for number in (1, 2, 3)]
    assert await schedules.preview("hourly", 3) == expected
    await schedules.pause("hourly")
    assert await schedules.preview("hourly", 3) == expected
    await schedules.resume("hourly")
    manual_clock.advance(HOUR + TICK)
    assert await schedules.preview("hourly", 3) == expected, "what is due has not fired yet"
    await firing.turn()
    assert await schedules.preview("hourly", 2) == expected[1:]
    await schedules.edit("hourly", ends_at=expected[1])
    assert await schedules.preview("hourly", 9) == [expected[1]]


async def test_what_is_not_there(schedules: Schedules):
    for verb in (
        schedules.get,
        schedules.delete,
        schedules.pause,
        schedules.resume,
        schedules.trigger,
        schedules.preview,
        schedules.edit,
    ):
        for name in ("nobody", "", "a b", "a\0b", "\udcff"):
            with pytest.raises(ScheduleNotFound):
                await verb(name)


async def test_many_who_change_it_at_once(schedules: Schedules):
    await schedules.put(hourly())
    await asyncio.gather(*(schedules.edit("hourly", priority=number) for number in range(5)))
    assert (await schedules.get("hourly")).definition.priority in range(5)


async def test_a_caller_with_a_prefix_sees_its_own_alone(scheduler: Scheduler):
    theirs = ActingScheduler(scheduler, BOB).schedules
    await scheduler.schedules.put(hourly())
    await theirs.put(hourly("bobs", queue="bob.a"))
    assert [each.name for each in await theirs.list()] == ["bobs"]
    assert [each.name for each in await scheduler.schedules.list()] == ["bobs", "hourly"]
    for verb in (theirs.get, theirs.delete, theirs.pause, theirs.trigger, theirs.preview):
        with pytest.raises(ScheduleNotFound):
            await verb("hourly")
    with pytest.raises(ScheduleExists):
        await theirs.put(hourly(queue="bob.a"))
    for change in (theirs.put(hourly("other")), theirs.edit("bobs", queue="ada.a")):
        with pytest.raises(Forbidden):
            await change
    assert (await scheduler.schedules.get("bobs")).definition.queue == "bob.a"
    entries = await scheduler.store.audit.list(AuditQuery(target="bobs"))
    assert [entry.actor for entry in entries] == ["bob"]


# -- firing ----------------------------------------------------------------------------------------


async def test_a_fire_comes_at_its_time(
    schedules: Schedules, firing: Firing, manual_clock: ManualClock, scheduler: Scheduler
):
    start = manual_clock.now()
    await schedules.put(hourly(payload=b"7"))
    assert await firing.turn() == HOUR
    manual_clock.advance(HOUR - TICK)
    assert await firing.turn() == TICK
    assert await tasks_of(scheduler) == []
    manual_clock.advance(TICK)
    assert await firing.turn() == HOUR
    (task,) = await tasks_of(scheduler)
    assert (task.kind, task.payload, task.execute_at) == ("mail", b"7", start + HOUR)
    assert task.unique_key == "hourly@2026-01-01T01:00:00Z"
    kept = await schedules.get("hourly")
    assert (kept.last_fire_at, kept.last_task_id) == (start + HOUR, task.id)


@pytest.mark.parametrize(
    ("catch_up", "late", "expected"),
    [
        (CatchUp.LATEST, timedelta(0), [5]),
        (CatchUp.LATEST, HOUR / 2, [5]),
        (CatchUp.ALL, HOUR / 2, [1, 2, 3, 4, 5]),
        (CatchUp.NONE, timedelta(minutes=1), [5]),
        (CatchUp.NONE, timedelta(minutes=1) + TICK, []),
    ],
)
async def test_what_was_missed(
    catch_up: CatchUp,
    late: timedelta,
    expected: list[int],
    schedules: Schedules,
    firing: Firing,
    manual_clock: ManualClock,
    scheduler: Scheduler,
):
    start = manual_clock.now()
    await schedules.put(hourly(catch_up=catch_up))
    manual_clock.advance(HOUR * 5 + late)
    assert await firing.turn() == HOUR - late
    times = [task.execute_at for task in await tasks_of(scheduler)]
    assert times == [start + HOUR * number for number in expected]
    assert (await schedules.get("hourly")).next_fire_at == start + HOUR * 6


async def test_very_much_that_was_missed_comes_in_parts(
    schedules: Schedules, firing: Firing, manual_clock: ManualClock, scheduler: Scheduler
):
    count = CAUGHT_UP_AT_ONCE * 2 + 5
    await schedules.put(hourly(cron="* * * * *", catch_up=CatchUp.ALL))
    manual_clock.advance(minutes=count)
    first = plan(await schedules.get("hourly"), manual_clock.now())
    assert first is not None
    assert len(first.fires) == CAUGHT_UP_AT_ONCE
    await firing.turn()
    tasks = await tasks_of(scheduler)
    assert len({task.execute_at for task in tasks}) == len(tasks) == count


async def test_it_ends(
    schedules: Schedules, firing: Firing, manual_clock: ManualClock, scheduler: Scheduler
):
    await schedules.put(hourly(ends_at=manual_clock.now() + HOUR))
    manual_clock.advance(HOUR)
    assert await firing.turn() is None
    assert len(await tasks_of(scheduler)) == 1
    kept = await schedules.get("hourly")
    assert (kept.next_fire_at, kept.is_paused) == (None, False)
    assert await schedules.preview("hourly") == []


async def test_many_workers_fire_once(
    schedules: Schedules, manual_clock: ManualClock, scheduler: Scheduler
):
    for number in range(20):
        await schedules.put(hourly(f"s{number}"))
    everybody = [Firing(scheduler.store) for _ in range(5)]
    for _ in range(3):
        manual_clock.advance(HOUR)
        await asyncio.gather(*(each.turn() for each in everybody))
    assert len(await tasks_of(scheduler)) == 60


async def test_one_that_is_not_understood_here_holds_up_no_other(
    schedules: Schedules,
    firing: Firing,
    manual_clock: ManualClock,
    scheduler: Scheduler,
    caplog: pytest.LogCaptureFixture,
):
    """Another process knew the zone; this one tells once, and fires the others."""
    strange = Schedule.make(
        hourly("a", time_zone="Mars/Olympus"),
        now=manual_clock.now(),
        next_fire_at=manual_clock.now(),
    )
    await scheduler.store.schedules.add(strange)
    await schedules.put(hourly("b"))
    manual_clock.advance(HOUR)
    with caplog.at_level(logging.ERROR, "taskscheduler.schedules"):
        for _ in range(3):
            await firing.turn()
            manual_clock.advance(HOUR)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Mars/Olympus" in caplog.text
    assert len(await tasks_of(scheduler)) == 3
    assert await schedules.get("a") == strange


async def test_a_store_that_goes_away_leaves_it_due(
    schedules: Schedules, manual_clock: ManualClock, scheduler: Scheduler
):
    faulty: Any = Faulty(scheduler.store.schedules)
    firing = Firing(replace(scheduler.store, schedules=faulty))
    await schedules.put(hourly())
    manual_clock.advance(HOUR)
    faulty.refuse("fire")
    with pytest.raises(StoreUnavailable):
        await firing.turn()
    assert await tasks_of(scheduler) == []
    faulty.lose_answer("fire")
    with pytest.raises(StoreUnavailable):
        await firing.turn()
    assert await firing.turn() == HOUR
    assert len(await tasks_of(scheduler)) == 1


async def test_a_worker_fires_and_runs_in_one_turn(
    schedules: Schedules, manual_clock: ManualClock, scheduler: Scheduler
):
    handlers = Handlers()
    ran: list[int] = []

    @handlers.register("mail")
    async def mail(_: Any, number: int) -> None:
        ran.append(number)

    worker = Worker(scheduler, handlers)
    await schedules.put(hourly(payload=b"7", overlap=Overlap.SKIP))
    assert await worker.turn() == 0
    for _ in range(3):
        manual_clock.advance(HOUR)
        assert await worker.turn() == 1
    assert ran == [7, 7, 7]
    assert {task.status for task in await tasks_of(scheduler)} == {TaskStatus.COMPLETED}


async def test_who_drains_fires_what_is_due_first(
    schedules: Schedules, manual_clock: ManualClock, scheduler: Scheduler
):
    handlers = Handlers()

    @handlers.register("mail")
    async def mail(_: Any) -> None:
        pass

    await schedules.put(hourly())
    manual_clock.advance(HOUR)
    await Worker(scheduler, handlers).run(until_drained=True)
    (task,) = await tasks_of(scheduler)
    assert task.status is TaskStatus.COMPLETED


async def test_a_running_worker_fires_by_itself():
    """On the real clock: the schedule is made while the worker idles."""
    handlers = Handlers()
    ran = asyncio.Event()

    @handlers.register("mail")
    async def mail(_: Any) -> None:
        ran.set()

    async with Scheduler.in_memory() as scheduler:
        worker = Worker(scheduler, handlers, poll_interval=timedelta(milliseconds=20))
        running = asyncio.create_task(worker.run())
        made, _ = await scheduler.schedules.put(hourly(cron=None, every=timedelta(seconds=1)))
        async with asyncio.timeout(20):
            await ran.wait()
        worker.stop()
        await running
        (task,) = await tasks_of(scheduler)
        assert task.execute_at == made.created_at + timedelta(seconds=1)
        assert task.started_at is not None
        assert task.started_at >= task.execute_at
