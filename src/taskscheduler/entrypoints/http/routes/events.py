"""``GET /events``: the changes of tasks, as server-sent events."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import ExitStack, aclosing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage
from msgspec import Struct

from taskscheduler.application.client.change_feed import LOOK_EVERY_S, ChangeFeed, Watched
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.client.shared_look import Lookout
from taskscheduler.domain.errors import TaskSchedulerError, TooManyWatchers
from taskscheduler.domain.query import REPEATED, wanted_by
from taskscheduler.domain.values import TaskId
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.errors import BadRequest, TooManyStreams
from taskscheduler.entrypoints.http.middleware.access import (
    CALLER,
    everybody,
    reached_by,
    still_let_in,
)
from taskscheduler.entrypoints.http.middleware.stopping import STOPPING
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.routes.router import router_of
from taskscheduler.entrypoints.messages.tasks import ProgressMessage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from litestar import Litestar

    from taskscheduler.application.client.change_feed import Changes
    from taskscheduler.domain.change import TaskState

from taskscheduler.entrypoints.messages.events import ChangeMessage

IDS_MAX: Final = 100
CLIENTS_MAX: Final = 100
"""How many may watch one process at once."""
CLIENTS_PER_KEY_MAX: Final = 20
"""How many of them may hold one key: it does not lock others out."""
COME_AGAIN_S: Final = 10
HEARTBEAT_S: Final = 15.0
RETRY_MS: Final = 2_000

log = logging.getLogger("taskscheduler.http")
encode = msgspec.json.Encoder().encode


class ProgressEvent(Struct):
    """How far a task is now."""

    id: UUID
    progress: ProgressMessage


class Audience:
    """How many watch this process."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self.clients = 0
        self.by_key: Counter[str] = Counter()

    def check(self, key: str | None = None) -> None:
        """See whether there is room for one more. Raises TooManyWatchers, TooManyStreams."""
        if key is not None and self.by_key[key] >= CLIENTS_PER_KEY_MAX:
            raise TooManyStreams(CLIENTS_PER_KEY_MAX, COME_AGAIN_S)
        if self.clients >= CLIENTS_MAX:
            raise TooManyWatchers(CLIENTS_MAX)

    @contextmanager
    def joined(self, key: str | None) -> Generator[None]:
        """Count one more meanwhile."""
        self.clients += 1
        if key is not None:
            self.by_key[key] += 1
        try:
            yield
        finally:
            self.clients -= 1
            if key is not None:
                self.by_key[key] -= 1
                if not self.by_key[key]:
                    del self.by_key[key]


def end_streams(app: Litestar) -> None:
    """Let the streams of ``app`` end soon, that it can stop."""
    app.state[STOPPING] = True


@get(
    "/events",
    # Not for tenants: what is read here is not narrowed to their queues.
    opt=reached_by("read"),
    operation_class=docs.Streamed,
    responses=error_responses.WATCHING,
    summary="Watch tasks change",
    media_type="text/event-stream",
)
async def watch_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    audience: NamedDependency[Audience],
    shared_look: NamedDependency[Lookout],
    filters: Annotated[
        list[str] | None,
        QueryParameter(
            name="filter",
            description=f"kind:<kind>, queue:<queue> or group:<group>; repeated, {REPEATED}",
            schema_extra=docs.WATCHED_LIST,
        ),
    ] = None,
    task_ids: Annotated[
        list[str] | None,
        QueryParameter(
            name="id",
            description=f"a task to watch; repeated, up to {IDS_MAX}",
            schema_extra=docs.UUID_LIST,
        ),
    ] = None,
) -> ServerSentEvent:
    """Stream events: `task` for each change of status, `progress`, `deleted`.

    `progress` tells how far a running task is by its own word, `deleted` that a watched id is gone.

    The present state of each watched id comes first, or `deleted` if there is no such task. Looks
    twice a second, while somebody watches, at the tasks with the given ids, or else at the newest
    1,000 of the kinds, queues and groups. Of several changes between two looks the last is told.
    """
    watched = watched_of(filters or [], task_ids or [])
    since = since_of(request.headers.get("last-event-id"))
    caller = request.scope.get(CALLER)
    key = None if caller is None else caller.key_id
    audience.check(key)
    watch = ChangeFeed(scheduler.store, watched, shared_look)
    # Before the stream begins, so that what goes wrong is answered as anywhere else.
    first = await watch.begin(since)
    state = request.app.state

    def stopping() -> bool:
        return bool(state.get(STOPPING))

    stream = streamed(watch, first, audience, stopping, still_let_in(request), key)
    # As of every answer, unless it says otherwise: nothing of it is to be kept.
    headers = {"Cache-Control": "no-store"}
    return ServerSentEvent(stream, retry_duration=RETRY_MS, headers=headers)


