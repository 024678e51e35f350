"""The call that stores the tasks of a span of a schedule's fires."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import PathParameter

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.entrypoints.http.decoding import decoded, decoder
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.responses import answer
from taskscheduler.entrypoints.messages.backfill import BackfilledMessage, BackfillMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.handlers import HTTPRouteHandler

Name = Annotated[str, PathParameter(schema_extra=docs.NAME_TEXT)]

decode_span = decoder(BackfillMessage)


def backfill_call(name_of: Callable[[str], str]) -> HTTPRouteHandler:
    """Return the call that backfills; ``name_of`` refuses what no schedule is called."""

    @post(
        "/schedules/{name:str}/backfill",
        opt=reached_by("write", tenants=True),
        status_code=HTTPStatus.OK,
        operation_class=docs.Backfill,
        responses=error_responses.BACKFILLING,
        summary="Store the tasks of a span of fires",
    )
    async def backfill_schedule(
        request: Request[Any, Any, Any],
        name: Name,
        scheduler: NamedDependency[Scheduler],
    ) -> Response[BackfilledMessage]:
        """Store a task for each fire of the span that has none: due at once, whatever `overlap` is.

        Fires are the times that the schedule's rule means, also before it was made and while it is
        paused. One call looks at up to 1,000 of them; go on with `next_from`. A call that was lost
        may be repeated.
        """
        span: BackfillMessage = decoded(decode_span, await request.body())
        step = await scheduler.schedules.backfill(name_of(name), span.from_, span.to)
        return answer(BackfilledMessage.of(step))

    return backfill_schedule
