"""The ports' promises as a model: what a store should hold, by the domain's own verbs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.errors import IllegalTransition, TaskExists, TaskNotFound
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.retry import MAX_ATTEMPTS_DEFAULT
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.task import Task
from taskscheduler.domain.values import TaskId, WorkerId
from taskscheduler.domain.worker import has_expired

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from taskscheduler.domain.lease import Lease, Settlement
    from taskscheduler.domain.task_edit import TaskEdit
    from taskscheduler.domain.worker import Cancellation, Subscription
    from taskscheduler.testing.clock import ManualClock

UNIQUE_FOR: Final = timedelta(days=1)
RECORDED: Final = frozenset({Event.COMPLETE, Event.RETRY, Event.FAIL, Event.CANCEL})


@dataclass(slots=True)
class Member:
    """A worker that is registered."""

    lease: timedelta
    seen_at: datetime
    beats: int = 0
    taken: set[tuple[TaskId, int]] = field(default_factory=set[tuple[TaskId, int]])


class Model:
    """A store as it should be. Claims are the store's choice: ``claim`` judges and follows it."""

    def __init__(self, clock: ManualClock) -> None:
        """Start empty, at ``clock``'s time."""
        self._clock = clock
        self.tasks: dict[TaskId, Task] = {}
        self.members: dict[WorkerId, Member] = {}
        self.granted: dict[str, int] = {}
        self.history: defaultdict[TaskId, list[tuple[int, Event]]] = defaultdict(list)
        self.made: dict[int, Event] = {}
        self.begun: set[int] = set()
        self.in_order = True
        """Whether tasks can only become due behind those that were claimed already."""
        self.not_before: dict[TaskId, datetime] = {}
        """The time that was asked for, of each task that has not begun since. Kept apart from the
        tasks' own times, so that no verb can move both."""
        self._unique: dict[tuple[str, str], tuple[TaskId, datetime]] = {}
        self._token = 0

    @property
    def now(self) -> datetime:
        """The store's time."""
        return self._clock.now()

    # -- storing ---------------------------------------------------------------------------------

    def put(self, tasks: Sequence[NewTask]) -> list[TaskId]:
        """Store all or none; return the ids that the store should return."""
        unique, stored = dict(self._unique), dict(self.tasks)
        ids = [self._put(task, stored, unique) for task in tasks]
        self._unique, self.tasks = unique, stored
        return ids

    def _put(
        self,
        new: NewTask,
        stored: dict[TaskId, Task],
        unique: dict[tuple[str, str], tuple[TaskId, datetime]],
    ) -> TaskId:
        if new.id in stored:
            if not new.describes(stored[new.id]):
                raise TaskExists(new.id)
            return new.id
        if new.unique_key is not None:
            name = (new.kind, new.unique_key)
            if name in unique and unique[name][1] > self.now:
                return unique[name][0]
            unique[name] = (new.id, self.now + UNIQUE_FOR)
        stored[new.id] = Task.store(new, now=self.now)
        self.not_before[new.id] = new.execute_at or self.now
        return new.id

    # -- claiming and settling -------------------------------------------------------------------

    def claimable(self, subscription: Subscription) -> list[Task]:
        """Return the tasks that may be claimed, the most urgent and earliest first."""
        due = [task for task in self.pending(subscription) if task.process_at <= self.now]
        return sorted(due, key=lambda task: (task.priority, task.process_at, task.id))

    def pending(self, subscription: Subscription) -> list[Task]:
        """Return the pending tasks of ``subscription``."""
        return [
            task
            for task in self.tasks.values()
            if task.status is TaskStatus.PENDING
            and task.kind in subscription.kinds
            and task.queue in subscription.queues
        ]

    def next_due(self, subscription: Subscription) -> timedelta | None:
        """Return how long until the next is due."""
        times = [task.process_at for task in self.pending(subscription)]
        return min(times) - self.now if times else None

    def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int, leases: Sequence[Lease]
    ) -> None:
        """Judge the claim that returned ``leases``, and follow it."""
        due = self.claimable(subscription) if worker_id in self.members else []
        most = min(limit, len(due))
        # What became due behind earlier claims may be left for the next claim, not for ever.
        least = most if self.in_order else min(1, most)
        assert least <= len(leases) <= most, "a claim takes what there is, up to its limit"
        by_id = {task.id: task for task in due}
        claimed = [by_id[lease.task_id] for lease in leases]
        assert len(set(claimed)) == len(claimed), "no task is leased twice"
        if self.in_order:
            found = [task.priority for task in claimed]
            assert found == [task.priority for task in due][:limit], "the most urgent first"
            for lane in {_lane(task) for task in claimed}:
                times = [task.process_at for task in claimed if _lane(task) == lane]
                earliest = [task.process_at for task in due if _lane(task) == lane]
                assert times == earliest[: len(times)], "the earliest first"
        newest = self._token
        for lease, task in zip(leases, claimed, strict=True):
            assert lease.token > newest, "tokens grow"
            asked_for = self.not_before.pop(task.id, self.now)
            assert asked_for <= self.now, "no task begins before the time that was asked for"
            self._token = max(self._token, lease.token)
            self._save(task.claim(worker_id=worker_id, token=lease.token, now=self.now))

    def settle(self, settlements: Sequence[Settlement]) -> set[TaskId]:
        """Settle; return the ids that the store should return."""
        return {each.task_id for each in settlements if not self._settle(each)}

    def _settle(self, settlement: Settlement) -> bool:
        task = self.tasks.get(settlement.task_id)
        if task is None or task.token != settlement.token:
            return False
        event, now = settlement.event, self.now
        match event:
            case Event.COMPLETE:
                after = task.complete(now=now)
            case Event.RETRY:
                after = task.retry(now=now, delay=settlement.delay)
            case Event.SNOOZE:
                after = task.snooze(now=now, delay=settlement.delay)
            case Event.RELEASE:
                after = task.release(now=now)
            case Event.EXPIRE:
                after = task.expire(now=now)
            case Event.FAIL:
                after = task.fail(now=now)
            case _:
                after = task.cancel(now=now)
        if event in RECORDED:
            self.made[settlement.token] = event
            self.history[task.id].append((task.attempt, event))
        self._save(after)
        return True

    def was_made(self, settlement: Settlement) -> bool | None:
        """Tell whether ``outcomes_of`` should name the settlement; None if either will do.

        Of a cancellation it does not matter whose it was; nothing is kept of a deleted task.
        """
        event = self.made.get(settlement.token)
        if event is None:
            return None if settlement.event in {Event.CANCEL, Event.FAIL} else False
        if settlement.task_id not in self.tasks:
            return None
        return event is settlement.event

    def begin(self, lease: Lease) -> bool:
        """Write down that an attempt begins; return whether its lease holds."""
        task = self.tasks.get(lease.task_id)
        if task is None or task.token != lease.token:
            return False
        self.begun.add(lease.token)
        return True

    def reconcile(self, worker_id: WorkerId, known: Collection[int]) -> int:
        """Release what is not known; return how many."""
        unknown = [task for task in self._held_by(worker_id) if task.token not in known]
        for task in unknown:
            self._save(task.release(now=self.now))
        return len(unknown)

    # -- one task, by hand -----------------------------------------------------------------------

    def cancel(self, task_id: TaskId) -> Task:
        """Cancel; raise what the store should raise."""
        task = self._task(task_id)
        after = task.cancel(now=self.now)
        if task.status is TaskStatus.IN_PROGRESS:
            self.history[task.id].append((task.attempt, Event.CANCEL))
            self._take_lease(task)
        return self._save(after)

    def retry(self, task_id: TaskId, at: datetime | None = None) -> Task:
        """Revive; raise what the store should raise."""
        task = self._task(task_id)
        revived = task.revive(now=self.now, max_attempts=self._granted(task), at=at)
        if at is not None:
            self.not_before[task_id] = at
        return self._save(revived)

    def run_now(self, task_id: TaskId) -> Task:
        """Make due; raise what the store should raise."""
        due = self._task(task_id).run_now(now=self.now)
        self.not_before.pop(task_id, None)
        return self._save(due)

    def edit(self, task_id: TaskId, edit: TaskEdit) -> Task:
        """Edit; raise what the store should raise."""
        edited = self._task(task_id).edit(edit, now=self.now)
        if edit.execute_at is not None:
            self.not_before[task_id] = edit.execute_at
        return self._save(edited)

    def change_all(
        self, verb: BulkVerb, status: TaskStatus, task_ids: Sequence[TaskId], at: datetime | None
    ) -> dict[TaskId, bool]:
        """Do ``verb`` to those in ``status``; return what the store should return."""
        changed: dict[TaskId, bool] = {}
        for task_id in dict.fromkeys(task_ids):
            task = self.tasks.get(task_id)
            if task is None or task.status is not status:
                continue
            try:
                match verb:
                    case BulkVerb.CANCEL:
                        self.cancel(task_id)
                    case BulkVerb.RETRY:
                        self.retry(task_id, at)
                    case BulkVerb.DELETE:
                        self.delete(task_id, force=True)
            except IllegalTransition:
                continue
            retried = verb is BulkVerb.RETRY
            changed[task_id] = retried and self.tasks[task_id].process_at > self.now
        return changed

    def delete(self, task_id: TaskId, *, force: bool) -> None:
        """Forget; raise what the store should raise."""
        task = self._task(task_id)
        if task.status is TaskStatus.IN_PROGRESS:
            if not force:
                raise IllegalTransition(status=task.status.value, event="delete")
            self._take_lease(task)
        del self.tasks[task_id]
        self.not_before.pop(task_id, None)
        self.history.pop(task_id, None)
        self._unique = {n: held for n, held in self._unique.items() if held[0] != task_id}

    # -- workers ---------------------------------------------------------------------------------

    def join(self, worker_id: WorkerId, kinds: Mapping[str, int], lease: timedelta) -> None:
        """Register a worker under the id that the store gave it."""
        self.members[worker_id] = Member(lease, self.now)
        self.granted.update(kinds)

    def heartbeat(self, worker_id: WorkerId, told: Collection[Cancellation]) -> None:
        """Judge a beat that told of ``told``."""
        member = self.members[worker_id]
        member.beats += 1
        member.seen_at = self.now
        assert set(told) >= member.taken, "a beat tells of every lease taken away since the last"
        member.taken.clear()

    def deregister(self, worker_id: WorkerId) -> None:
        """Strike a worker out and release its leases."""
        self.members.pop(worker_id, None)
        self.reconcile(worker_id, ())

    def is_expired(self, worker_id: WorkerId) -> bool:
        """Tell whether a registered worker has been silent for more than its lease."""
        member = self.members[worker_id]
        return has_expired(member.seen_at, member.lease, self.now)

    def declare_dead(self, worker_id: WorkerId, beats: int) -> set[TaskId]:
        """Strike a silent worker out; return the ids that the store should return."""
        member = self.members.get(worker_id)
        if member is None or member.beats != beats or not self.is_expired(worker_id):
            return set()
        del self.members[worker_id]
        rescued = self._held_by(worker_id)
        begun = {task.id for task in rescued if task.excused == 0 or task.token in self.begun}
        for task in rescued:
            after = task.rescue(
                now=self.now,
                max_attempts=self._granted(task),
                alone=len(begun) == 1,
                begun=task.id in begun,
            )
            if task.id in begun:
                final = after.status is TaskStatus.FAILED
                self.history[task.id].append((task.attempt, Event.FAIL if final else Event.RESCUE))
            self._save(after)
        return {task.id for task in rescued}

    # -- pieces ----------------------------------------------------------------------------------

    def _task(self, task_id: TaskId) -> Task:
        if task_id not in self.tasks:
            raise TaskNotFound(task_id)
        return self.tasks[task_id]

    def _save(self, task: Task) -> Task:
        self.tasks[task.id] = task
        return task

    def _granted(self, task: Task) -> int:
        return self.granted.get(task.kind, MAX_ATTEMPTS_DEFAULT)

    def _held_by(self, worker_id: WorkerId) -> list[Task]:
        return [task for task in self.tasks.values() if task.worker_id == worker_id]

    def _take_lease(self, task: Task) -> None:
        if task.worker_id is None or task.token is None:
            return
        if (member := self.members.get(task.worker_id)) is not None:
            member.taken.add((task.id, task.token))


def _lane(task: Task) -> tuple[str, str, int]:
    return task.kind, task.queue, task.priority
