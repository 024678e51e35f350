"""What handlers need for as long as their process works."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Context, Handlers, Worker
from taskscheduler.domain.errors import InvalidHandler
from taskscheduler.testing import Drained, drain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler import Scheduler

pytestmark = pytest.mark.anyio


class Pool:
    """What is opened, and tells of it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[str]:
        self.said.append("opened")
        await asyncio.sleep(0)
        try:
            yield "a pool"
        finally:
            self.said.append("closed")


@pytest.fixture
def pool() -> Pool:
    return Pool()


def handlers_of(pool: Pool) -> Handlers:
    handlers = Handlers(lifespan=pool.open)

    @handlers.register("k")
    async def k(context: Context) -> None:
        pool.said.append(f"ran with {handlers.state}")

    return handlers


async def test_it_is_open_from_before_the_first_task_to_after_the_last(
    scheduler_in_memory: Scheduler, pool: Pool
) -> None:
    handlers = handlers_of(pool)
    assert handlers.state is None
    await scheduler_in_memory.schedule("k")
    await Worker(scheduler_in_memory, handlers).run(until_drained=True)
    assert pool.said == ["opened", "ran with a pool", "closed"]
    assert handlers.state is None
    await scheduler_in_memory.schedule("k")
    assert await drain(scheduler_in_memory, handlers) == Drained(completed=1)
    assert pool.said == ["opened", "ran with a pool", "closed"] * 2


async def test_workers_of_one_process_share_it(scheduler_in_memory: Scheduler, pool: Pool) -> None:
    handlers = handlers_of(pool)
    await scheduler_in_memory.schedule_many([("k", None)] * 2)
    workers = [Worker(scheduler_in_memory, handlers, name=str(n)) for n in range(3)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    while pool.said.count("ran with a pool") < 2:
        await asyncio.sleep(0)
    for worker, task in zip(workers, running, strict=True):
        worker.stop()
        await task
    assert pool.said == ["opened", *["ran with a pool"] * 2, "closed"]


async def test_that_of_included_handlers_is_entered_too(
    scheduler_in_memory: Scheduler, pool: Pool
) -> None:
    handlers = Handlers()
    handlers.include(handlers_of(pool))
    handlers.include(handlers_of(pool))
    await scheduler_in_memory.schedule("k")
    await Worker(scheduler_in_memory, handlers).run(until_drained=True)
    assert pool.said.count("opened") == pool.said.count("closed") == 2
    assert "ran with a pool" in pool.said


async def test_what_cannot_be_opened_ends_the_worker_before_it_takes_tasks(
    scheduler_in_memory: Scheduler,
) -> None:
    @asynccontextmanager
    async def broken() -> AsyncGenerator[None]:
        raise ConnectionRefusedError
        yield

    handlers = Handlers(lifespan=broken)

    @handlers.register("k")
    async def k(context: Context) -> None:
        raise AssertionError

    await scheduler_in_memory.schedule("k")
    with pytest.raises(ConnectionRefusedError):
        await Worker(scheduler_in_memory, handlers).run(until_drained=True)
    assert await scheduler_in_memory.workers() == []


def test_what_cannot_be_called_is_refused_at_once() -> None:
    def wants(app: object) -> Any: ...

    nothing: Any = 5
    with pytest.raises(InvalidHandler, match="takes nothing"):
        Handlers(lifespan=wants)  # pyright: ignore[reportArgumentType] - what is tested
    with pytest.raises(InvalidHandler, match="lifespan must be a function"):
        Handlers(lifespan=nothing)
