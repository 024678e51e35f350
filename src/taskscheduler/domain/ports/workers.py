"""The registry of workers, their heartbeats and their death."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from taskscheduler.domain.values import TaskId, WorkerId
    from taskscheduler.domain.worker import (
        Cancellation,
        RegisteredWorker,
        WorkerProfile,
    )


class WorkerRegistry(Protocol):
    """Who is at work, and who has fallen silent."""

    async def register(self, profile: WorkerProfile) -> WorkerId:
        """Register a worker under a new id and make its kinds known."""
        ...

    async def heartbeat(self, worker_id: WorkerId, *, abandoned: int = 0) -> Sequence[Cancellation]:
        """Extend the worker's lease from the store's now; return leases taken away since.

        ``abandoned`` is how many of its threads run on though their attempts have ended.

        Raises:
            WorkerLost: the worker is not registered; its leases are void.
        """
        ...

    async def deregister(self, worker_id: WorkerId) -> None:
        """Strike the worker out and release what it still holds; those attempts do not count."""
        ...

    async def registered(self) -> Sequence[RegisteredWorker]:
        """Return every registered worker."""
        ...

    async def declare_dead(self, worker_id: WorkerId, beats: int) -> Collection[TaskId]:
        """Strike out a silent worker and rescue its tasks; return their ids.

        Only if it is expired on the store's clock and has not beaten since ``beats`` was seen;
        otherwise nothing happens. A rescued task is Pending and due. If one attempt alone had
        begun there, it counts: one that was its last makes the task Failed with the error
        ``WorkerLost``. If several had, any of them may be to blame, and all are excused. Of a task
        that was never excused before it is taken for granted that it had begun; of another,
        ``begin`` must have said so, or else it is put back as if it had never been claimed.

        It waits for nobody. What a transaction that does not end keeps locked stays, and so does
        the worker in the list, marked; a repeat rescues the rest, and this worker cannot beat any
        more.
        """
        ...

    async def rescue_orphans(self) -> Collection[TaskId]:
        """Rescue the tasks that are leased to workers which are not registered; return their ids.

        There are none as long as nobody else changes the store's tables: ``deregister`` and
        ``declare_dead`` take a worker's tasks with it. Each is rescued as ``declare_dead`` would
        have done it. This looks at all tasks that have not ended, so it is not asked for often.
        """
        ...
