"""Tasks that wait for others, in memory: whoever ends a task lets go what waited for it."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Final

from taskscheduler.adapters.memory.batches import outcome, statuses
from taskscheduler.domain.after import Otherwise, Wait
from taskscheduler.domain.errors import TaskExists, TaskNotFound
from taskscheduler.domain.lease import Attempt, AttemptError
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.values import TaskId

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping
    from uuid import UUID

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.after import After
    from taskscheduler.domain.batch import BatchId
    from taskscheduler.domain.new_task import NewTask

REASONS: Final[Mapping[TaskStatus | None, tuple[str, str]]] = {
    TaskStatus.FAILED: ("ParentFailed", "failed"),
    TaskStatus.CANCELLED: ("ParentCancelled", "was cancelled"),
    None: ("ParentDeleted", "was deleted"),
}
"""What is kept of a cancellation, by the status of the task that was waited for."""
SHOWN_MAX: Final = 10


class MemoryFollowers:
    """``Followers`` in memory."""

    def __init__(self, state: State, ring: Callable[[Collection[str]], None]) -> None:
        """Be told by ``state`` of what ends; call ``ring`` with the queue of what may begin."""
        self._state = state
        self._ring = ring
        self._left: dict[TaskId, dict[TaskId, bool]] = {}
        self._children: defaultdict[TaskId, set[TaskId]] = defaultdict(set)
        self._ended: deque[tuple[TaskId, TaskStatus | None]] = deque()
        self._at_work = False
        state.on_ended = self._on_ended

    # -- storing ---------------------------------------------------------------------------------

    def require_known(self, tasks: Iterable[NewTask], fresh: Container[TaskId]) -> None:
        """Check that the tasks that others come after are there, or come with them.

        Raises:
            TaskNotFound: one is not.
        """
        for task in tasks:
            for parent in () if task.after is None else task.after.task_ids:
                known = parent in self._state.tasks or parent in self._state.batches
                if not known and parent not in fresh:
                    raise TaskNotFound(parent)

    def require_same(self, task: NewTask) -> None:
        """Check that a task that is stored was stored to come after the same ones.

        Raises:
            TaskExists: it was not.
        """
        if task.after is not None and self._state.after.get(task.id) != task.after:
            raise TaskExists(task.id)

    def follow(self, task_id: TaskId, after: After) -> None:
        """Let a task that was just stored wait."""
        self._state.after[task_id] = after
        self._wait_for(task_id, after.task_ids)
        for parent in after.task_ids:
            if not self._is_alive(parent):
                self._on_ended(parent, self._status_of(parent))

    def follow_again(self, task_id: TaskId) -> None:
        """Let a task that was revived wait for those that have not ended."""
        alive = [parent for parent in self._state.after[task_id].task_ids if self._is_alive(parent)]
        if alive:
            self._wait_for(task_id, alive)

    def judge(self, batch_id: BatchId) -> None:
        """See whether a batch has ended; then let go what waits for it."""
        bag = self._state.batches[batch_id]
        status = outcome(self._state, bag)
        if status is None:
            bag.ended_at = None
            self._hope(batch_id)
        else:
            bag.ended_at = bag.ended_at or self._state.now()
            self._settle_children(TaskId(batch_id), status)

    def revived(self, task_id: TaskId) -> None:
        """Take note that a task goes on, for which others may be held."""
        self._hope(task_id)
        if (batch := self._state.batch_of.get(task_id)) is not None:
            self.judge(batch)

    def _hope(self, parent: UUID) -> None:
        task_id = TaskId(parent)
        for child in self._children.get(task_id, ()):
            if task_id in self._left.get(child, {}):
                self._left[child][task_id] = False

    def is_after(self, task_id: TaskId) -> bool:
        """Tell whether the task was stored to come after others."""
        return task_id in self._state.after

    # -- Followers -------------------------------------------------------------------------------

    async def release(self) -> int:
        """See ``Followers.release``."""
        return 0

    async def idle(self) -> None:
        """See ``Followers.idle``."""

    async def after(self, task_id: TaskId) -> After | None:
        """See ``Followers.after``."""
        return self._state.after.get(task_id)

    async def wait(self, task_id: TaskId) -> Wait | None:
        """See ``Followers.wait``."""
        task = self._state.tasks.get(task_id)
        if task is None or not task.waits or task.status is not TaskStatus.PENDING:
            return None
        left = self._left[task_id]
        failed = min((parent for parent, has_failed in left.items() if has_failed), default=None)
        parents = self._state.after[task_id].task_ids
        if len(parents) == 1 and (bag := self._state.batches.get(parents[0])) is not None:
            found = statuses(self._state, bag)
            pending = sum(number for status, number in found.items() if not status.is_final)
            return Wait(pending, len(bag.members), (), failed, bag.id)
        total = len(parents)
        return Wait(len(left), total, tuple(sorted(left)[:SHOWN_MAX]), failed)

    # -- pieces ----------------------------------------------------------------------------------

    def _status_of(self, task_id: UUID) -> TaskStatus | None:
        """Return what a task or a batch is, or has come to."""
        if (bag := self._state.batches.get(task_id)) is not None:
            return outcome(self._state, bag) or TaskStatus.PENDING
        task = self._state.tasks.get(TaskId(task_id))
        return None if task is None else task.status

    def _is_alive(self, task_id: UUID) -> bool:
        status = self._status_of(task_id)
        return status is not None and not status.is_final

    def _wait_for(self, task_id: TaskId, parents: Iterable[TaskId]) -> None:
        self._left[task_id] = dict.fromkeys(parents, False)
        for parent in self._left[task_id]:
            self._children[parent].add(task_id)
        self._state.save(self._state.tasks[task_id].wait())

    def _on_ended(self, task_id: TaskId, status: TaskStatus | None) -> None:
        """Take note that a task has ended, or was removed. What it brings about may end others."""
        if status is None:
            self._state.after.pop(task_id, None)
            self._left.pop(task_id, None)
        self._ended.append((task_id, status))
        if self._at_work:
            return
        self._at_work = True
        try:
            while self._ended:
                ended, how = self._ended.popleft()
                self._settle_children(ended, how)
                if (batch := self._state.batch_of.get(ended)) is not None:
                    self.judge(batch)
        finally:
            self._at_work = False

    def _settle_children(self, parent: TaskId, status: TaskStatus | None) -> None:
        for child in sorted(self._children.pop(parent, ())):
            task = self._state.tasks.get(child)
            left = self._left.get(child)
            if task is None or left is None or task.status is not TaskStatus.PENDING:
                self._left.pop(child, None)
            elif not task.waits:
                del self._left[child]
            elif parent in left:
                self._settle(child, parent, status)

    def _settle(self, child: TaskId, parent: TaskId, status: TaskStatus | None) -> None:
        after, left, now = self._state.after[child], self._left[child], self._state.now()
        task = self._state.tasks[child]
        if (
            status is TaskStatus.COMPLETED
            or not after.needs_success
            or after.otherwise is Otherwise.RUN
        ):
            del left[parent]
        elif after.otherwise is Otherwise.HOLD:
            left[parent] = True
            self._children[parent].add(child)
        else:
            name, how = REASONS[status]
            what = "a task of the batch" if parent in self._state.batches else "task"
            error = AttemptError(name, f"{what} {parent}, which it waited for, {how}", None)
            self._state.history[child].append(
                Attempt(
                    number=task.attempt,
                    started_at=None,
                    finished_at=now,
                    outcome=Event.CANCEL,
                    worker_id=None,
                    error=error,
                )
            )
            del self._left[child]
            self._state.save(task.stop_waiting(now=now).cancel(now=now))
            return
        if not left:
            del self._left[child]
            self._state.save(task.stop_waiting(now=now))
            self._ring({task.queue})
