"""The call that sends a task a signal."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, RequestBody, Schema
from litestar.params import PathParameter

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.entrypoints.http.decoding import decoded
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.openapi.operations import Shown
from taskscheduler.entrypoints.http.parameters import TaskIdText, uuid_of
from taskscheduler.entrypoints.http.responses import whole
from taskscheduler.entrypoints.messages.tasks import TaskWithAttempts

decode_any: Final = msgspec.json.Decoder()


@dataclass
class SendSignal(docs.Documented):
    """As ``Documented``; the body is any JSON."""

    def __post_init__(self) -> None:
        """Describe the body."""
        super().__post_init__()
        media = OpenAPIMediaType(
            schema=Schema(description="any JSON value"),
            examples={"example": Shown(value={"approved": True})},
        )
        self.request_body = RequestBody(content={"application/json": media}, required=False)


@post(
    "/tasks/{task_id:str}/signals/{name:str}",
    opt=reached_by("write", tenants=True),
    status_code=HTTPStatus.OK,
    operation_class=SendSignal,
    responses=error_responses.SIGNALLING,
    summary="Send a task a signal",
)
async def signal_task(
    request: Request[Any, Any, Any],
    task_id: TaskIdText,
    name: Annotated[str, PathParameter(schema_extra=docs.NAME_TEXT)],
    scheduler: NamedDependency[Scheduler],
) -> Response[TaskWithAttempts]:
    """Send a task a signal, with any JSON, or none. A task that waits for it is due at once.

    One that comes before anybody waits for it is kept; a second one of the name is refused.
    """
    body = await request.body()
    payload = decoded(decode_any, body) if body else None
    return await whole(request, scheduler, await scheduler.signal(uuid_of(task_id), name, payload))