async def streamed(
    watch: ChangeFeed,
    first: Changes,
    audience: Audience,
    stopping: Callable[[], bool] = lambda: False,
    let_in: Callable[[], Awaitable[bool]] = everybody,
    key: str | None = None,
) -> AsyncGenerator[ServerSentEventMessage]:
    """Yield what ``watch`` tells while client, key and store are there, and not ``stopping``."""
    try:
        audience.check(key)  # again, because many may have come while the first look was taken
    except (TooManyWatchers, TooManyStreams) as error:
        yield _end(str(error))
        return
    joined = ExitStack()
    joined.enter_context(audience.joined(key))
    newest: datetime | None = None
    shown: dict[TaskId, int] = {}
    quiet_s = 0.0
    try:
        # At once, so that the client knows from when on it hears everything.
        yield _comment("watching")
        async with aclosing(watch.looks()) as looks:
            told = first
            while not stopping():
                for state in told.changed:
                    if state.progress is not None:
                        said = ProgressEvent(state.id, ProgressMessage.of(state.progress))
                        yield ServerSentEventMessage(data=encode(said).decode(), event="progress")
                    if progress_alone(state, shown):
                        continue
                    at = state.changed_at
                    newest = at if newest is None else max(newest, at or newest)
                    yield ServerSentEventMessage(
                        data=encode(ChangeMessage.of(state)).decode(),
                        event="task",
                        id=None if newest is None else newest.isoformat().replace("+00:00", "Z"),
                    )
                for task_id in told.gone:
                    gone = encode({"id": task_id}).decode()
                    yield ServerSentEventMessage(data=gone, event="deleted")
                quiet_s = 0.0 if told.changed or told.gone else quiet_s + LOOK_EVERY_S
                if quiet_s >= HEARTBEAT_S:
                    quiet_s = 0.0
                    yield _comment("still watching")
                told = await anext(looks)
                # A key that has ended opens nothing any more, what it has opened included.
                if not await let_in():
                    yield _end("the key has expired or was revoked")
                    return
        yield _end("the service stops")
    except TaskSchedulerError as error:
        # The answer has begun, so this is the only way left to say it; clients come back.
        log.warning("events ended: %s", error)
        yield _end("the database cannot be reached at present")
    finally:
        joined.close()


def _comment(text: str) -> ServerSentEventMessage:
    # With data, even empty, it would be a message, which every page would have to tell apart.
    return ServerSentEventMessage(comment=text, data=None)


def progress_alone(state: TaskState, shown: dict[TaskId, int]) -> bool:
    """Tell whether nothing of ``state`` is new but its progress; ``shown`` remembers attempts."""
    if state.progress is None:
        shown.pop(state.id, None)
        return False
    before = shown.get(state.id)
    shown[state.id] = state.attempt
    return before == state.attempt


def _end(reason: str) -> ServerSentEventMessage:
    return ServerSentEventMessage(data=encode({"reason": reason}).decode(), event="end")


def watched_of(filters: list[str], task_ids: list[str]) -> Watched:
    """Return which tasks are meant. Raises BadRequest."""
    with parameters.as_filter():
        wanted = wanted_by(filters)
    if "status" in wanted:
        raise BadRequest(
            "filter",
            "a status cannot be watched; expected kind:<kind>, queue:<queue>, group:<group>",
        )
    if "tag" in wanted:
        raise BadRequest("filter", "a tag cannot be watched; expected kind:<kind>, queue:<queue>")
    if wanted and task_ids:
        raise BadRequest("id", "give either ids or filters")
    if len(task_ids) > IDS_MAX:
        raise BadRequest("id", f"must be at most {IDS_MAX}, not {len(task_ids)}")
    ids = tuple(TaskId(parameters.uuid_of(each)) for each in task_ids)
    return Watched(
        ids=ids, kind=wanted.get("kind"), queue=wanted.get("queue"), group=wanted.get("group")
    )


def since_of(last: str | None) -> datetime | None:
    """Return the time that ``Last-Event-ID`` is. Raises BadRequest."""
    if not last:
        return None
    try:
        since = datetime.fromisoformat(last)
    except ValueError:
        since = None
    if since is None or since.tzinfo is None or not 1 < since.year < 9000:  # noqa: PLR2004
        raise BadRequest("Last-Event-ID", f"{last!r} is not the id of an event")
    return since


def event_router(scheduler: Scheduler) -> Router:
    """Return the call that streams, errors included, to be mounted in any application."""
    audience = Audience()
    shared_look = Lookout(scheduler.store)
    return router_of(
        scheduler,
        [watch_tasks],
        tag="tasks",
        audience=lambda: audience,
        shared_look=lambda: shared_look,
    )
