"""What the in-memory adapters share."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from taskscheduler.domain.audit import AuditEntry
from taskscheduler.domain.errors import TaskNotFound
from taskscheduler.domain.lease import SUSPECT_AFTER, Attempt, AttemptError
from taskscheduler.domain.ledger import LedgerEntry
from taskscheduler.domain.retry import MAX_ATTEMPTS_DEFAULT
from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from taskscheduler.adapters.memory.batches import Bag
    from taskscheduler.domain.access import ApiKey, Caller
    from taskscheduler.domain.after import After
    from taskscheduler.domain.audit import Action
    from taskscheduler.domain.batch import BatchId
    from taskscheduler.domain.ledger import Outcome
    from taskscheduler.domain.limit import StoredLimit
    from taskscheduler.domain.notes import Awaited, Progress
    from taskscheduler.domain.schedule import Schedule
    from taskscheduler.domain.status import Event
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.trace import TraceContext
    from taskscheduler.domain.values import TaskId, WorkerId
    from taskscheduler.domain.worker import Cancellation, Subscription, WorkerProfile


class Lane(NamedTuple):
    """Tasks that are claimed in order of their time."""

    priority: int
    queue: str
    kind: str
    group: str

    @classmethod
    def of(cls, task: Task) -> Lane:
        """Return the lane of ``task``."""
        return cls(task.priority, task.queue, task.kind, task.group or "")


@dataclass(slots=True)
class Registered:
    """A worker's row."""

    profile: WorkerProfile
    started_at: datetime
    seen_at: datetime
    beats: int = 0
    abandoned: int = 0
    cancelled: list[Cancellation] = field(default_factory=list)


def _ignore(task_id: TaskId, status: TaskStatus | None) -> None:
    del task_id, status


