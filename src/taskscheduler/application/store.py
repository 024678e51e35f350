"""Everything that one store offers, in one hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from taskscheduler.domain.ports import (
        Archive,
        AuditTrail,
        Clock,
        Gauge,
        KeyRing,
        KindCatalogue,
        Notes,
        QueueRegistry,
        ScheduleRepository,
        TaskBoard,
        TaskRepository,
        Upkeep,
        WakeUps,
        WorkerRegistry,
    )
    from taskscheduler.domain.task import TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The ports of one store, and how to open and close what they share.

    ``opened`` returns a context manager within which the ports may be used. ``own_registry`` opens
    a registry that shares no connection with ``workers``, for use on another event loop.
    """

    tasks: TaskRepository
    board: TaskBoard
    notes: Notes
    workers: WorkerRegistry
    own_registry: Callable[[], AbstractAsyncContextManager[WorkerRegistry]]
    kinds: KindCatalogue
    queues: QueueRegistry
    schedules: ScheduleRepository
    keys: KeyRing
    audit: AuditTrail
    upkeep: Upkeep
    archive: Archive
    wakeups: WakeUps
    gauge: Gauge
    clock: Clock
    new_task_id: Callable[[], TaskId]
    opened: Callable[[], AbstractAsyncContextManager[None]]
