"""The calls on schedules."""

from __future__ import annotations

from http import HTTPStatus
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final

from litestar import Request, Response, Router, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import PathParameter, QueryParameter
from msgspec import UNSET

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.client.schedules import LIST_LIMIT_DEFAULT, PREVIEW_DEFAULT
from taskscheduler.domain.query import LIMIT_MAX
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.decoding import decoded, decoder
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.parameters import TaskRules
from taskscheduler.entrypoints.http.responses import answer, page_answer
from taskscheduler.entrypoints.http.routes.backfill import backfill_call
from taskscheduler.entrypoints.http.routes.options import options_of
from taskscheduler.entrypoints.http.routes.router import router_of
from taskscheduler.entrypoints.http.routes.schedule_fires import fires_call
from taskscheduler.entrypoints.messages.schedules import (
    NewScheduleMessage,
    PreviewMessage,
    PutScheduleMessage,
    ScheduleEditMessage,
    ScheduleMessage,
    fields_of,
)
from taskscheduler.entrypoints.messages.tasks import Stored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.handlers import HTTPRouteHandler

    from taskscheduler.domain.schedule import Schedule

PREVIEW_MAX: Final = 100

ScheduleName = Annotated[str, PathParameter(schema_extra=docs.NAME_TEXT)]
MADE: Final = {
    201: ResponseSpec(ScheduleMessage, description="There was none", generate_examples=False)
}

decode_new = decoder(NewScheduleMessage)
decode_put = decoder(PutScheduleMessage)
decode_edit = decoder(ScheduleEditMessage)


@get(
    "/schedules",
    opt=reached_by("read", tenants=True),
    operation_class=docs.Documented,
    responses=error_responses.LISTING_SCHEDULES,
    summary="List schedules, by name",
)
async def list_schedules(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIST_LIMIT_DEFAULT,
    cursor: parameters.NameCursor = None,
) -> Response[list[ScheduleMessage]]:
    """List schedules. While there are more, the Link header names the next page."""
    after = "" if cursor is None else name_of(cursor, "cursor")
    found = await scheduler.schedules.list(after=after, limit=limit + 1)
    page = found[:limit]
    messages = [ScheduleMessage.of(each) for each in page]
    given = [("limit", limit)]
    return page_answer(request, found, page, messages, given=given, cursor=attrgetter("name"))


@post(
    "/schedules",
    opt=reached_by("write", tenants=True),
    operation_class=docs.MakeSchedule,
    responses=error_responses.MAKING_SCHEDULES,
    summary="Make a schedule",
)
async def make_schedule(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
) -> Response[ScheduleMessage]:
    """Make a schedule: a task is stored each time it fires.

    A name that is taken is answered with 409, whatever has it.
    """
    message: NewScheduleMessage = decoded(decode_new, await request.body())
    definition = message.schedule(message.name)
    await parameters.require_known(scheduler, rules, {definition.kind: "$.kind"})
    made = await scheduler.schedules.make(definition)
    return _made(f"{request.url.path.rstrip('/')}/{made.name}", made)


@put(
    "/schedules/{name:str}",
    opt=reached_by("write", tenants=True),
    operation_class=docs.PutSchedule,
    responses=error_responses.PUTTING_SCHEDULES | MADE,
    summary="Make a schedule, or put it in the place of the one of that name",
)
async def put_schedule(
    request: Request[Any, Any, Any],
    name: ScheduleName,
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
) -> Response[ScheduleMessage]:
    """Let the schedule of that name be so: 201 if it is new, 200 if there was one.

    One that is so already is not changed, so an application may put its schedules at each start.
    Otherwise the next fire is reckoned anew, from now; one that is paused stays so.
    """
    message: PutScheduleMessage = decoded(decode_put, await request.body())
    if message.name not in (UNSET, name_of(name)):
        raise BadRequest("$.name", "must be the name in the path, or left out")
    definition = message.schedule(name)
    await parameters.require_known(scheduler, rules, {definition.kind: "$.kind"})
    schedule, made = await scheduler.schedules.put(definition)
    if made:
        return _made(request.url.path, schedule)
    return answer(ScheduleMessage.of(schedule))


@get(
    "/schedules/{name:str}",
    opt=reached_by("read", tenants=True),
    operation_class=docs.Documented,
    responses=error_responses.FINDING_SCHEDULES,
    summary="Look at a schedule",
)
async def get_schedule(
    name: ScheduleName, scheduler: NamedDependency[Scheduler]
) -> Response[ScheduleMessage]:
    """Return a schedule: what it stores and when, what it stored last."""
    return answer(ScheduleMessage.of(await scheduler.schedules.get(name_of(name))))


