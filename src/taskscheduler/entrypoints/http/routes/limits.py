"""The calls on limits."""

from __future__ import annotations

from http import HTTPStatus
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final

from litestar import Request, Response, Router, delete, get, patch, put
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import PathParameter, QueryParameter
from msgspec import UNSET

from taskscheduler.application.client.limits import LIST_LIMIT_DEFAULT, LimitInUse
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.errors import LimitChanged, LimitNotFound
from taskscheduler.domain.query import LIMIT_MAX
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.decoding import decoded, decoder
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.parameters import tags_of
from taskscheduler.entrypoints.http.responses import answer, page_answer, strong_tag
from taskscheduler.entrypoints.http.routes.options import options_of
from taskscheduler.entrypoints.http.routes.router import router_of
from taskscheduler.entrypoints.messages.limits import (
    LimitEditMessage,
    LimitMessage,
    PutLimitMessage,
)

if TYPE_CHECKING:
    from taskscheduler.domain.limit import StoredLimit

LimitName = Annotated[str, PathParameter(schema_extra=docs.NAME_TEXT)]
MADE: Final = {
    201: ResponseSpec(LimitMessage, description="There was none", generate_examples=False)
}

decode_put = decoder(PutLimitMessage)
decode_edit = decoder(LimitEditMessage)


@get(
    "/limits",
    opt=reached_by("read"),
    operation_class=docs.Documented,
    responses=error_responses.LISTING_SCHEDULES,
    summary="List limits, by name",
)
async def list_limits(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIST_LIMIT_DEFAULT,
    cursor: parameters.NameCursor = None,
) -> Response[list[LimitMessage]]:
    """List limits and how they are used. While there are more, Link names the next page."""
    after = "" if cursor is None else limit_of(cursor, "cursor")
    found = await scheduler.limits.list(after=after, limit=limit + 1)
    page = found[:limit]
    messages = [LimitMessage.of(each) for each in page]
    given = [("limit", limit)]
    return page_answer(request, found, page, messages, given=given, cursor=attrgetter("name"))


@put(
    "/limits/{name:str}",
    opt=reached_by("admin"),
    operation_class=docs.PutLimit,
    responses=error_responses.PUTTING_LIMITS | MADE,
    summary="Make a limit, or put it in the place of the one of that name",
)
async def put_limit(
    request: Request[Any, Any, Any], name: LimitName, scheduler: NamedDependency[Scheduler]
) -> Response[LimitMessage]:
    """Let the limit of that name be so: 201 if it is new, 200 if there was one.

    Once this is answered every worker goes by it. Tasks that run go on; of a concurrency that is
    lower than their number no task begins until enough of them have ended. With `If-Match`, only
    if it is still what it was under that `ETag`.
    """
    message: PutLimitMessage = decoded(decode_put, await request.body())
    if message.name not in (UNSET, limit_of(name)):
        raise BadRequest("$.name", "must be the name in the path, or left out")
    definition = message.limit(limit_of(name))
    expected = await _expected(request, scheduler, name)
    found, made = await scheduler.limits.put(definition, expected=expected)
    if made:
        return _shown(found, HTTPStatus.CREATED, Location=request.url.path)
    return _shown(found)


@get(
    "/limits/{name:str}",
    opt=reached_by("read"),
    operation_class=docs.Documented,
    responses=error_responses.FINDING_LIMITS,
    summary="Look at a limit",
)
async def get_limit(
    name: LimitName, scheduler: NamedDependency[Scheduler]
) -> Response[LimitMessage]:
    """Return a limit: what it is, how many tasks run and wait under it."""
    return _shown(await scheduler.limits.get(limit_of(name)))


@patch(
    "/limits/{name:str}",
    opt=reached_by("admin"),
    operation_class=docs.EditLimit,
    responses=error_responses.EDITING_LIMITS,
    summary="Change a limit",
)
async def edit_limit(
    request: Request[Any, Any, Any], name: LimitName, scheduler: NamedDependency[Scheduler]
) -> Response[LimitMessage]:
    """Change what is given and leave the rest; null takes an optional value away."""
    message: LimitEditMessage = decoded(decode_edit, await request.body())
    changes = message.changes()
    if not changes:
        raise BadRequest("$", "give at least one field")
    expected = await _expected(request, scheduler, limit_of(name))
    return _shown(await scheduler.limits.edit(name, expected=expected, **changes))


@delete(
    "/limits/{name:str}",
    opt=reached_by("admin"),
    status_code=HTTPStatus.NO_CONTENT,
    operation_class=docs.DeleteLimit,
    responses=error_responses.DELETING_LIMITS,
    summary="Delete a limit",
)
async def delete_limit(
    request: Request[Any, Any, Any], name: LimitName, scheduler: NamedDependency[Scheduler]
) -> None:
    """Remove a limit; what it kept back begins within a second."""
    expected = await _expected(request, scheduler, limit_of(name))
    await scheduler.limits.delete(name, expected=expected)


def limit_of(name: str, parameter: str = "name") -> str:
    """Return ``name`` if a limit may be called so. Raises BadRequest."""
    return parameters.name_of(name, "limit", parameter)


async def _expected(
    request: Request[Any, Any, Any], scheduler: Scheduler, name: str
) -> StoredLimit | None:
    """Return the limit that ``If-Match`` speaks of, if it is there. Raises LimitChanged."""
    tags = tags_of(request)
    if tags is None and "if-match" not in request.headers:
        return None
    try:
        found = await scheduler.limits.get(name)
    except LimitNotFound:
        raise LimitChanged(name) from None
    if tags is not None and _tag(found) not in tags:
        raise LimitChanged(name)
    return found.stored


def _shown(
    found: LimitInUse, status: HTTPStatus = HTTPStatus.OK, **headers: str
) -> Response[LimitMessage]:
    return answer(LimitMessage.of(found), status, {"ETag": _tag(found), **headers})


def _tag(found: LimitInUse) -> str:
    # Of what it is, not of how it is used, which is another at each look.
    told = repr((found.definition, found.stored.revision, found.stored.created_at))
    return strong_tag(told.encode())


def limit_router(scheduler: Scheduler) -> Router:
    """Return the calls on limits, errors included.

    ``scheduler`` must be open while the application serves.
    """
    return router_of(
        scheduler,
        [
            options_of("/limits", "/limits/{name:str}"),
            list_limits,
            put_limit,
            get_limit,
            edit_limit,
            delete_limit,
        ],
        tag="limits",
    )
