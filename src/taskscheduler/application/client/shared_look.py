"""One look for all who watch the same: what a hundred watchers cost is what one costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.domain.change import WATCHED_MAX
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskscheduler.application.client.change_feed import Changes, Watched
    from taskscheduler.application.store import Store
    from taskscheduler.domain.change import TaskState
    from taskscheduler.domain.values import TaskId

    States = dict[TaskId, TaskState]

FRESH_S: Final = 0.25
"""How old a look may be that another watcher has taken."""
KEPT_S: Final = 5.0


class _Step(NamedTuple):
    """From one look to another, and what it tells."""

    before: States
    now: States
    told: Changes


class Lookout:
    """Looks at tasks for all watchers of a process."""

    def __init__(self, store: Store) -> None:
        """Look into ``store``."""
        self._store = store
        self._looks: dict[Watched, tuple[float, asyncio.Task[States]]] = {}
        self._steps: dict[Watched, _Step] = {}

    async def look(self, watched: Watched) -> States:
        """Look, now."""
        query = TaskQuery(
            kind=watched.kind, queue=watched.queue, group=watched.group, limit=WATCHED_MAX
        )
        states = await self._store.board.states(query, watched.ids)
        found = {state.id: state for state in states}
        running = [state.id for state in states if state.status is TaskStatus.IN_PROGRESS]
        if running:
            for task_id, progress in (await self._store.notes.progress(running)).items():
                found[task_id] = found[task_id]._replace(progress=progress)
        return found

    async def shared(self, watched: Watched) -> States:
        """Return what a look that is young enough has found, or else a new one's.

        Raises:
            StoreUnavailable: it cannot be looked at.
        """
        now = asyncio.get_running_loop().time()
        began, looking = self._looks.get(watched, (0.0, None))
        if looking is None or (looking.done() and now - began >= FRESH_S):
            self._forget(now)
            looking = asyncio.create_task(self.look(watched))
            # Whoever asked for it may leave before it ends; then nobody hears how it did.
            looking.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._looks[watched] = now, looking
        return await asyncio.shield(looking)

    def told(
        self, watched: Watched, before: States, now: States, tell: Callable[[], Changes]
    ) -> Changes:
        """Return what leads from ``before`` to ``now``: ``tell`` finds it, once for all."""
        step = self._steps.get(watched)
        if step is None or step.before is not before or step.now is not now:
            step = self._steps[watched] = _Step(before, now, tell())
        return step.told

    def _forget(self, now: float) -> None:
        """Let go of looks that nobody has asked for any more."""
        for watched, (began, looking) in [*self._looks.items()]:
            if looking.done() and now - began >= KEPT_S:
                del self._looks[watched]
                self._steps.pop(watched, None)
