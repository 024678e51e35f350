"""The call that tells who did what."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Annotated, Any, Final

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.audit import AuditQuery
from taskscheduler.domain.query import LIMIT_DEFAULT, LIMIT_MAX
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.middleware.known_parameters import check_parameters
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.responses import page_answer
from taskscheduler.entrypoints.messages.audit import AuditMessage

TEXT_CHARACTERS_MAX: Final = 256

TEXT: Final[dict[str, Any]] = {**docs.ONE_TEXT, "max_length": TEXT_CHARACTERS_MAX}
#: Text, because an int would take the word null, too. So many digits always fit the store's ids.
NUMBER: Final = re.compile("[1-9][0-9]{0,17}")
Number = Annotated[
    str | None,
    QueryParameter(
        description="from the Link header of the page before",
        schema_extra={**docs.ONE_TEXT, "pattern": f"^{NUMBER.pattern}$"},
    ),
]


@get(
    "/audit",
    opt=reached_by("admin"),
    before_request=check_parameters,
    operation_class=docs.Documented,
    responses=error_responses.LISTING,
    summary="Who did what, newest first",
    tags=["service"],
)
async def list_audit(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    task: Annotated[
        str | None, QueryParameter(description="a task's id", schema_extra=docs.ONE_UUID)
    ] = None,
    target: Annotated[
        str | None,
        QueryParameter(
            description="the queue or schedule, by name, or the key, by id, to which it was done",
            schema_extra=TEXT,
        ),
    ] = None,
    actor: Annotated[
        str | None,
        QueryParameter(description="the name of a key, or its id", schema_extra=TEXT),
    ] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    cursor: Number = None,
) -> Response[list[AuditMessage]]:
    """List what was done. While there is more, the Link header names the next page."""
    for name, text in (("target", target), ("actor", actor)):
        if text is not None and (len(text) > TEXT_CHARACTERS_MAX or "\0" in text):
            raise BadRequest(name, f"must be up to {TEXT_CHARACTERS_MAX} characters, none NUL")
    if cursor is not None and NUMBER.fullmatch(cursor) is None:
        raise BadRequest("cursor", "must be as the Link header of the page before has it")
    query = AuditQuery(
        task_id=None if task is None else parameters.uuid_of(task, "task"),
        target=target,
        actor=actor,
        before=None if cursor is None else int(cursor),
        limit=limit + 1,
    )
    found = await scheduler.store.audit.list(query)
    page = found[:limit]
    messages = [AuditMessage.of(entry) for entry in page]
    asked = {"task": task, "target": target, "actor": actor, "limit": limit}
    given = [(name, value) for name, value in asked.items() if value is not None]
    return page_answer(request, found, page, messages, given=given, cursor=attrgetter("id"))
