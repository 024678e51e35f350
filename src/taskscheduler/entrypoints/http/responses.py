"""Answers, encoded here: it is several times faster than the framework's general way."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec
from litestar import Response

from taskscheduler.domain.query import PAGE_BYTES_MAX
from taskscheduler.entrypoints.http.middleware.hosts import KNOWN
from taskscheduler.entrypoints.messages.tasks import TaskWithAttempts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litestar import Request

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.lease import Attempt
    from taskscheduler.domain.task import Task

T = TypeVar("T")

JSON: Final = "application/json"
ATTEMPTS_SHOWN: Final = 100
"""How many attempts, the last ones, are shown with their task."""

encode = msgspec.json.Encoder().encode


def answer(
    message: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response[Any]:
    """Return ``message`` as an answer."""
    return Response(encode(message), status_code=status, media_type=JSON, headers=headers)


def next_page(
    request: Request[Any, Any, Any], following: Sequence[tuple[str, Any]]
) -> dict[str, str]:
    """Return the header that names the page after this one, by its query parameters."""
    return _next(request, request.url.path, following)


def page_answer(
    request: Request[Any, Any, Any],
    found: Sequence[T],
    page: Sequence[T],
    messages: Sequence[Any],
    *,
    given: Sequence[tuple[str, Any]],
    cursor: Callable[[T], Any],
) -> Response[Any]:
    """Return ``messages``, those of ``page``; if more was found, Link names the page after it.

    That has the parameters ``given``, and the ``cursor`` of the last of this page.
    """
    headers: dict[str, str] = {}
    if len(found) > len(page):
        headers = next_page(request, [*given, ("cursor", cursor(page[-1]))])
    return answer(messages, headers=headers)


async def whole(request: Request[Any, Any, Any], scheduler: Scheduler, task: Task) -> Response[Any]:
    """Return ``task`` with its last attempts, under the tag of exactly this state."""
    body, before = await _shown(scheduler, task)
    headers = {"ETag": strong_tag(body)}
    if before is not None:
        root = request.url.path.partition(str(task.id))[0]
        headers |= _next(request, f"{root}{task.id}/attempts", [("cursor", before)])
    return Response(body, media_type=JSON, headers=headers)


def _next(
    request: Request[Any, Any, Any], path: str, parameters: Sequence[tuple[str, Any]]
) -> dict[str, str]:
    """Return the header that names the page at ``path``.

    It is a whole address only where the service was called by a name that it knows to be its own:
    a stranger's would send the reader, and his key, to the stranger.
    """
    query = urlencode(parameters)
    if request.scope.get(KNOWN):
        address = str(request.url.with_replacements(path=path, query=query))
    else:
        address = f"{path}?{query}"
    return {"Link": f'<{address}>; rel="next"'}


async def tag_of(scheduler: Scheduler, task: Task) -> str:
    """Return the tag under which ``whole`` would answer."""
    return strong_tag((await _shown(scheduler, task))[0])


def page_of_attempts(newest_first: Sequence[Attempt], limit: int) -> Sequence[Attempt]:
    """Return the first attempts that make one page: at least one, if there is any."""
    size = 0
    for number, attempt in enumerate(newest_first[:limit]):
        error = attempt.error
        size += 0 if error is None else len(error.message) + len(error.traceback or "")
        if number and size > PAGE_BYTES_MAX:
            return newest_first[:number]
    return newest_first[:limit]


async def _shown(scheduler: Scheduler, task: Task) -> tuple[bytes, int | None]:
    """Return what is shown of ``task``, and the number before which attempts were left out."""
    attempts = await scheduler.store.board.attempts(task.id, limit=ATTEMPTS_SHOWN + 1)
    shown = attempts[-ATTEMPTS_SHOWN:]
    before = shown[0].number if len(attempts) > len(shown) else None
    notes = await scheduler.store.notes.of(task.id)
    return encode(TaskWithAttempts.with_attempts(task, shown, notes)), before


def strong_tag(content: bytes) -> str:
    """Return the entity tag of ``content``.

    It is a digest of all that is shown: there is no counter that every change would have to raise.
    """
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
