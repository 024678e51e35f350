"""Firing schedules: on time, once, whatever else is wrong."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Handlers, Scheduler, TaskQuery, TaskStatus, Worker
from taskscheduler.application.calendar import zones
from taskscheduler.application.calendar.fire_plan import COUNTED_MAX, PLANNED_AT_ONCE, plan
from taskscheduler.application.maintenance.schedule_review import REVIEW_EVERY_S, REVIEWED_AT_ONCE
from taskscheduler.application.maintenance.schedule_runner import TAKEN_AT_ONCE, ScheduleRunner
from taskscheduler.application.metrics.attempt_stats import AttemptStats
from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import InvalidSchedule, StoreUnavailable
from taskscheduler.domain.fire import Due
from taskscheduler.domain.schedule import CatchUp, NewSchedule, Overlap, Schedule
from tests.fire_storm import require_each_once, storm
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.client.schedules import Schedules
    from taskscheduler.domain.fire import Fire
    from taskscheduler.domain.task import Task
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


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


async def tasks_of(scheduler: Scheduler) -> list[Task]:
    found = await scheduler.list(TaskQuery(limit=100_000))
    return sorted(found, key=lambda task: task.execute_at)


async def test_a_fire_comes_at_its_time(
    schedules: Schedules, firing: ScheduleRunner, manual_clock: ManualClock, scheduler: Scheduler
):
    start = manual_clock.now()
    await schedules.put(hourly(payload_json=b"7"))
    assert await firing.turn() == HOUR
    manual_clock.advance(HOUR - TICK)
    assert await firing.turn() == TICK
    assert await tasks_of(scheduler) == []
    manual_clock.advance(TICK)
    assert await firing.turn() == HOUR
    (task,) = await tasks_of(scheduler)
    assert (task.kind, task.payload_json, task.execute_at) == ("mail", b"7", start + HOUR)
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
    firing: ScheduleRunner,
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
    schedules: Schedules, firing: ScheduleRunner, manual_clock: ManualClock, scheduler: Scheduler
):
    count = PLANNED_AT_ONCE * 2 + 5
    await schedules.put(hourly(cron="* * * * *", catch_up=CatchUp.ALL))
    manual_clock.advance(minutes=count)
    now = manual_clock.now()
    first = plan(Due.of(await schedules.get("hourly")), now, now)
    assert len(first.fires) == PLANNED_AT_ONCE
    await firing.turn()
    tasks = await tasks_of(scheduler)
    assert len({task.execute_at for task in tasks}) == len(tasks) == count


async def test_it_ends(
    schedules: Schedules, firing: ScheduleRunner, manual_clock: ManualClock, scheduler: Scheduler
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
    everybody = [ScheduleRunner(scheduler.store) for _ in range(5)]
    for _ in range(3):
        manual_clock.advance(HOUR)
        await asyncio.gather(*(each.turn() for each in everybody))
    assert len(await tasks_of(scheduler)) == 60


# -- live workers miss nothing -------------------------------------------------------------------

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("catch_up", CatchUp)
async def test_what_living_workers_are_late_with_is_stored(
    catch_up: CatchUp,
    schedules: Schedules,
    firing: ScheduleRunner,
    manual_clock: ManualClock,
    scheduler: Scheduler,
):
    """Each of it, however late: catching up is for outages."""
    await schedules.put(hourly(cron=None, every=SECOND, catch_up=catch_up))
    await firing.turn()
    for _ in range(4):
        manual_clock.advance(seconds=50)
        await scheduler.store.schedules.watch()  # as a worker does that is busy with others
    assert await firing.turn() == SECOND
    tasks = await tasks_of(scheduler)
    assert len({task.execute_at for task in tasks}) == len(tasks) == 200


async def test_what_comes_after_an_outage_is_not_missed(
    schedules: Schedules, firing: ScheduleRunner, manual_clock: ManualClock, scheduler: Scheduler
):
    """Of what passed in the outage the last is stored, and all that came later."""
    await schedules.put(hourly(cron=None, every=SECOND))
    start = manual_clock.advance(HOUR)
    await scheduler.store.schedules.watch()
    manual_clock.advance(seconds=30)
    await firing.turn()
    times = [task.execute_at for task in await tasks_of(scheduler)]
    assert times == [start + SECOND * number for number in range(31)]


async def test_what_is_let_go_is_counted_and_logged(
    schedules: Schedules,
    scheduler: Scheduler,
    manual_clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
):
    tally = AttemptStats()
    firing = ScheduleRunner(scheduler.store, tally)
    await schedules.put(hourly("latest"))
    await schedules.put(hourly("none", catch_up=CatchUp.NONE))
    await schedules.put(hourly("seconds", cron=None, every=SECOND))
    manual_clock.advance(HOUR * 5.5)
    with caplog.at_level(logging.WARNING, "taskscheduler.schedules"):
        await firing.turn()
    assert tally.fires == {
        "stored": 2,
        "missed": 4 + 5 + COUNTED_MAX,
        "overlapped": 0,
        "buffered": 0,
        "paused": 0,
        "failed": 0,
    }
    told = sorted(record.getMessage() for record in caplog.records)
    assert [message.partition(" fires")[0] for message in told] == [
        "schedule latest: 4",
        "schedule none: 5",
        f"schedule seconds: {COUNTED_MAX} or more",
    ]


async def test_of_several_that_overlap_one_is_stored(
    schedules: Schedules, scheduler: Scheduler, manual_clock: ManualClock
):
    tally = AttemptStats()
    firing = ScheduleRunner(scheduler.store, tally)
    await schedules.put(hourly(cron=None, every=SECOND, overlap=Overlap.SKIP))
    manual_clock.advance(seconds=5)
    await firing.turn()
    manual_clock.advance(seconds=5)
    await firing.turn()
    assert len(await tasks_of(scheduler)) == 1
    assert (tally.fires["stored"], tally.fires["overlapped"]) == (1, 9)


async def test_a_backlog_is_not_in_the_way_of_what_is_punctual(
    schedules: Schedules, scheduler: Scheduler, manual_clock: ManualClock
):
    """However many have one: of each a part is stored at a time, and others between."""
    many = 2 * TAKEN_AT_ONCE
    for number in range(many):
        await schedules.put(hourly(f"old{number}", cron="* * * * *", catch_up=CatchUp.ALL))
    manual_clock.advance(HOUR * 5)
    await schedules.put(hourly("punctual", cron=None, every=SECOND))
    manual_clock.advance(SECOND)
    kept = scheduler.store.schedules.take
    takes = 0

    async def take_once(*arguments: Any, **options: Any) -> Any:
        nonlocal takes
        takes += 1
        return await kept(*arguments, **options) if takes == 1 else None

    faulty: Any = Faulty(scheduler.store.schedules)
    faulty.do_instead("take", take_once)
    await ScheduleRunner(replace(scheduler.store, schedules=faulty)).turn()
    tasks = await tasks_of(scheduler)
    assert len(tasks) == 1 + (TAKEN_AT_ONCE - 1) * PLANNED_AT_ONCE
    assert manual_clock.now() in {task.execute_at for task in tasks}


# -- what is written down may be wrong -------------------------------------------------------------


async def test_a_clock_that_was_ahead_silences_no_schedule(
    schedules: Schedules,
    firing: ScheduleRunner,
    manual_clock: ManualClock,
    scheduler: Scheduler,
    caplog: pytest.LogCaptureFixture,
):
    names = [f"s{number}" for number in range(REVIEWED_AT_ONCE + 5)]
    for name in names:
        await schedules.put(hourly(name))
    assert await firing.turn() == HOUR
    manual_clock.jump(days=40)
    await firing.turn()
    manual_clock.jump(days=-40)
    with caplog.at_level(logging.WARNING, "taskscheduler.schedules"):
        assert await firing.turn() == HOUR
    assert f"{len(names)} schedules waited for too long" in caplog.text
    before = len(await tasks_of(scheduler))
    manual_clock.advance(HOUR)
    await firing.turn()
    times = [task.execute_at for task in await tasks_of(scheduler)]
    assert times.count(manual_clock.now()) == len(names)
    assert len(times) == before + len(names)


async def test_a_time_beyond_the_first_fire_is_reckoned_anew(
    schedules: Schedules, manual_clock: ManualClock, scheduler: Scheduler
):
    """Whoever wrote it: found when a worker starts, and now and then."""
    made, _ = await schedules.put(hourly())

    async def silence() -> None:
        kept = await schedules.get("hourly")
        far = replace(kept, next_fire_at=manual_clock.now() + timedelta(days=400))
        await scheduler.store.schedules.replace(kept, far, action=Action.SCHEDULE_CHANGED)

    await silence()
    firing = ScheduleRunner(scheduler.store)
    assert await firing.turn() == HOUR
    assert (await schedules.get("hourly")).next_fire_at == made.next_fire_at
    await silence()
    manual_clock.advance(seconds=REVIEW_EVERY_S)
    assert await firing.turn() == HOUR - timedelta(seconds=REVIEW_EVERY_S)


async def test_newer_zones_move_what_older_ones_reckoned(
    schedules: Schedules, manual_clock: ManualClock, scheduler: Scheduler
):
    made, _ = await schedules.put(hourly(cron="0 3 * * *", time_zone="Europe/Berlin"))
    assert made.zone_data == zones.VERSION
    assert made.next_fire_at is not None
    sooner = made.next_fire_at - HOUR
    older = replace(made, next_fire_at=sooner, zone_data="2020a")
    await scheduler.store.schedules.replace(made, older, action=Action.SCHEDULE_CHANGED)
    await ScheduleRunner(scheduler.store).turn()
    kept = await schedules.get("hourly")
    assert (kept.next_fire_at, kept.zone_data) == (made.next_fire_at, zones.VERSION)
    manual_clock.advance(days=1)
    await ScheduleRunner(scheduler.store).turn()
    kept = await schedules.get("hourly")
    assert kept.zone_data == zones.VERSION
    assert len(await tasks_of(scheduler)) == 1


async def test_what_newer_zones_have_reckoned_is_left_to_who_has_them(
    schedules: Schedules, firing: ScheduleRunner, manual_clock: ManualClock, scheduler: Scheduler
):
    """A fire of one moment by these zones is one of another by those."""
    made, _ = await schedules.put(hourly(cron="0 3 * * *", time_zone="Europe/Berlin"))
    assert made.next_fire_at is not None
    newer = replace(made, next_fire_at=made.next_fire_at + HOUR, zone_data="2999a")
    await scheduler.store.schedules.replace(made, newer, action=Action.SCHEDULE_CHANGED)
    assert await firing.turn() is None
    manual_clock.advance(days=2)
    assert await firing.turn() is None
    assert await schedules.get("hourly") == newer
    assert await tasks_of(scheduler) == []
    for fields in ({"cron": "0 3 * * *"}, {"cron": None, "every": HOUR}):
        assert (await schedules.put(hourly("utc", **fields)))[0].zone_data is None


@pytest.mark.parametrize("catch_up", CatchUp)
async def test_what_is_written_down_is_due_whatever_the_rule_says(
    catch_up: CatchUp,
    schedules: Schedules,
    firing: ScheduleRunner,
    manual_clock: ManualClock,
    scheduler: Scheduler,
):
    """As where zones have changed since, or the schedule ends before it."""
    kept, _ = await schedules.put(hourly(catch_up=catch_up))
    ended = replace(
        kept,
        definition=replace(kept.definition, ends_at=manual_clock.now() + TICK),
        next_fire_at=manual_clock.now() + timedelta(minutes=7),
    )
    await scheduler.store.schedules.replace(kept, ended, action=Action.SCHEDULE_CHANGED)
    manual_clock.advance(minutes=7)
    assert await firing.turn() is None
    (task,) = await tasks_of(scheduler)
    assert task.execute_at == ended.next_fire_at


# -- what cannot be fired keeps no other waiting ---------------------------------------------------


async def test_one_that_is_not_understood_here_holds_up_no_other(
    schedules: Schedules,
    scheduler: Scheduler,
    manual_clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
):
    """It is told of, counted, and tried again later and later; the others are punctual."""
    tally = AttemptStats()
    firing = ScheduleRunner(scheduler.store, tally)
    strange = Schedule.make(
        hourly("a", time_zone="Mars/Olympus"),
        now=manual_clock.now(),
        next_fire_at=manual_clock.now(),
    )
    await scheduler.store.schedules.add(strange)
    await schedules.put(hourly("b", cron=None, every=SECOND))
    with caplog.at_level(logging.ERROR, "taskscheduler.schedules"):
        for _ in range(100):
            manual_clock.advance(SECOND)
            assert await firing.turn() == SECOND
    assert len(await tasks_of(scheduler)) == 100
    told = [record.getMessage() for record in caplog.records]
    assert 5 <= len(told) <= 8
    assert all("schedule a cannot be fired here" in each for each in told)
    assert "Mars/Olympus" in told[0]
    assert tally.fires["failed"] == len(told)
    kept = await schedules.get("a")
    assert (kept.next_fire_at, kept.revision) == (strange.next_fire_at, strange.revision)
    assert kept.problem is not None
    assert "Mars/Olympus" in kept.problem
    with pytest.raises(InvalidSchedule):
        await schedules.preview("a")
    await schedules.edit("a", time_zone="Europe/Berlin")
    manual_clock.advance(minutes=5)
    await firing.turn()
    assert (await schedules.get("a")).problem is None


async def test_one_that_cannot_be_stored_holds_up_no_other(
    schedules: Schedules, scheduler: Scheduler, manual_clock: ManualClock
):
    """Where all at once are refused they are stored one by one."""
    tally = AttemptStats()
    kept_fire = scheduler.store.schedules.fire

    async def picky(fires: Sequence[Fire]) -> Any:
        if any(fire.due.name == "s3" for fire in fires):
            message = "no room for s3"
            raise RuntimeError(message)
        return await kept_fire(fires)

    faulty: Any = Faulty(scheduler.store.schedules)
    faulty.do_instead("fire", picky)
    firing = ScheduleRunner(replace(scheduler.store, schedules=faulty), tally)
    for number in range(10):
        await schedules.put(hourly(f"s{number}"))
    manual_clock.advance(HOUR)
    assert await firing.turn() == SECOND, "the one is tried again"
    assert len(await tasks_of(scheduler)) == 9
    assert (tally.fires["stored"], tally.fires["failed"]) == (9, 1)
    assert (await schedules.get("s3")).problem == "RuntimeError: no room for s3"
    manual_clock.advance(HOUR * 7)
    assert await ScheduleRunner(scheduler.store, tally).turn() == HOUR
    assert (await schedules.get("s3")).problem is None
    assert tally.fires["missed"] > 0


async def test_a_store_that_goes_away_leaves_it_due(
    schedules: Schedules, manual_clock: ManualClock, scheduler: Scheduler
):
    faulty: Any = Faulty(scheduler.store.schedules)
    firing = ScheduleRunner(replace(scheduler.store, schedules=faulty))
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
    await schedules.put(hourly(payload_json=b"7", overlap=Overlap.SKIP))
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


# -- all at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
async def test_in_a_storm_each_time_fires_once(
    seed: int, scheduler: Scheduler, manual_clock: ManualClock
):
    require_each_once(await storm(scheduler, manual_clock, seed))
