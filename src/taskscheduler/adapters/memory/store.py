"""The in-memory store, put together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from taskscheduler.adapters.memory.api_keys import MemoryApiKeys
from taskscheduler.adapters.memory.archive import MemoryArchive
from taskscheduler.adapters.memory.audit import MemoryAuditTrail
from taskscheduler.adapters.memory.backlog import MemoryBacklogStats
from taskscheduler.adapters.memory.batches import MemoryBatches
from taskscheduler.adapters.memory.followers import MemoryFollowers
from taskscheduler.adapters.memory.limits import MemoryLimits
from taskscheduler.adapters.memory.notes import MemoryNotes
from taskscheduler.adapters.memory.queues import MemoryQueueRegistry
from taskscheduler.adapters.memory.reader import MemoryTaskReader
from taskscheduler.adapters.memory.schedules import MemoryScheduleRepository
from taskscheduler.adapters.memory.state import State
from taskscheduler.adapters.memory.tasks import MemoryTaskRepository
from taskscheduler.adapters.memory.wakeups import MemoryWakeUps
from taskscheduler.adapters.memory.workers import (
    MemoryKindCatalogue,
    MemorySchemaUpkeep,
    MemoryWorkerRegistry,
)
from taskscheduler.application.store import Store
from taskscheduler.domain.ports.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime

    from taskscheduler.domain.ports.wakeups import WakeUps
    from taskscheduler.domain.ports.workers import WorkerRegistry
    from taskscheduler.domain.values import TaskId


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
    async def heartbeat_registry() -> AsyncGenerator[WorkerRegistry]:
        # Each of its methods runs from start to end without giving way, so threads may share it.
        yield workers

    followers = MemoryFollowers(state, bell.ring)
    tasks = MemoryTaskRepository(state, followers, on_cancellation=bell.ring_cancellation)
    return Store(
        tasks=tasks,
        board=MemoryTaskReader(state, new_task_id),
        notes=MemoryNotes(state),
        followers=followers,
        batches=MemoryBatches(state, tasks, followers),
        workers=workers,
        heartbeat_registry=heartbeat_registry,
        kinds=MemoryKindCatalogue(state),
        queues=MemoryQueueRegistry(state),
        limits=MemoryLimits(state),
        schedules=MemoryScheduleRepository(state, tasks),
        keys=MemoryApiKeys(state),
        audit=MemoryAuditTrail(state),
        upkeep=MemorySchemaUpkeep(state),
        wakeups=bell,
        archive=MemoryArchive(state),
        backlog_stats=MemoryBacklogStats(state),
        clock=clock,
        new_task_id=new_task_id,
        opened=bell.opened,
    )
