"""A process that was stopped and goes on begins nothing, not even in a thread it had asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest

from taskscheduler import Context, Handlers, TaskStatus, Worker
from taskscheduler.application.worker.threads import Threads
from taskscheduler.testing import ManualClock, in_memory

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=30)


async def test_a_thread_asks_again_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease passes between the slot's question and the thread's turn."""
    clock, handlers = ManualClock(), Handlers()
    begun: list[Context] = []
    handlers.register("job")(begun.append)

    class Late(Threads):
        """Its threads come to their work when the lease is over, once."""

        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            if clock.monotonic() < LEASE.total_seconds():
                clock.advance(LEASE)
            return super().submit(fn, *args, **kwargs)

    monkeypatch.setattr("taskscheduler.application.worker.worker.Threads", Late)
    async with in_memory(clock) as scheduler:
        task_id = await scheduler.schedule("job")
        worker = Worker(scheduler, handlers, lease=LEASE)
        async with asyncio.timeout(20):
            assert await worker.turn() == 1
            assert not begun
            assert await worker.drain() == 1
        assert len(begun) == 1
        assert (await scheduler.get(task_id)).status is TaskStatus.COMPLETED
