"""A worker that drains ends, also where it cannot drain."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Context, Handlers, Scheduler, StoreUnavailable, TaskStatus, Worker
from tests.support.faults import AWAY, Faulty

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0


class Away:
    """A scheduler in memory that can be cut off from its store."""

    def __init__(self) -> None:
        self.scheduler = Scheduler.in_memory()
        store = self.scheduler.store
        self._ports = {"tasks": Faulty(store.tasks), "workers": Faulty(store.workers)}

        @asynccontextmanager
        async def heartbeat_registry() -> AsyncGenerator[Any]:
            yield self._ports["workers"]

        self.cut = Scheduler(replace(store, **self._ports, heartbeat_registry=heartbeat_registry))  # pyright: ignore[reportArgumentType]

    def cut_off(self) -> None:
        """Refuse all that a worker asks for, from now on."""
        for port in self._ports.values():
            for method in (
                "heartbeat",
                "claim",
                "register",
                "deregister",
                "next_due",
                "reconcile",
                "settle",
            ):
                port.do_instead(method, refuse)


async def refuse(*arguments: object, **options: object) -> None:
    """Be away."""
    raise AWAY


async def test_a_store_that_is_away_from_the_start_is_said_and_not_waited_for():
    away = Away()
    away.cut_off()
    worker = Worker(away.cut, Handlers())
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable, match="says the test"):
            await worker.run(until_drained=True)


async def test_a_store_that_goes_away_for_longer_than_the_lease_ends_it():
    away, handlers = Away(), Handlers()

    @handlers.register("cut")
    async def cut(context: Context) -> None:
        away.cut_off()

    task_id = await away.scheduler.schedule("cut")
    worker = Worker(
        away.cut, handlers, lease=timedelta(seconds=1), poll_interval=timedelta(milliseconds=20)
    )
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable, match="says the test"):
            await worker.run(until_drained=True)
    # Nothing is lost: the lease expires, and another worker runs it.
    assert (await away.scheduler.get(task_id)).status is TaskStatus.IN_PROGRESS
