"""The shape of the answer to why a task is not running."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.why import Cause, Reason, Why
from taskscheduler.entrypoints.messages.queues import CountMessage


class CauseMessage(Struct, kw_only=True):
    """One reason: `until` is when it ends by itself, `since` when it began.

    Of tasks that wait for others, so many are `left`, and `task_ids` are the first ten of those.
    """

    reason: Reason
    detail: str
    until: datetime | None
    since: datetime | None
    worker_id: int | None
    before: CountMessage | None
    left: int | None
    task_ids: list[UUID]
    limit: str | None
    running: int | None
    group: str | None
    ahead: int | None

    @classmethod
    def of(cls, cause: Cause) -> CauseMessage:
        """Return ``cause`` as it is sent."""
        return cls(
            reason=cause.reason,
            detail=cause.detail,
            until=cause.until,
            since=cause.since,
            worker_id=cause.worker_id,
            before=cause.before and CountMessage.of(cause.before),
            left=cause.left,
            task_ids=list(cause.task_ids),
            limit=cause.limit,
            running=cause.running,
            group=cause.group,
            ahead=cause.ahead,
        )


class WhyMessage(Struct, kw_only=True):
    """Every reason that holds at this moment, one at least."""

    id: UUID
    status: TaskStatus
    reasons: list[CauseMessage]

    @classmethod
    def of(cls, why: Why) -> WhyMessage:
        """Return ``why`` as it is sent."""
        return cls(
            id=why.task.id,
            status=why.task.status,
            reasons=[CauseMessage.of(cause) for cause in why.causes],
        )
