"""One step of changing all tasks that match a filter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from taskscheduler.domain.bulk import BulkCursor, BulkStep, BulkVerb, statuses_of
from taskscheduler.domain.errors import QuotaUsedUp, TooMuchWaiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.change import TaskState
    from taskscheduler.domain.query import TaskQuery


async def change_page(
    store: Store,
    verb: BulkVerb,
    query: TaskQuery,
    *,
    force: bool = False,
    cursor: BulkCursor | None = None,
    at: datetime | None = None,
    by: Caller | None = None,
    admit: Callable[[Sequence[str]], Awaitable[None]] | None = None,
) -> BulkStep:
    """Do ``verb`` to up to ``query.limit`` tasks of ``query``, from ``cursor`` on; retry ``at``.

    ``admit`` is asked first, with the queue of each task of a page.
    Status by status, newest first. A task counts as it is when its page is looked at, and is
    changed only if it is still in that status; so repeating a step is safe.

    Raises:
        IllegalTransition: the query asks for a status in which nothing can be changed so.
    """
    statuses = list(statuses_of(verb, query.statuses, force=force))
    if cursor is None:
        cursor = BulkCursor(statuses[0])
    elif cursor.status not in statuses:
        # Made by a step that asked for something else: nothing is left of it here.
        return BulkStep(0, 0, None)
    looked_at = changed = waiting = 0
    left = statuses[statuses.index(cursor.status) :]
    before = cursor.before
    for status in left:
        room = query.limit - looked_at
        page = await store.board.states(replace(query, status=status, before=before, limit=room))
        before = None
        ids = [task.id for task in page]
        looked_at += len(ids)
        if ids:
            if admit is not None and not await _admitted(admit, page, changed):
                return BulkStep(looked_at - len(ids), changed, BulkCursor(status), waiting)
            done = await store.tasks.change_all(verb, status, ids, at=at, by=by)
            changed += len(done)
            waiting += sum(done.values())
            if verb is BulkVerb.RETRY:
                due = {task.queue for task in page if not done.get(task.id, True)}
                if due:
                    store.wakeups.ring(due)
        # A full page ends the step; after any other there is room for the next status.
        if len(ids) == room:
            return BulkStep(looked_at, changed, BulkCursor(status, ids[-1]), waiting)
    return BulkStep(looked_at, changed, None, waiting)


async def _admitted(
    admit: Callable[[Sequence[str]], Awaitable[None]], page: Sequence[TaskState], changed: int
) -> bool:
    """Tell whether the tasks of ``page`` may wait again; raise where nothing was ``changed`` yet.

    What was changed before is told. The next step is the one that is refused.
    """
    try:
        await admit([task.queue for task in page])
    except (QuotaUsedUp, TooMuchWaiting):
        if not changed:
            raise
        return False
    return True
