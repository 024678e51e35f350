"""One step of changing all tasks that match a filter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from taskscheduler.domain.bulk import BulkCursor, BulkStep, BulkVerb, statuses_of

if TYPE_CHECKING:
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
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
) -> BulkStep:
    """Do ``verb`` to up to ``query.limit`` tasks of ``query``, from ``cursor`` on; retry ``at``.

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
