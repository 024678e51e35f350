"""What tasks leave behind beside their outcome: results, progress, steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.notes import Awaited, Ending, Progress, Report, TaskNotes
    from taskscheduler.domain.values import TaskId


class Notes(Protocol):
    """What is kept of tasks beside their bodies and outcomes. It goes when the task goes."""

    async def of(self, task_id: TaskId) -> TaskNotes:
        """Return what the task has to show; of an unknown task, that is nothing."""
        ...

    async def endings(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Ending | None]:
        """Return how those of the tasks ended that have; None for those that are not there.

        Tasks that go on are left out. It is one look, however many tasks are asked for.
        """
        ...

    async def report(self, reports: Sequence[Report]) -> None:
        """Keep how far attempts are, at the store's now, in place of what they said before.

        What comes under a lease that no longer holds is dropped. Repeating is safe.
        """
        ...

    async def progress(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Progress]:
        """Return how far those of the tasks are that have said so."""
        ...

    async def steps(self, task_id: TaskId) -> Mapping[str, bytes]:
        """Return what is kept of the task's steps, by their names: JSON text."""
        ...

    async def signal(
        self, task_id: TaskId, name: str, value: bytes, *, by: Caller | None = None
    ) -> None:
        """Keep a signal for a task that has not ended; make the task due if it waits for it.

        Raises:
            TaskNotFound: there is no such task.
            IllegalTransition: it has ended.
            SignalExists: a signal of the name has come before, perhaps by this very call, whose
                answer was lost.
        """
        ...

    async def signals(self, task_id: TaskId) -> Mapping[str, bytes]:
        """Return the signals that have come for the task, by their names: JSON text."""
        ...

    async def awaited(self, task_id: TaskId) -> Awaited | None:
        """Return which signal the task waited for last, and until when.

        It still waits if it is Pending and that is its ``process_at``.
        """
        ...

    async def keep_step(self, lease: Lease, name: str, value: bytes) -> None:
        """Keep what a step came to, for later attempts. Repeating is safe.

        Raises:
            LeaseLost: the lease no longer holds; nothing was kept.
        """
        ...
