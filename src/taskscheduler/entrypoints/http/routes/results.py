"""The call that waits for a task and tells how it ended."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated, Any, Final

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.status import TaskStatus
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.middleware.stopping import STOPPING
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.parameters import TaskIdText, uuid_of
from taskscheduler.entrypoints.http.responses import answer
from taskscheduler.entrypoints.messages.tasks import EndingMessage, GoingOnMessage

WAIT_MAX_S: Final = 60
SLICE_S: Final = 1.0
"""So often a wait looks whether the service stops meanwhile."""


@get(
    "/tasks/{task_id:str}/result",
    opt=reached_by("read", tenants=True),
    operation_class=docs.Documented,
    responses=error_responses.AWAITING,
    summary="Wait for its result",
)
async def await_result(
    request: Request[Any, Any, Any],
    task_id: TaskIdText,
    scheduler: NamedDependency[Scheduler],
    wait_s: Annotated[
        float,
        QueryParameter(
            ge=0, le=WAIT_MAX_S, description="how many seconds to wait for it to end, at most"
        ),
    ] = 0,
) -> Response[EndingMessage]:
    """Tell how a task ended: what its handler returned, or its last error.

    While it has not ended, the answer is 202 with the status alone, after `wait_s` seconds.
    """
    wanted = uuid_of(task_id)
    state = request.app.state
    waiting = asyncio.create_task(scheduler.ending(wanted, within_s=wait_s))
    try:
        while not waiting.done() and not state.get(STOPPING):
            await asyncio.wait([waiting], timeout=SLICE_S)
        ending = waiting.result() if waiting.done() else None
    finally:
        waiting.cancel()
    if ending is not None:
        return answer(EndingMessage.of(ending))
    status = (await scheduler.get(wanted)).status
    if status.is_final:
        # It has ended between the two looks.
        ending = await scheduler.ending(wanted)
        if ending is not None:
            return answer(EndingMessage.of(ending))
        status = TaskStatus.IN_PROGRESS
    return answer(GoingOnMessage(status), HTTPStatus.ACCEPTED)
