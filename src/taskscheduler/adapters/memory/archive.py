"""Tasks that have ended, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.domain.retention import Expiry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.retention import RetentionPolicy
    from taskscheduler.domain.task import Task


class MemoryArchive:
    """``Archive`` in memory: one by one, all at once."""

    def __init__(self, state: State) -> None:
        """Work on ``state``."""
        self._state = state

    async def expire(
        self,
        policy: RetentionPolicy,
        *,
        export: Callable[[Sequence[Task]], None] | None = None,
        dry_run: bool = False,
    ) -> Expiry:
        """See ``Archive.expire``."""
        expired = [task for task in self._state.tasks.values() if self._is_over(task, policy)]
        if dry_run:
            return Expiry(deleted=len(expired))
        if export is not None and expired:
            export(expired)
        for task in expired:
            self._state.remove(task)
        if (keep := policy.fires) is not None:
            now = self._state.now()
            self._state.ledger[:] = [
                each for each in self._state.ledger if each[2].recorded_at + keep >= now
            ]
        return Expiry(deleted=len(expired))

    def _is_over(self, task: Task, policy: RetentionPolicy) -> bool:
        if task.finished_at is None:
            return False
        keep = policy.keep(task.status, task.kind)
        return keep is not None and task.finished_at + keep < self._state.now()
