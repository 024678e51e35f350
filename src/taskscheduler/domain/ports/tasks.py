"""Where tasks live: the port that producers, workers and operators share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime, timedelta

    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.bulk import BulkVerb
    from taskscheduler.domain.idempotency import Idempotency
    from taskscheduler.domain.lease import Lease, Settlement, Suspects
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.status import TaskStatus
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.task_edit import TaskEdit
    from taskscheduler.domain.trace import TraceContext
    from taskscheduler.domain.values import TaskId, WorkerId
    from taskscheduler.domain.worker import (
        Subscription,
    )


class TaskRepository(Protocol):
    """Where tasks live. Its clock alone decides what is due.

    Where a change is made ``by`` somebody, or a task is stored with a ``by``, that is written into
    the audit trail: one entry for what was done, with it or not at all, and none for what was not.
    """

    async def put(
        self,
        tasks: Sequence[NewTask],
        *,
        transaction: object | None = None,
        idempotency: Idempotency | None = None,
    ) -> Sequence[TaskId]:
        """Store all ``tasks`` or none; return their ids in the same order.

        * A task that is due in the past is due now.
        * Storing the same id with the same contents again changes nothing, so repeating is safe.
        * A task whose ``unique_key`` is held by an earlier task of its kind is not stored; the
          holder's id is returned in its place. The key is held for the store's time to live,
          beyond completion, and is let go when the task is deleted.
        * With ``idempotency``, a request whose key was used before stores nothing: it returns the
          ids of the first, for as long as unique keys live. Of concurrent ones, one is the first.
        * With ``transaction``, everything happens within it and is seen by others at its commit.

        Raises:
            TaskExists: an id is taken by a task with other contents; nothing was stored.
            IdempotencyConflict: the key was used with another fingerprint; nothing was stored.
        """
        ...

    async def get(self, task_id: TaskId) -> Task:
        """Return the task as it is now.

        Raises:
            TaskNotFound: there is none.
        """
        ...

    async def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int
    ) -> Sequence[Lease]:
        """Lease up to ``limit`` tasks to ``worker_id``, each with a token that no lease had before.

        Nor will one have it again, though the store be restored from an earlier moment.

        A task is claimable when all of this holds:

        * it is Pending and its ``process_at`` has passed on the store's clock;
        * its kind and its queue are in ``subscription``, and the queue is not paused;
        * it is no suspect, unless ``subscription`` has those, too;
        * ``worker_id`` is registered;
        * every limit that fits it lets it begin (``LimitRepository``): fewer leases are held under
          it than its concurrency, at every moment, and its rate grants one more.

        More urgent priorities come first; within a kind, queue, priority and group the earliest
        ``process_at`` does. The groups of a queue and priority take turns, by weight. A task that
        becomes visible only after later ones were claimed is found by the next claim that finds
        nothing else, and within a second by those that do. No task is ever leased to two claims at
        once. A claim whose answer was lost leaves leases that nobody knows of: ``reconcile`` gives
        them back.
        """
        ...

    async def suspects(self, subscription: Subscription) -> Suspects | None:
        """Return which suspects are due; of those that were excused least often, how many.

        None if none are. Up to some hundreds are counted. Tasks of paused queues are not looked at.
        """
        ...

    async def claim_suspects(
        self, worker_id: WorkerId, subscription: Subscription, excused: int, limit: int
    ) -> Sequence[Lease]:
        """Lease up to ``limit`` due suspects that were excused so often, as ``claim`` does."""
        ...

    async def begin(self, lease: Lease) -> bool:
        """Write down that the attempt under ``lease`` begins; return whether the lease holds.

        Asked of tasks that were excused before, for ``WorkerRegistry.declare_dead`` to know of.
        Repeating changes nothing.
        """
        ...

    async def traces_of(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, TraceContext]:
        """Return the traces of those of the tasks that were stored with one.

        A trace is stored with its task, stays with it through every change, and goes with it. One
        that an earlier task of the same id or key was stored with is not replaced.
        """
        ...

    async def next_due(
        self, subscription: Subscription, *, roughly: bool = False
    ) -> timedelta | None:
        """Return how long until a task of ``subscription`` is due, on the store's clock.

        Zero or less when one is due already; None when there is none at all. Tasks of paused
        queues are not looked at. With ``roughly``, what the last claim saw will do, if it found
        nothing; and a task may be overlooked, for a while, that came late and is dear to find.
        Where limits keep back what is due, it is how long until it is worth to look again.
        """
        ...

    def are_tight(self, subscription: Subscription) -> bool:
        """Tell whether limits have kept back some of ``subscription`` lately.

        Then whoever claims more than it can begin at once takes it from others.
        """
        ...

    def are_held_back(self, subscription: Subscription) -> bool:
        """Tell whether the last look at ``subscription`` saw due tasks, and limits let none begin.

        Any task that ends may let one of them begin.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """End leases; return the ids of those that no longer held.

        What comes with a ``result`` is kept with the outcome, or neither is; see ``Notes``. What
        ``waits_for`` a signal is due when that comes, at once if it has come before, and at the
        latest after its delay.

        A lease holds while the task is InProgress under exactly this token. Where it does not,
        nothing changes: a stale worker cannot alter an outcome. Repeating is safe: what
        was settled the first time is returned as not held the second time, and ``outcomes_of``
        tells the two apart.
        """
        ...

    def completing(
        self, lease: Lease, result: Callable[[], bytes | None] = lambda: None
    ) -> AbstractAsyncContextManager[object]:
        """Open a transaction that completes ``lease`` when the block ends.

        Yields the open transaction. What the block writes and the completion are one commit;
        what the block raises rolls back both. At the end ``result`` is asked for what is kept
        with the outcome; what it raises rolls back both, too.

        Raises:
            LeaseLost: the lease no longer held at the end; both were rolled back.
        """
        ...

    async def outcomes_of(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """Return the ids of those ``settlements`` that are on record as made.

        To be asked after a ``settle`` whose answer was lost.
        """
        ...

    async def reconcile(self, worker_id: WorkerId, known: Collection[int]) -> int:
        """Release every lease of ``worker_id`` whose token is not in ``known``; return how many.

        The released attempts do not count: their handlers never began.
        """
        ...

    async def cancel(self, task_id: TaskId, *, by: Caller | None = None) -> Task:
        """Cancel a Pending or InProgress task and return it.

        An InProgress task is Cancelled at once: its lease is lost, and its worker learns of it
        with its next heartbeat, or sooner.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task has ended.
        """
        ...

    async def retry(
        self, task_id: TaskId, *, at: datetime | None = None, by: Caller | None = None
    ) -> Task:
        """Make a Failed or Cancelled task Pending, with at least one more attempt.

        A Failed task is due now. A Cancelled one is due at its ``execute_at``, or now if that has
        passed: no task begins before the time that was asked for. With ``at``, an aware time, that
        is its ``execute_at`` from now on, whatever it was; a time in the past means now.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task is in another status.
        """
        ...

    async def run_now(self, task_id: TaskId, *, by: Caller | None = None) -> Task:
        """Make a Pending task due now.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task is not Pending.
        """
        ...

    async def edit(
        self,
        task_id: TaskId,
        edit: TaskEdit,
        *,
        expected: Task | None = None,
        by: Caller | None = None,
    ) -> Task:
        """Change a Pending task and return it.

        Either the change comes before any claim of the task, which then sees all of it, or it is
        refused. Unless the time is changed, the task keeps its place in time. With ``expected``,
        only a task that still equals it is changed; so after a lost answer a repeat is refused
        with ``TaskChanged``, and without ``expected`` a repeat changes nothing more.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task is not Pending.
            InvalidTask: its new time is not before its ``expires_at``.
            TaskChanged: it is not as ``expected``.
        """
        ...

    async def change_all(
        self,
        verb: BulkVerb,
        status: TaskStatus,
        task_ids: Sequence[TaskId],
        *,
        at: datetime | None = None,
        by: Caller | None = None,
    ) -> Mapping[TaskId, bool]:
        """Do ``verb`` to those of the tasks that are in ``status``; tell which of them wait.

        Returns the ids of those that were changed, each with whether it is Pending now and its time
        is still to come. Each is changed as ``cancel``, ``retry`` (with ``at``) or a forced
        ``delete`` would change it, all in one transaction. In a status in which ``verb`` is not
        allowed nothing is changed. Repeating is safe: what was changed is in another status.
        """
        ...

    async def delete(
        self, task_id: TaskId, *, force: bool = False, by: Caller | None = None
    ) -> None:
        """Remove every trace of a task; with ``force`` even of one in progress, cancelling it.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: the task is InProgress and ``force`` is not set.
        """
        ...