@dataclass(slots=True)
class State:
    """All rows, and the changes that more than one adapter makes."""

    now: Callable[[], datetime]
    unique_for: timedelta
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    history: defaultdict[TaskId, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    traces: dict[TaskId, TraceContext] = field(default_factory=dict)
    unique: dict[tuple[str, str], tuple[TaskId, datetime]] = field(default_factory=dict)
    requests: dict[str, tuple[bytes, Sequence[TaskId], datetime]] = field(default_factory=dict)
    workers: dict[WorkerId, Registered] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    paused: dict[str, datetime] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    buffered: dict[str, list[datetime]] = field(default_factory=dict)
    ledger: list[tuple[str, str, LedgerEntry]] = field(default_factory=list)
    keys: dict[str, ApiKey] = field(default_factory=dict)
    limits: dict[str, StoredLimit] = field(default_factory=dict)
    free_at: dict[tuple[str, str], datetime] = field(default_factory=dict)
    turns: defaultdict[int, Turns[Lane]] = field(default_factory=lambda: defaultdict(Turns[Lane]))
    audit: list[AuditEntry] = field(default_factory=list)
    audit_ids: Iterator[int] = field(default_factory=lambda: count(1))
    ledger_ids: Iterator[int] = field(default_factory=lambda: count(1))
    results: dict[TaskId, bytes] = field(default_factory=dict)
    progress: dict[TaskId, Progress] = field(default_factory=dict)
    steps: dict[TaskId, dict[str, bytes]] = field(default_factory=dict)
    signals: dict[TaskId, dict[str, bytes]] = field(default_factory=dict)
    awaited: dict[TaskId, Awaited] = field(default_factory=dict)
    after: dict[TaskId, After] = field(default_factory=dict)
    batches: dict[UUID, Bag] = field(default_factory=dict)
    batch_of: dict[TaskId, BatchId] = field(default_factory=dict)
    settled: dict[int, Event] = field(default_factory=dict)
    lanes: defaultdict[Lane, list[tuple[datetime, TaskId]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    tokens: int = 0
    begun: dict[TaskId, int] = field(default_factory=dict)
    worker_ids: int = 0
    on_ended: Callable[[TaskId, TaskStatus | None], None] = _ignore
    """Told of each task that has ended, and how, or that was removed."""

    def task(self, task_id: TaskId) -> Task:
        """Return the task. Raises TaskNotFound."""
        try:
            return self.tasks[task_id]
        except KeyError:
            raise TaskNotFound(task_id) from None

    def save(self, task: Task) -> Task:
        """Keep ``task`` in place of its former self."""
        self.tasks[task.id] = task
        if task.status.is_final:
            self.on_ended(task.id, task.status)
        if task.status is TaskStatus.PENDING:
            lane = self.lanes[Lane.of(task)]
            heapq.heappush(lane, (task.process_at, task.id))
        return task

    def had_begun(self, task: Task) -> bool:
        """Tell whether the running attempt of ``task`` had begun, as far as anybody knows."""
        return task.excused == 0 or self.begun.get(task.id) == task.token

    def remove(self, task: Task) -> None:
        """Forget everything about ``task``, but for what it came to for its batch."""
        del self.tasks[task.id]
        if (batch := self.batch_of.get(task.id)) is not None:
            gone = task.status if task.status.is_final else TaskStatus.CANCELLED
            self.batches[batch].members[task.id] = gone
        self.begun.pop(task.id, None)
        self.history.pop(task.id, None)
        self.traces.pop(task.id, None)
        self.results.pop(task.id, None)
        self.progress.pop(task.id, None)
        self.steps.pop(task.id, None)
        self.signals.pop(task.id, None)
        self.awaited.pop(task.id, None)
        if task.unique_key is not None:
            name = (task.kind, task.unique_key)
            if self.unique.get(name, (None,))[0] == task.id:
                del self.unique[name]
        self.on_ended(task.id, None)

    def heads(self, subscription: Subscription) -> list[tuple[Lane, Task]]:
        """Return the earliest pending task of each lane subscribed to, in claiming order."""
        heads = [
            (lane, head)
            for lane in self.lanes
            if self._is_open(lane, subscription)
            if (head := self._head(lane, subscription)) is not None
        ]
        heads.sort(key=lambda found: (found[0].priority, found[1].process_at, found[0]))
        return heads

    def due(self, subscription: Subscription) -> Iterator[Task]:
        """Yield the pending tasks that are due, in claiming order; each must be changed."""
        now = self.now()
        for lane, _ in self.heads(subscription):
            while (head := self._head(lane, subscription)) and head.process_at <= now:
                yield head

    def suspects(self, subscription: Subscription) -> list[Task]:
        """Return the due suspects, in claiming order."""
        now = self.now()
        due = [
            task
            for task in self.tasks.values()
            if task.status is TaskStatus.PENDING
            and task.excused >= SUSPECT_AFTER
            and task.process_at <= now
            and self._is_open(Lane.of(task), subscription)
        ]
        return sorted(due, key=lambda task: (task.priority, task.process_at, task.id))

    def _is_open(self, lane: Lane, subscription: Subscription) -> bool:
        return (
            lane.queue not in self.paused
            and lane.kind in subscription.kinds
            and lane.queue in subscription.queues
        )

    def _head(self, lane: Lane, subscription: Subscription) -> Task | None:
        if subscription.suspects:
            return self._first(lane)
        # Suspects are few: they are taken out while the first behind them is looked for.
        passed: list[Task] = []
        while (head := self._first(lane)) is not None and head.excused >= SUSPECT_AFTER:
            passed.append(head)
            heapq.heappop(self.lanes[lane])
        for task in passed:
            heapq.heappush(self.lanes[lane], (task.process_at, task.id))
        return head

    def _first(self, lane: Lane) -> Task | None:
        heap = self.lanes[lane]
        while heap:
            process_at, task_id = heap[0]
            task = self.tasks.get(task_id)
            # Entries are not removed when a task changes: they are passed over here.
            if (
                task is not None
                and task.status is TaskStatus.PENDING
                and task.process_at == process_at
                and Lane.of(task) == lane
            ):
                return task
            heapq.heappop(heap)
        return None

    def tell(
        self,
        by: Caller | None,
        action: Action,
        *,
        task_id: TaskId | None = None,
        target: str | None = None,
    ) -> None:
        """Write into the audit trail what ``by`` did, if that is known."""
        if by is not None:
            number = next(self.audit_ids)
            self.audit.append(
                AuditEntry.of(number, self.now(), action, by, task_id=task_id, target=target)
            )

    def note(
        self,
        schedule: Schedule,
        at: datetime,
        outcome: Outcome,
        reason: str | None = None,
        task_id: TaskId | None = None,
    ) -> None:
        """Write into the ledger what became of the fire of ``schedule`` at ``at``."""
        now = self.now()
        late = None if task_id is None else max(now - at, timedelta(0))
        entry = LedgerEntry(at, next(self.ledger_ids), now, outcome, reason, task_id, late)
        self.ledger.append((schedule.name, schedule.definition.queue, entry))

    def attempts_granted(self, kind: str) -> int:
        """Return the attempts of a task that does not bring its own number."""
        return self.kinds.get(kind, MAX_ATTEMPTS_DEFAULT)

    def record(self, task: Task, outcome: Event, error: AttemptError | None) -> None:
        """Write the end of the running attempt of ``task`` into its history."""
        self.history[task.id].append(
            Attempt(
                number=task.attempt,
                started_at=task.started_at,
                finished_at=self.now(),
                outcome=outcome,
                worker_id=task.worker_id,
                error=error,
            )
        )