@patch(
    "/schedules/{name:str}",
    opt=reached_by("write", tenants=True),
    operation_class=docs.EditSchedule,
    responses=error_responses.EDITING_SCHEDULES,
    summary="Change a schedule",
)
async def edit_schedule(
    request: Request[Any, Any, Any],
    name: ScheduleName,
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
) -> Response[ScheduleMessage]:
    """Change what is given and leave the rest; null takes an optional value away.

    Giving `every_s` takes `cron`, `crons`, `gap` and `fold` away, giving `cron` or `crons` takes
    `every_s` away. If the times are others, the next fire is reckoned anew.
    """
    changes = fields_of(decoded(decode_edit, await request.body()))
    if not changes:
        raise BadRequest("$", "give at least one field")
    if "kind" in changes:
        await scheduler.schedules.get(name_of(name))
        await parameters.require_known(scheduler, rules, {changes["kind"]: "$.kind"})
    return answer(ScheduleMessage.of(await scheduler.schedules.edit(name_of(name), **changes)))


@delete(
    "/schedules/{name:str}",
    opt=reached_by("write", tenants=True),
    status_code=HTTPStatus.NO_CONTENT,
    operation_class=docs.Documented,
    responses=error_responses.FINDING_SCHEDULES,
    summary="Delete a schedule",
)
async def delete_schedule(name: ScheduleName, scheduler: NamedDependency[Scheduler]) -> None:
    """Remove a schedule. The tasks that it has stored stay."""
    await scheduler.schedules.delete(name_of(name))


@post(
    "/schedules/{name:str}/trigger",
    opt=reached_by("write", tenants=True),
    operation_class=docs.Documented,
    responses=error_responses.FINDING_SCHEDULES,
    summary="Store a task of a schedule now",
)
async def trigger_schedule(
    request: Request[Any, Any, Any], name: ScheduleName, scheduler: NamedDependency[Scheduler]
) -> Response[Stored]:
    """Store a task for now, whenever the schedule fires next, and even while it is paused."""
    task_id = await scheduler.schedules.trigger(name_of(name))
    root = request.url.path.rsplit("/schedules/", 1)[0]
    return answer(Stored(task_id), HTTPStatus.CREATED, {"Location": f"{root}/tasks/{task_id}"})


@get(
    "/schedules/{name:str}/preview",
    opt=reached_by("read", tenants=True),
    operation_class=docs.Documented,
    responses=error_responses.PREVIEWING,
    summary="When a schedule fires next",
)
async def preview_schedule(
    name: ScheduleName,
    scheduler: NamedDependency[Scheduler],
    n: Annotated[
        int, QueryParameter(ge=1, le=PREVIEW_MAX, description="how many fires")
    ] = PREVIEW_DEFAULT,
) -> Response[PreviewMessage]:
    """Return the next fires; of a schedule that is paused, as if it were resumed now.

    Fires that a change of clocks moves, doubles or leaves out are told of as such.
    """
    schedule = await scheduler.schedules.get(name_of(name))
    found = await scheduler.schedules.foresee(name, n)
    return answer(PreviewMessage.of(schedule.definition, found))


def switching(
    verb: str,
    switched: Callable[[Scheduler, str], Awaitable[Schedule]],
    summary: str,
    description: str,
) -> HTTPRouteHandler:
    """Return the call that does ``verb`` to one schedule and answers with what it is then."""

    async def switch_schedule(
        name: ScheduleName, scheduler: NamedDependency[Scheduler]
    ) -> Response[ScheduleMessage]:
        return answer(ScheduleMessage.of(await switched(scheduler, name_of(name))))

    return post(
        f"/schedules/{{name:str}}/{verb}",
        name=f"{verb}_schedule",
        opt=reached_by("write", tenants=True),
        status_code=HTTPStatus.OK,
        operation_class=docs.Documented,
        responses=error_responses.CHANGING_SCHEDULES,
        summary=summary,
        description=description,
    )(switch_schedule)


pause_schedule = switching(
    "pause",
    lambda scheduler, name: scheduler.schedules.pause(name),
    "Pause a schedule",
    "Let a schedule not fire until it is resumed. One that is paused stays so.",
)
resume_schedule = switching(
    "resume",
    lambda scheduler, name: scheduler.schedules.resume(name),
    "Resume a schedule",
    "Let a paused schedule fire again, from now on; what passed meanwhile is not caught up with.",
)


def name_of(text: str, path: str = "name") -> str:
    """Return ``text`` if a schedule may be called so. Raises BadRequest."""
    return parameters.name_of(text, "schedule", path)


def schedule_router(scheduler: Scheduler, rules: TaskRules | None = None) -> Router:
    """Return the calls on schedules, errors included.

    ``scheduler`` must be open while the application serves.
    """
    return router_of(
        scheduler,
        [
            options_of("/schedules", "/schedules/{name:str}"),
            list_schedules,
            make_schedule,
            put_schedule,
            get_schedule,
            edit_schedule,
            delete_schedule,
            pause_schedule,
            resume_schedule,
            trigger_schedule,
            preview_schedule,
            fires_call(name_of),
            backfill_call(name_of),
        ],
        tag="schedules",
        rules=lambda: rules or TaskRules(),
    )


def _made(path: str, schedule: Schedule) -> Response[Any]:
    return answer(ScheduleMessage.of(schedule), HTTPStatus.CREATED, {"Location": path})
