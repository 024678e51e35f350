"""Watching: what one look tells after another."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskscheduler.application.scheduler import Scheduler
from taskscheduler.application.watching import Watch, Watched
from taskscheduler.domain.change import LATE, WATCHED_MAX
from taskscheduler.domain.status import TaskStatus
from taskscheduler.testing import ManualClock, in_memory
from taskscheduler.testing.contracts.steps import bring, claim, end, join

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(clock: ManualClock) -> Scheduler:
    return in_memory(clock)


async def told(watch: Watch) -> list[tuple[str, str]]:
    found = await watch.look()
    assert list(found.gone) == []
    return [(state.kind, state.status.value) for state in found.changed]


async def test_each_change_is_told_once(scheduler: Scheduler) -> None:
    watch = Watch(scheduler.store, Watched(kind="mail"))
    await scheduler.schedule("mail")
    assert list((await watch.begin()).changed) == []
    assert await told(watch) == []
    await scheduler.schedule("mail")
    await scheduler.schedule("fax")
    assert await told(watch) == [("mail", "Pending")]
    worker_id = await join(scheduler.store)
    leases = await claim(scheduler.store, worker_id)
    assert await told(watch) == [("mail", "InProgress")] * 2
    for lease in leases:
        await end(scheduler.store, lease)
    assert await told(watch) == [("mail", "Completed")] * 2
    assert await told(watch) == []


async def test_a_task_that_is_watched_by_its_id_may_go(scheduler: Scheduler) -> None:
    task_id = await scheduler.schedule("mail")
    watch = Watch(scheduler.store, Watched(ids=(task_id,)))
    first = await watch.begin()
    assert [state.id for state in first.changed] == [task_id]
    await scheduler.schedule("mail")
    assert await told(watch) == []
    await scheduler.delete(task_id)
    found = await watch.look()
    assert (list(found.changed), list(found.gone)) == ([], [task_id])


async def test_who_watches_ids_is_told_at_once_where_they_stand(
    scheduler: Scheduler, clock: ManualClock
) -> None:
    """One that has ended would never be told of again, nor would one that is not there."""
    nobodys = scheduler.store.new_task_id()
    ended = await bring(scheduler.store, TaskStatus.COMPLETED)
    waiting = await scheduler.schedule("mail")
    watch = Watch(scheduler.store, Watched(ids=(waiting, nobodys, ended)))
    first = await watch.begin()
    assert [(state.id, state.status) for state in first.changed] == [
        (ended, TaskStatus.COMPLETED),
        (waiting, TaskStatus.PENDING),
    ]
    assert list(first.gone) == [nobodys]
    assert await told(watch) == []
    clock.advance(LATE + timedelta(seconds=10))
    again = await watch.begin(clock.now())
    assert [state.id for state in again.changed] == [waiting], "the rest was told before"
    assert list(again.gone) == [nobodys]


async def test_values_of_one_field_are_alternatives(scheduler: Scheduler) -> None:
    watch = Watch(scheduler.store, Watched(kind=("mail", "fax"), queue="default"))
    await watch.begin()
    for kind in ("mail", "fax", "pigeon"):
        await scheduler.schedule(kind)
        await scheduler.schedule(kind, queue="other")
    assert await told(watch) == [("mail", "Pending"), ("fax", "Pending")]


async def test_old_tasks_that_come_into_sight_are_no_news(scheduler: Scheduler) -> None:
    await scheduler.schedule_many([("mail", None)] * 10)
    newest = await scheduler.schedule_many([("mail", None)] * WATCHED_MAX)
    watch = Watch(scheduler.store, Watched())
    await watch.begin()
    await scheduler.delete(newest[-1])
    assert await told(watch) == []
    await scheduler.schedule("fax")
    assert await told(watch) == [("fax", "Pending")]


async def test_who_comes_back_is_told_what_was_missed(
    scheduler: Scheduler, clock: ManualClock
) -> None:
    await bring(scheduler.store, TaskStatus.COMPLETED)
    clock.advance(LATE + timedelta(seconds=10))
    last = clock.now()
    await bring(scheduler.store, TaskStatus.FAILED)
    clock.advance(seconds=1)
    await scheduler.schedule("fax")
    watch = Watch(scheduler.store, Watched())
    first = await watch.begin(last)
    assert [state.status.value for state in first.changed] == ["Failed", "Pending"]
    assert await told(watch) == []
