"""Tasks in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from taskscheduler.adapters.memory.insert import insert
from taskscheduler.adapters.memory.limits import (
    are_held_back,
    begin_under_limits,
    due_in_turns,
    opens_for,
    waits_for,
)
from taskscheduler.domain.audit import Action
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.conflict import StoredIds, earlier_of
from taskscheduler.domain.errors import (
    IdempotencyConflict,
    IllegalTransition,
    LeaseLost,
    TaskChanged,
)
from taskscheduler.domain.lease import Lease, Settlement, Suspects
from taskscheduler.domain.notes import Awaited
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.worker import Cancellation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from taskscheduler.adapters.memory.followers import MemoryFollowers
    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.idempotency import Idempotency
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.task_edit import TaskEdit
    from taskscheduler.domain.trace import TraceContext
    from taskscheduler.domain.values import TaskId, WorkerId
    from taskscheduler.domain.worker import Subscription

RECORDED = frozenset({Event.COMPLETE, Event.RETRY, Event.FAIL, Event.CANCEL})


class MemoryTaskRepository:
    """``TaskRepository`` in memory. ``transaction`` is ignored: everything happens at once."""

    def __init__(
        self, state: State, followers: MemoryFollowers, *, on_cancellation: Callable[[], None]
    ) -> None:
        """Work on ``state``; call ``on_cancellation`` when a lease is taken away."""
        self._state = state
        self._followers = followers
        self._on_cancellation = on_cancellation

    async def put(
        self,
        tasks: Sequence[NewTask],
        *,
        transaction: object | None = None,
        idempotency: Idempotency | None = None,
    ) -> Sequence[TaskId]:
        """See ``TaskRepository.put``."""
        del transaction
        if idempotency is None:
            return insert(self._state, self._followers, tasks)
        now = self._state.now()
        fingerprint, ids, expires_at = self._state.requests.get(idempotency.key, (b"", (), now))
        if expires_at <= now:
            ids = insert(self._state, self._followers, tasks)
            ids = StoredIds(ids, earlier_of(tasks, ids))
            expires_at = now + self._state.unique_for
            self._state.requests[idempotency.key] = (idempotency.fingerprint, ids, expires_at)
        elif fingerprint != idempotency.fingerprint:
            raise IdempotencyConflict(idempotency.key)
        return ids

    async def get(self, task_id: TaskId) -> Task:
        """See ``TaskRepository.get``."""
        return self._state.task(task_id)

    async def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int
    ) -> Sequence[Lease]:
        """See ``TaskRepository.claim``."""
        state = self._state
        is_plain = not state.limits and not any(lane.group for lane in state.lanes)
        due = state.due(subscription) if is_plain else due_in_turns(state, subscription)
        return self._lease(worker_id, islice(due, limit))

    async def suspects(self, subscription: Subscription) -> Suspects | None:
        """See ``TaskRepository.suspects``."""
        excused = [task.excused for task in self._state.suspects(subscription)]
        least = min(excused, default=None)
        return None if least is None else Suspects(least, excused.count(least))

    async def claim_suspects(
        self, worker_id: WorkerId, subscription: Subscription, excused: int, limit: int
    ) -> Sequence[Lease]:
        """See ``TaskRepository.claim_suspects``."""
        due = self._state.suspects(subscription)
        # Looked at one by one: each that begins may use up a limit.
        alike = (
            task for task in due if task.excused == excused and opens_for(self._state, task) is None
        )
        return self._lease(worker_id, islice(alike, limit))

    async def begin(self, lease: Lease) -> bool:
        """See ``TaskRepository.begin``."""
        task = self._state.tasks.get(lease.task_id)
        if task is None or task.token != lease.token:
            return False
        self._state.begun[task.id] = lease.token
        return True

    def _lease(self, worker_id: WorkerId, tasks: Iterable[Task]) -> Sequence[Lease]:
        if worker_id not in self._state.workers:
            return []
        now = self._state.now()
        leases: list[Lease] = []
        for due in tasks:
            self._state.tokens += 1
            task = due.claim(worker_id=worker_id, token=self._state.tokens, now=now)
            self._state.save(task)
            begin_under_limits(self._state, task)
            leases.append(
                Lease(
                    task.id,
                    self._state.tokens,
                    task.kind,
                    task.queue,
                    task.priority,
                    task.attempt,
                    task.max_attempts,
                    task.process_at,
                    task.timeout,
                    task.payload_json,
                    task.excused,
                    task.expires_at is not None and task.expires_at <= now,
                    group=task.group,
                )
            )
        return leases

    async def traces_of(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, TraceContext]:
        """See ``TaskRepository.traces_of``."""
        traces = self._state.traces
        return {task_id: traces[task_id] for task_id in task_ids if task_id in traces}

    async def next_due(
        self, subscription: Subscription, *, roughly: bool = False
    ) -> timedelta | None:
        """See ``TaskRepository.next_due``."""
        del roughly  # it costs next to nothing
        return waits_for(self._state, subscription)

    def are_tight(self, subscription: Subscription) -> bool:
        """See ``TaskRepository.are_tight``."""
        del subscription  # whatever is limited may be missing elsewhere
        return bool(self._state.limits)

    def are_held_back(self, subscription: Subscription) -> bool:
        """See ``TaskRepository.are_held_back``."""
        return are_held_back(self._state, subscription)

    async def settle(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """See ``TaskRepository.settle``."""
        return {each.task_id for each in settlements if not self._settle(each)}

    @asynccontextmanager
    async def completing(
        self, lease: Lease, result: Callable[[], bytes | None] = lambda: None
    ) -> AsyncGenerator[object]:
        """See ``TaskRepository.completing``."""
        yield self  # to be handed on as ``connection``, as that of another store is
        settlement = Settlement(lease.task_id, lease.token, Event.COMPLETE, result=result())
        if not self._settle(settlement):
            raise LeaseLost(lease.task_id)

    async def outcomes_of(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """See ``TaskRepository.outcomes_of``."""
        return {
            each.task_id
            for each in settlements
            if self._state.settled.get(each.token) is each.event
        }

    async def reconcile(self, worker_id: WorkerId, known: Collection[int]) -> int:
        """See ``TaskRepository.reconcile``."""
        unknown = [
            task
            for task in self._state.tasks.values()
            if task.worker_id == worker_id and task.token not in known
        ]
        for task in unknown:
            self._state.save(task.release(now=self._state.now()))
        return len(unknown)

    async def cancel(self, task_id: TaskId, *, by: Caller | None = None) -> Task:
        """See ``TaskRepository.cancel``."""
        task = self._state.task(task_id)
        cancelled = task.cancel(now=self._state.now())
        if task.status is TaskStatus.IN_PROGRESS:
            self._state.record(task, Event.CANCEL, None)
            self._take_lease(task)
        self._state.tell(by, Action.CANCELLED, task_id=task_id)
        return self._state.save(cancelled)

    async def retry(
        self, task_id: TaskId, *, at: datetime | None = None, by: Caller | None = None
    ) -> Task:
        """See ``TaskRepository.retry``."""
        task = self._state.task(task_id)
        granted = self._state.attempts_granted(task.kind)
        revived = task.revive(now=self._state.now(), max_attempts=granted, at=at)
        self._state.tell(by, Action.RETRIED, task_id=task_id)
        self._state.save(revived)
        self._followers.revived(task_id)
        if task.status is TaskStatus.CANCELLED and self._followers.is_after(task_id):
            self._followers.follow_again(task_id)
        return self._state.task(task_id)

    async def run_now(self, task_id: TaskId, *, by: Caller | None = None) -> Task:
        """See ``TaskRepository.run_now``."""
        due = self._state.task(task_id).run_now(now=self._state.now())
        self._state.tell(by, Action.RUN, task_id=task_id)
        return self._state.save(due)

    async def edit(
        self,
        task_id: TaskId,
        edit: TaskEdit,
        *,
        expected: Task | None = None,
        by: Caller | None = None,
    ) -> Task:
        """See ``TaskRepository.edit``."""
        task = self._state.task(task_id)
        edited = task.edit(edit, now=self._state.now())
        if expected is not None and expected != task:
            raise TaskChanged(task_id)
        self._state.tell(by, Action.CHANGED, task_id=task_id)
        return self._state.save(edited)

    async def change_all(
        self,
        verb: BulkVerb,
        status: TaskStatus,
        task_ids: Sequence[TaskId],
        *,
        at: datetime | None = None,
        by: Caller | None = None,
    ) -> Mapping[TaskId, bool]:
        """See ``TaskRepository.change_all``."""
        changed: dict[TaskId, bool] = {}
        for task_id in task_ids:
            task = self._state.tasks.get(task_id)
            if task is None or task.status is not status:
                continue
            waits = False
            try:
                match verb:
                    case BulkVerb.CANCEL:
                        await self.cancel(task_id, by=by)
                    case BulkVerb.RETRY:
                        retried = await self.retry(task_id, at=at, by=by)
                        waits = retried.process_at > self._state.now()
                    case BulkVerb.DELETE:
                        await self.delete(task_id, force=True, by=by)
            except IllegalTransition:
                continue
            changed[task_id] = waits
        return changed

    async def delete(
        self, task_id: TaskId, *, force: bool = False, by: Caller | None = None
    ) -> None:
        """See ``TaskRepository.delete``."""
        task = self._state.task(task_id)
        if task.status is TaskStatus.IN_PROGRESS:
            if not force:
                raise IllegalTransition(status=task.status.value, event="delete")
            self._take_lease(task)
        self._state.tell(by, Action.DELETED, task_id=task_id)
        self._state.remove(task)

    def _take_lease(self, task: Task) -> None:
        if task.worker_id is None or task.token is None:
            return
        if (worker := self._state.workers.get(task.worker_id)) is not None:
            worker.cancelled.append(Cancellation(task.id, task.token))
            self._on_cancellation()

    def _settle(self, settlement: Settlement) -> bool:
        task = self._state.tasks.get(settlement.task_id)
        if task is None or task.token != settlement.token:
            return False
        after = self._after(task, settlement)
        if settlement.result is not None:
            self._state.results[task.id] = settlement.result
        if settlement.event in RECORDED:
            self._state.record(task, settlement.event, settlement.error)
        self._state.settled[settlement.token] = settlement.event
        self._state.save(after)
        return True

    def _after(self, task: Task, settlement: Settlement) -> Task:  # noqa: PLR0911 - one an event
        now = self._state.now()
        match settlement.event:
            case Event.COMPLETE:
                return task.complete(now=now)
            case Event.RETRY:
                return task.retry(now=now, delay=settlement.delay)
            case Event.SNOOZE:
                return self._snoozed(task, settlement)
            case Event.RELEASE:
                return task.release(now=now)
            case Event.EXPIRE:
                return task.expire(now=now)
            case Event.FAIL:
                return task.fail(now=now)
            case Event.CANCEL:
                return task.cancel(now=now)
            case _:
                raise IllegalTransition(status=task.status.value, event=settlement.event.value)

    def _snoozed(self, task: Task, settlement: Settlement) -> Task:
        now, name = self._state.now(), settlement.waits_for
        if name is None:
            return task.snooze(now=now, delay=settlement.delay)
        self._state.awaited[task.id] = Awaited(name, now + settlement.delay)
        has_come = name in self._state.signals.get(task.id, {})
        return task.snooze(now=now, delay=timedelta(0) if has_come else settlement.delay)
