"""Everything that one store offers, in one hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from taskscheduler.domain.ports.access import ApiKeyRepository, AuditTrail
    from taskscheduler.domain.ports.batches import Batches
    from taskscheduler.domain.ports.clock import Clock
    from taskscheduler.domain.ports.followers import Followers
    from taskscheduler.domain.ports.kinds import KindCatalogue
    from taskscheduler.domain.ports.limits import LimitRepository
    from taskscheduler.domain.ports.maintenance import Archive, SchemaUpkeep
    from taskscheduler.domain.ports.queues import BacklogStats, QueueRegistry
    from taskscheduler.domain.ports.reader import TaskReader
    from taskscheduler.domain.ports.results import Notes
    from taskscheduler.domain.ports.schedules import ScheduleRepository
    from taskscheduler.domain.ports.tasks import TaskRepository
    from taskscheduler.domain.ports.wakeups import WakeUps
    from taskscheduler.domain.ports.workers import WorkerRegistry
    from taskscheduler.domain.values import TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The ports of one store, and how to open and close what they share.

    ``opened`` returns a context manager within which the ports may be used. ``heartbeat_registry``
    opens a registry that shares no connection with ``workers``, for use on another event loop.
    """

    tasks: TaskRepository
    board: TaskReader
    notes: Notes
    followers: Followers
    batches: Batches
    workers: WorkerRegistry
    heartbeat_registry: Callable[[], AbstractAsyncContextManager[WorkerRegistry]]
    kinds: KindCatalogue
    queues: QueueRegistry
    limits: LimitRepository
    schedules: ScheduleRepository
    keys: ApiKeyRepository
    audit: AuditTrail
    upkeep: SchemaUpkeep
    archive: Archive
    wakeups: WakeUps
    backlog_stats: BacklogStats
    clock: Clock
    new_task_id: Callable[[], TaskId]
    opened: Callable[[], AbstractAsyncContextManager[None]]
