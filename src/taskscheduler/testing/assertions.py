"""Assertions about what was scheduled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from taskscheduler.application.client.task_batch import encode_payload
from taskscheduler.domain.query import LIMIT_MAX, TaskQuery
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from datetime import datetime

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.task import Task

ANY = object()


async def assert_scheduled(
    scheduler: Scheduler,
    kind: str,
    payload: object = ANY,
    *,
    execute_at: datetime | None = None,
    queue: str | None = None,
) -> Task:
    """Return the newest pending task that fits; fail, showing the pending ones, if none does."""
    pending = await _pending(scheduler, kind, queue)
    for task in pending:
        if _fits(task, payload, execute_at):
            return task
    shown = "\n".join(f"  {task.execute_at.isoformat()} {task.payload!r}" for task in pending)
    message = f"no pending {kind!r} task fits; pending are:\n{shown or '  none'}"
    raise AssertionError(message)


async def refute_scheduled(
    scheduler: Scheduler, kind: str, payload: object = ANY, *, queue: str | None = None
) -> None:
    """Fail if a pending task fits."""
    for task in await _pending(scheduler, kind, queue):
        if _fits(task, payload, None):
            message = f"task {task.id} of kind {kind!r} is scheduled, with payload {task.payload!r}"
            raise AssertionError(message)


async def _pending(scheduler: Scheduler, kind: str, queue: str | None) -> list[Task]:
    query = TaskQuery(status=TaskStatus.PENDING, kind=kind, queue=queue, limit=LIMIT_MAX)
    return list(await scheduler.list(query))


def _fits(task: Task, payload: object, execute_at: datetime | None) -> bool:
    if execute_at is not None and task.execute_at != execute_at:
        return False
    return payload is ANY or _json(task.payload_json) == _json(encode_payload(payload))


def _json(text: bytes) -> Any:
    return msgspec.json.decode(text)
