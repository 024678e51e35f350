"""Watching: what one look tells after another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskscheduler.application.client.change_feed import ChangeFeed, Watched
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.client.shared_look import FRESH_S, Lookout
from taskscheduler.domain.change import LATE, WATCHED_MAX
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.status import TaskStatus
from taskscheduler.testing import ManualClock, in_memory
from taskscheduler.testing.contracts.steps import bring, claim, end, join
from tests.support.faults import Faulty

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


async def told(watch: ChangeFeed) -> list[tuple[str, str]]:
    found = await watch.look()
    assert list(found.gone) == []
    return [(state.kind, state.status.value) for state in found.changed]


async def test_each_change_is_told_once(scheduler: Scheduler) -> None:
    watch = ChangeFeed(scheduler.store, Watched(kind="mail"))
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
    watch = ChangeFeed(scheduler.store, Watched(ids=(task_id,)))
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
    watch = ChangeFeed(scheduler.store, Watched(ids=(waiting, nobodys, ended)))
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
    watch = ChangeFeed(scheduler.store, Watched(kind=("mail", "fax"), queue="default"))
    await watch.begin()
    for kind in ("mail", "fax", "pigeon"):
        await scheduler.schedule(kind)
        await scheduler.schedule(kind, queue="other")
    assert await told(watch) == [("mail", "Pending"), ("fax", "Pending")]


async def test_old_tasks_that_come_into_sight_are_no_news(scheduler: Scheduler) -> None:
    await scheduler.schedule_many([("mail", None)] * 10)
    newest = await scheduler.schedule_many([("mail", None)] * WATCHED_MAX)
    watch = ChangeFeed(scheduler.store, Watched())
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
    watch = ChangeFeed(scheduler.store, Watched())
    first = await watch.begin(last)
    assert [state.status.value for state in first.changed] == ["Failed", "Pending"]
    assert await told(watch) == []


class Counting:
    """A board whose looks are counted."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self.looks = 0

    async def states(self, *arguments: Any) -> Any:
        self.looks += 1
        await asyncio.sleep(0)
        return await self._board.states(*arguments)


async def test_many_who_watch_the_same_cost_one_look(scheduler: Scheduler) -> None:
    board = Counting(scheduler.store.board)
    counted: Any = board
    shared_look = Lookout(replace(scheduler.store, board=counted))
    watches = [ChangeFeed(scheduler.store, Watched(kind="mail"), shared_look) for _ in range(100)]
    other = ChangeFeed(scheduler.store, Watched(kind="fax"), shared_look)
    for watch in (*watches, other):
        await watch.begin()
    board.looks = 0
    await scheduler.schedule("mail")
    found = await asyncio.gather(*(told(watch) for watch in watches), told(other))
    assert found == [[("mail", "Pending")]] * 100 + [[]]
    assert board.looks == 2
    # What is young enough is not looked for again, and told to nobody twice.
    assert await asyncio.gather(*(told(watch) for watch in watches)) == [[]] * 100
    assert board.looks == 2
    await asyncio.sleep(FRESH_S)
    await scheduler.schedule("mail")
    assert await told(watches[0]) == [("mail", "Pending")]
    assert await told(watches[1]) == [("mail", "Pending")]
    assert board.looks == 3
    # One that has slept through some looks hears all of it, too.
    late = watches[2]
    await asyncio.sleep(FRESH_S)
    await scheduler.schedule("mail")
    assert await told(watches[0]) == [("mail", "Pending")]
    assert await told(late) == [("mail", "Pending")] * 2


async def test_a_look_that_fails_fails_for_all_and_the_next_one_is_new(
    scheduler: Scheduler,
) -> None:
    board: Any = Faulty(scheduler.store.board)
    store = replace(scheduler.store, board=board)
    shared_look = Lookout(store)
    watches = [ChangeFeed(store, Watched(), shared_look) for _ in range(3)]
    for watch in watches:
        await watch.begin()
    board.refuse("states")
    failed = await asyncio.gather(*(watch.look() for watch in watches), return_exceptions=True)
    assert [type(each) for each in failed] == [StoreUnavailable] * 3
    await asyncio.sleep(FRESH_S)
    await scheduler.schedule("mail")
    assert await told(watches[0]) == [("mail", "Pending")]


async def test_who_leaves_does_not_end_the_look_of_others(scheduler: Scheduler) -> None:
    shared_look = Lookout(scheduler.store)
    leaving = asyncio.create_task(shared_look.shared(Watched()))
    staying = asyncio.create_task(shared_look.shared(Watched()))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == {}
