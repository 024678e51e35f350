"""Tasks that wait for others to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from taskscheduler.domain.after import After, Wait
    from taskscheduler.domain.values import TaskId


class Followers(Protocol):
    """Those that wait for other tasks. They are stored by ``TaskRepository.put``.

    A task that comes ``after`` others is Pending, and its ``process_at`` is ``WAITING_AT``. When
    the last of them ends as it should, it is due at its ``execute_at``, or now if that has passed.
    When one ends otherwise, the task is Cancelled, with the reason as the error of its history, or
    goes on waiting for the others, or is held, as it asks for.

    * Whatever way a task ends, those that wait for it come to something once, and once only, even
      if whoever ended it dies.
    * A task that had ended before counts at once. One that is retried before it was noticed that it
      had ended has not ended. One that is deleted has ended without success.
    * ``run_now`` ends the wait; ``edit`` does not. ``retry`` of a Cancelled task lets it wait again
      for those that have not ended; what the others came to does not matter any more.
    * Who is held for a task that failed waits for it again once that is retried.
    """

    async def release(self) -> int:
        """Let all tasks come to something whose waits are over; return how many did.

        A store does it by itself after its own calls, and soon after ``settle``. This is for what
        others have left behind. Any number may call it at once.
        """
        ...

    async def idle(self) -> None:
        """Wait until all has come to something that was ended through this store."""
        ...

    async def after(self, task_id: TaskId) -> After | None:
        """Return what the task was stored to come after, whether or not it still waits."""
        ...

    async def wait(self, task_id: TaskId) -> Wait | None:
        """Return how far the task's wait is; None if it does not wait."""
        ...
