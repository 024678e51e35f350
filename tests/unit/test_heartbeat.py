"""The heartbeat's thread: what it leaves behind when it ends."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.adapters.system import SystemClock
from taskscheduler.application.worker.heartbeat import Heartbeat
from taskscheduler.application.worker.registration import Registration
from taskscheduler.domain.worker import WorkerProfile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from taskscheduler import Scheduler
    from taskscheduler.domain.ports.workers import WorkerRegistry
    from taskscheduler.domain.worker import Cancellation

pytestmark = pytest.mark.anyio

PROFILE = WorkerProfile(
    name="test",
    queues=frozenset({"default"}),
    kinds={},
    concurrency=1,
    lease=timedelta(seconds=600),
)


class SilentRegistry:
    """Never answers a beat; notes whether it was still open when the beat was given up."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.is_open = False
        self.given_up_while_open: bool | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[WorkerRegistry]:
        self.is_open = True
        yield self  # pyright: ignore[reportReturnType]
        self.is_open = False

    async def heartbeat(self, _: int, *, abandoned: int = 0) -> Sequence[Cancellation]:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # Giving a connection back takes a moment too.
            await asyncio.sleep(0)
            self.given_up_while_open = self.is_open
            raise
        return []


async def test_a_beat_under_way_is_given_up_before_its_registry_closes(
    scheduler_in_memory: Scheduler,
):
    registry = SilentRegistry()
    clock = SystemClock()
    registration = Registration(
        scheduler_in_memory.store.workers,
        clock,
        PROFILE,
        on_cancelled=lambda _: None,
        on_fenced=lambda: None,
    )
    await registration.register()
    async with Heartbeat(registration, clock, registry.opened).beating():
        await asyncio.to_thread(registry.asked.wait)
    assert registry.given_up_while_open is True
    assert not registry.is_open
