"""Changing all that match, a page at a time."""

from __future__ import annotations

from uuid import UUID

import pytest

from taskscheduler import IllegalTransition, TaskQuery, TaskStatus
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.bulk import BulkCursor, BulkVerb, statuses_of
from taskscheduler.testing import in_memory
from taskscheduler.testing.contracts.steps import bring

pytestmark = pytest.mark.anyio


@pytest.fixture
def scheduler() -> Scheduler:
    return in_memory()


async def all_pages(
    scheduler: Scheduler, verb: BulkVerb, query: TaskQuery, *, force: bool = False
) -> list[tuple[int, int]]:
    pages: list[tuple[int, int]] = []
    cursor = None
    while True:
        step = await scheduler.change_page(verb, query, force=force, cursor=cursor)
        pages.append((step.looked_at, step.changed))
        if step.cursor is None:
            return pages
        cursor = BulkCursor.parse(str(step.cursor))


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 100])
async def test_pages_cover_all_once(scheduler: Scheduler, limit: int):
    # What waits is stored last, lest it be claimed for others.
    for status in sorted(TaskStatus, key=lambda status: status is TaskStatus.PENDING):
        for _ in range(2):
            await bring(scheduler.store, status)
    pages = await all_pages(scheduler, BulkVerb.CANCEL, TaskQuery(limit=limit))
    assert sum(looked_at for looked_at, _ in pages) == 4
    assert sum(changed for _, changed in pages) == 4
    assert all(looked_at <= limit for looked_at, _ in pages)
    assert len(pages) <= 4 // limit + 1
    assert {task.status for task in await scheduler.list()} == {
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.CANCELLED,
    }


async def test_only_what_matches_is_changed(scheduler: Scheduler):
    kept = await scheduler.schedule("fax")
    other = await scheduler.schedule("mail", queue="letters")
    await scheduler.schedule("mail")
    query = TaskQuery(kind="mail", queue="default", limit=10)
    assert await all_pages(scheduler, BulkVerb.DELETE, query) == [(1, 1)]
    assert {task.id for task in await scheduler.list()} == {kept, other}


async def test_deleting_what_runs_must_be_forced(scheduler: Scheduler):
    await bring(scheduler.store, TaskStatus.IN_PROGRESS)
    assert await all_pages(scheduler, BulkVerb.DELETE, TaskQuery()) == [(0, 0)]
    assert await all_pages(scheduler, BulkVerb.DELETE, TaskQuery(), force=True) == [(1, 1)]
    assert await scheduler.list() == []


async def test_retried_tasks_wake_their_workers(scheduler: Scheduler):
    await bring(scheduler.store, TaskStatus.FAILED, queue="default")
    async with scheduler.store.wakeups.listen(
        {"default"}, on_cancellation=lambda: None
    ) as listener:
        query = TaskQuery(status=TaskStatus.FAILED)
        assert await all_pages(scheduler, BulkVerb.RETRY, query) == [(1, 1)]
        assert await listener.wait(0)


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        (BulkVerb.CANCEL, TaskStatus.COMPLETED),
        (BulkVerb.RETRY, TaskStatus.COMPLETED),
        (BulkVerb.RETRY, TaskStatus.PENDING),
        (BulkVerb.DELETE, TaskStatus.IN_PROGRESS),
    ],
)
async def test_what_no_task_allows_is_refused(
    scheduler: Scheduler, verb: BulkVerb, status: TaskStatus
):
    with pytest.raises(IllegalTransition):
        await scheduler.change_page(verb, TaskQuery(status=status))


async def test_a_cursor_of_something_else_leads_nowhere(scheduler: Scheduler):
    await bring(scheduler.store, TaskStatus.FAILED)
    cursor = BulkCursor(TaskStatus.PENDING)
    step = await scheduler.change_page(BulkVerb.RETRY, TaskQuery(), cursor=cursor)
    assert step == (0, 0, None, 0)


def test_cursors_are_text():
    for cursor in (BulkCursor(TaskStatus.PENDING), BulkCursor(TaskStatus.FAILED, UUID(int=5))):
        assert BulkCursor.parse(str(cursor)) == cursor
    for text in ("", "Pending:x", "pending:", "Nothing", "\0"):
        with pytest.raises(ValueError):
            BulkCursor.parse(text)
    assert statuses_of(BulkVerb.RETRY, None) == (TaskStatus.FAILED, TaskStatus.CANCELLED)
