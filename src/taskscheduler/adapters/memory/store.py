"""The in-memory store, put together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from taskscheduler.adapters.memory.archive import MemoryArchive
from taskscheduler.adapters.memory.audit import MemoryAuditTrail
from taskscheduler.adapters.memory.gauge import MemoryGauge
from taskscheduler.adapters.memory.keys import MemoryKeyRing
from taskscheduler.adapters.memory.notes import MemoryNotes
from taskscheduler.adapters.memory.queues import MemoryQueueRegistry
from taskscheduler.adapters.memory.schedules import MemoryScheduleRepository
from taskscheduler.adapters.memory.state import State
from taskscheduler.adapters.memory.tasks import MemoryTaskBoard, MemoryTaskRepository
from taskscheduler.adapters.memory.wakeups import MemoryWakeUps
from taskscheduler.adapters.memory.workers import (
    MemoryKindCatalogue,
    MemoryUpkeep,
    MemoryWorkerRegistry,
)
from taskscheduler.application.store import Store
from taskscheduler.domain.ports import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime

    from taskscheduler.domain.ports import WakeUps, WorkerRegistry
    from taskscheduler.domain.task import TaskId


class StoreClock(Clock, Protocol):
    """A clock that may stand in for a store's."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        ...


def memory_store(
    clock: StoreClock,
    new_task_id: Callable[[], TaskId],
    *,
    unique_for: timedelta = timedelta(days=1),
    wakeups: WakeUps | None = None,
) -> Store:
    """Return a new, empty store whose time is ``clock``'s; ``wakeups`` by default its own."""
    state = State(clock.now, unique_for)
    bell = wakeups or MemoryWakeUps()
    workers = MemoryWorkerRegistry(state)

    @asynccontextmanager
    async def own_registry() -> AsyncGenerator[WorkerRegistry]:
        # Each of its methods runs from start to end without giving way, so threads may share it.
        yield workers

    tasks = MemoryTaskRepository(state, on_cancellation=bell.ring_cancellation)
    return Store(
        tasks=tasks,
        board=MemoryTaskBoard(state, new_task_id),
        notes=MemoryNotes(state),
        workers=workers,
        own_registry=own_registry,
        kinds=MemoryKindCatalogue(state),
        queues=MemoryQueueRegistry(state),
        schedules=MemoryScheduleRepository(state, tasks),
        keys=MemoryKeyRing(state),
        audit=MemoryAuditTrail(state),
        upkeep=MemoryUpkeep(state),
        wakeups=bell,
        archive=MemoryArchive(state),
        gauge=MemoryGauge(state),
        clock=clock,
        new_task_id=new_task_id,
        opened=bell.opened,
    )
