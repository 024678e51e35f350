"""Workers and kinds in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.adapters.memory.state import Registered, State
from taskscheduler.domain.errors import WorkerLost
from taskscheduler.domain.lease import AttemptError
from taskscheduler.domain.ports.maintenance import SchemaVersion
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.values import WorkerId
from taskscheduler.domain.worker import RegisteredWorker, WorkerProfile, has_expired

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taskscheduler.domain.values import TaskId
    from taskscheduler.domain.worker import Cancellation

WORKER_LOST = AttemptError("WorkerLost", "the worker fell silent while it ran the task")


class MemoryWorkerRegistry:
    """``WorkerRegistry`` in memory."""

    def __init__(self, state: State) -> None:
        """Work on ``state``."""
        self._state = state

    async def register(self, profile: WorkerProfile) -> WorkerId:
        """See ``WorkerRegistry.register``."""
        self._state.worker_ids += 1
        worker_id = WorkerId(self._state.worker_ids)
        now = self._state.now()
        self._state.workers[worker_id] = Registered(profile, started_at=now, seen_at=now)
        self._state.kinds.update(profile.kinds)
        return worker_id

    async def heartbeat(self, worker_id: WorkerId, *, abandoned: int = 0) -> Sequence[Cancellation]:
        """See ``WorkerRegistry.heartbeat``."""
        worker = self._state.workers.get(worker_id)
        if worker is None:
            raise WorkerLost(worker_id)
        worker.abandoned = abandoned
        worker.beats += 1
        worker.seen_at = self._state.now()
        cancelled, worker.cancelled = worker.cancelled, []
        return cancelled

    async def deregister(self, worker_id: WorkerId) -> None:
        """See ``WorkerRegistry.deregister``."""
        self._state.workers.pop(worker_id, None)
        for task in [t for t in self._state.tasks.values() if t.worker_id == worker_id]:
            self._state.save(task.release(now=self._state.now()))

    async def registered(self) -> Sequence[RegisteredWorker]:
        """See ``WorkerRegistry.registered``."""
        return [
            RegisteredWorker(
                id=worker_id,
                name=worker.profile.name,
                queues=worker.profile.queues,
                kinds=frozenset(worker.profile.kinds),
                concurrency=worker.profile.concurrency,
                started_at=worker.started_at,
                seen_at=worker.seen_at,
                lease=worker.profile.lease,
                beats=worker.beats,
                expired=self._is_expired(worker),
                host=worker.profile.host,
                pid=worker.profile.pid,
                abandoned=worker.abandoned,
            )
            for worker_id, worker in self._state.workers.items()
        ]

    async def declare_dead(self, worker_id: WorkerId, beats: int) -> Collection[TaskId]:
        """See ``WorkerRegistry.declare_dead``."""
        worker = self._state.workers.get(worker_id)
        if worker is None or worker.beats != beats or not self._is_expired(worker):
            return []
        del self._state.workers[worker_id]
        return self._rescue(worker_id)

    async def rescue_orphans(self) -> Collection[TaskId]:
        """See ``WorkerRegistry.rescue_orphans``."""
        holders = {task.worker_id for task in self._state.tasks.values()}
        orphaning = [each for each in holders if each and each not in self._state.workers]
        return [task_id for each in orphaning for task_id in self._rescue(each)]

    def _rescue(self, worker_id: WorkerId) -> list[TaskId]:
        rescued = [t for t in self._state.tasks.values() if t.worker_id == worker_id]
        had_begun = {task.id for task in rescued if self._state.had_begun(task)}
        now = self._state.now()
        for task in rescued:
            after = task.rescue(
                now=now,
                max_attempts=self._state.attempts_granted(task.kind),
                alone=len(had_begun) == 1,
                begun=task.id in had_begun,
            )
            if task.id in had_begun:
                outcome = Event.FAIL if after.status is TaskStatus.FAILED else Event.RESCUE
                self._state.record(task, outcome, WORKER_LOST)
            self._state.save(after)
        return [task.id for task in rescued]

    def _is_expired(self, worker: Registered) -> bool:
        return has_expired(worker.seen_at, worker.profile.lease, self._state.now())


class MemoryKindCatalogue:
    """``KindCatalogue`` in memory."""

    def __init__(self, state: State) -> None:
        """Work on ``state``."""
        self._state = state

    async def register(self, kinds: Mapping[str, int]) -> None:
        """See ``KindCatalogue.register``."""
        self._state.kinds.update(kinds)

    async def known(self) -> frozenset[str]:
        """See ``KindCatalogue.known``."""
        return frozenset(self._state.kinds)


class MemorySchemaUpkeep:
    """``SchemaUpkeep`` in memory: drops keys that expired and lanes left empty."""

    async def schema_version(self) -> SchemaVersion:
        """See ``SchemaUpkeep.schema_version``: there is no schema, and none is needed."""
        return SchemaVersion(found=0, expected=0)

    def __init__(self, state: State) -> None:
        """Work on ``state``."""
        self._state = state

    async def turn(self) -> Sequence[str]:
        """See ``SchemaUpkeep.turn``."""
        now = self._state.now()
        for name in [n for n, (_, expires_at) in self._state.unique.items() if expires_at <= now]:
            del self._state.unique[name]
        for key in [
            k for k, (_, _, expires_at) in self._state.requests.items() if expires_at <= now
        ]:
            del self._state.requests[key]
        for lane in [each for each, waiting in self._state.lanes.items() if not waiting]:
            del self._state.lanes[lane]
        return ()
