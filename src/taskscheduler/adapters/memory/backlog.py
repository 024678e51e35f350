"""How much there is to do, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.domain.queue import Backlog, QueueDepth
from taskscheduler.domain.quota import Usage
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.quota import Quota


class MemoryBacklogStats:
    """``BacklogStats`` in memory: everything is counted."""

    def __init__(self, state: State) -> None:
        """Look at ``state``."""
        self._state = state

    async def backlog(self, *, exact_up_to: int) -> Backlog:  # noqa: ARG002 - it is all exact
        """See ``BacklogStats.backlog``."""
        now = self._state.now()
        waiting = [t for t in self._state.tasks.values() if t.status is TaskStatus.PENDING]
        queues: dict[str, QueueDepth] = {}
        for queue in {task.queue for task in self._state.tasks.values()}:
            here = [task.process_at for task in waiting if task.queue == queue]
            late = [now - at for at in here if at <= now]
            queues[queue] = QueueDepth(
                due=len(late),
                scheduled=len(here) - len(late),
                oldest_due=max(late, default=None),
            )
        return Backlog(now=now, queues=queues)

    async def usage(self, prefix: str, *, up_to: Quota) -> Usage:  # noqa: ARG002 - it is all exact
        """See ``BacklogStats.usage``."""
        tasks = [task for task in self._state.tasks.values() if task.queue.startswith(prefix)]
        waiting = [task for task in tasks if task.status is TaskStatus.PENDING]
        return Usage(
            queues=frozenset(task.queue for task in tasks),
            waiting=len(waiting),
            waiting_bytes=sum(len(task.payload_json) for task in waiting),
            schedules=sum(
                each.definition.queue.startswith(prefix) for each in self._state.schedules.values()
            ),
        )

    def connections(self) -> Mapping[str, int]:
        """See ``BacklogStats.connections``."""
        return {}
