"""The call that says why a task is where it is."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from msgspec import Struct

from taskscheduler.application.scheduler import Scheduler
from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.why import Cause, Reason, Why
from taskscheduler.entrypoints.http import documentation as docs
from taskscheduler.entrypoints.http import refusals
from taskscheduler.entrypoints.http.access import reached_by
from taskscheduler.entrypoints.http.answering import answer
from taskscheduler.entrypoints.http.asking import TaskIdText, uuid_of
from taskscheduler.entrypoints.http.operating import CountMessage


class CauseMessage(Struct, kw_only=True):
    """One reason: `until` is when it ends by itself, `since` when it began."""

    reason: Reason
    detail: str
    until: datetime | None
    since: datetime | None
    worker_id: int | None
    before: CountMessage | None

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


@get(
    "/tasks/{task_id:str}/why",
    opt=reached_by("read", tenants=True),
    operation_class=docs.Documented,
    responses=refusals.FINDING,
    summary="Why is it not running?",
)
async def why_task(
    task_id: TaskIdText, scheduler: NamedDependency[Scheduler]
) -> Response[WhyMessage]:
    """Say what keeps a task from running, or which worker runs it, or how it ended."""
    return answer(WhyMessage.of(await scheduler.why(uuid_of(task_id))))
