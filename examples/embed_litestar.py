"""A Litestar application that schedules tasks, runs them, and offers the tasks' own routes.

Run it with ``uvicorn embed_litestar:app`` in this folder. With ``DATABASE_URL`` set (and
``taskscheduler migrate`` run once) it is durable; without, the tasks live in its memory.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from litestar import Litestar, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath

from taskscheduler import Context, Handlers, Scheduler, Worker
from taskscheduler.entrypoints.http.routes.tasks import task_router

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

handlers = Handlers()


class Welcome(msgspec.Struct):
    """A payload."""

    name: str


class Accepted(msgspec.Struct):
    """The answer to a sign-up."""

    task_id: UUID


@handlers.register("welcome")
async def welcome(_: Context, message: Welcome) -> None:
    """Greet."""
    print(f"welcome, {message.name}", flush=True)


@post("/members/{name:str}", status_code=202)
async def sign_up(name: FromPath[str], scheduler: NamedDependency[Scheduler]) -> Accepted:
    """Answer at once; greet soon."""
    return Accepted(await scheduler.schedule("welcome", Welcome(name)))


def create_app(scheduler: Scheduler) -> Litestar:
    """Return the application over ``scheduler``, which it opens and closes."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        async with scheduler:
            worker = Worker(scheduler, handlers)
            running = asyncio.create_task(worker.run())
            yield
            worker.stop()
            await running

    return Litestar(
        # The second is the calls under /tasks. Leave it out if you need none.
        [sign_up, task_router(scheduler)],
        dependencies={"scheduler": Provide(lambda: scheduler, sync_to_thread=False)},
        lifespan=[lifespan],
    )


def scheduler_from_environment() -> Scheduler:
    """Return a durable scheduler if there is a database, or else one in memory."""
    url = os.environ.get("DATABASE_URL")
    if url is None:
        return Scheduler.in_memory()
    schema = os.environ.get("TASKSCHEDULER_SCHEMA", "taskscheduler")
    return Scheduler.postgres(url, schema=schema)


app = create_app(scheduler_from_environment())
