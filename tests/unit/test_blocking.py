"""A plain handler, in its thread, uses the scheduler and the transaction without ``await``."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Context, Handlers, TaskStatus, Worker
from taskscheduler.application.client.blocking import Blocking, for_this_thread
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.testing import Drained, assert_scheduled, drain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler import Scheduler

pytestmark = pytest.mark.anyio


async def test_a_plain_handler_schedules_a_follow_up(scheduler_in_memory: Scheduler) -> None:
    handlers = Handlers()
    ids: list[Any] = []

    @handlers.register("parent")
    def parent(context: Context) -> None:
        scheduler: Any = context.scheduler
        ids.append(scheduler.schedule("child", {"of": str(context.id)}))
        ids.extend(scheduler.schedule_many([("child", 1), ("child", 2)]))
        task = scheduler.get(ids[0])
        assert task.kind == "child"
        assert scheduler.prepare("child").kind == "child"
        assert scheduler.schedules.list() == []

    parent_id = await scheduler_in_memory.schedule("parent", max_attempts=1)
    assert await drain(scheduler_in_memory, handlers) == Drained(completed=1)
    assert [(await scheduler_in_memory.get(each)).kind for each in ids] == ["child"] * 3
    await assert_scheduled(scheduler_in_memory, "child", {"of": str(parent_id)})


async def test_what_the_scheduler_raises_arrives_in_the_thread(
    scheduler_in_memory: Scheduler,
) -> None:
    handlers = Handlers()

    @handlers.register("parent")
    def parent(context: Context) -> None:
        scheduler: Any = context.scheduler
        scheduler.schedule("no name")

    await scheduler_in_memory.schedule("parent", max_attempts=1)
    with pytest.raises(InvalidTask, match="kind"):
        await drain(scheduler_in_memory, handlers)


async def test_a_loop_of_the_threads_own_is_not_held_up(scheduler_in_memory: Scheduler) -> None:
    handlers = Handlers()
    ids: list[Any] = []

    @handlers.register("parent")
    def parent(context: Context) -> None:
        async def work() -> None:
            ids.append(await context.scheduler.schedule("child"))

        asyncio.run(work())

    await scheduler_in_memory.schedule("parent", max_attempts=1)
    assert await drain(scheduler_in_memory, handlers) == Drained(completed=1)
    assert (await scheduler_in_memory.get(ids[0])).kind == "child"


async def test_an_async_handler_has_the_scheduler_itself(scheduler_in_memory: Scheduler) -> None:
    handlers = Handlers()
    seen: list[object] = []

    @handlers.register("job")
    async def job(context: Context) -> None:
        seen.append(context.scheduler)
        seen.append(await asyncio.to_thread(lambda: context.scheduler))

    await scheduler_in_memory.schedule("job")
    await drain(scheduler_in_memory, handlers)
    assert seen[0] is scheduler_in_memory
    assert isinstance(seen[1], Blocking)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_transaction_in_a_plain_handler(
    scheduler_in_memory: Scheduler, *, fails: bool
) -> None:
    handlers = Handlers()
    settled: list[bool] = []

    @handlers.register("job")
    def job(context: Context) -> None:
        opened: Any = context.transaction()
        with opened:
            settled.append(context.settled)
            if fails:
                raise ValueError
        settled.append(context.settled)

    task_id = await scheduler_in_memory.schedule("job", max_attempts=1)
    worker = Worker(scheduler_in_memory, handlers)
    assert await worker.turn() == 1
    status = (await scheduler_in_memory.get(task_id)).status
    assert status is (TaskStatus.FAILED if fails else TaskStatus.COMPLETED)
    assert settled == ([False] if fails else [False, True])


class Cursor:
    """Has rows, and an answer, for who awaits them."""

    def __init__(self) -> None:
        self.left = [1, 2, 3]
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def fetchone(self) -> int:
        self.loops.add(asyncio.get_running_loop())
        return self.left.pop(0)

    def __aiter__(self) -> Cursor:
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        return await self.fetchone()


class Connection:
    """Makes cursors, by a coroutine or not."""

    def __init__(self) -> None:
        self.made: list[Cursor] = []
        self.name = "a name"

    def cursor(self) -> Cursor:
        self.made.append(Cursor())
        return self.made[-1]

    async def execute(self, text: str) -> Cursor:
        assert text
        return self.cursor()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Cursor]:
        yield self.cursor()


async def test_whatever_is_asynchronous_is_handed_out_in_the_same_way() -> None:
    home = asyncio.get_running_loop()
    connection = Connection()
    assert for_this_thread(connection, home) is connection

    def in_a_thread() -> list[Any]:
        here: Any = for_this_thread(connection, home)
        assert here.name == "a name"
        with here.transaction() as cursor:
            first = cursor.fetchone()
        return [first, here.execute("x").fetchone(), *here.cursor()]

    assert await asyncio.to_thread(in_a_thread) == [1, 1, 1, 2, 3]
    assert set.union(*(cursor.loops for cursor in connection.made)) == {home}
