"""A FastAPI application that schedules tasks and runs them.

Run it with ``uvicorn embed_fastapi:app`` in this folder. With ``DATABASE_URL`` set (and
``taskscheduler migrate`` run once) it is durable; without, the tasks live in its memory.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import msgspec
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

from taskscheduler import Context, Handlers, Scheduler, TaskNotFound, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

handlers = Handlers()


class Welcome(msgspec.Struct):
    """A payload."""

    name: str


class Accepted(BaseModel):
    """The answer to a sign-up."""

    task_id: UUID


class Progress(BaseModel):
    """How far a task is."""

    status: str
    attempt: int


@handlers.register("welcome")
async def welcome(_: Context, message: Welcome) -> None:
    """Greet."""
    print(f"welcome, {message.name}", flush=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Keep a scheduler open and a worker at work for as long as the application runs."""
    async with scheduler_from_environment() as scheduler:
        app.state.scheduler = scheduler
        worker = Worker(scheduler, handlers)
        running = asyncio.create_task(worker.run())
        yield
        worker.stop()
        await running


def scheduler_from_environment() -> Scheduler:
    """Return a durable scheduler if there is a database, or else one in memory."""
    url = os.environ.get("DATABASE_URL")
    if url is None:
        return Scheduler.in_memory()
    schema = os.environ.get("TASKSCHEDULER_SCHEMA", "taskscheduler")
    return Scheduler.postgres(url, schema=schema)


def opened_scheduler(request: Request) -> Scheduler:
    """Return the application's scheduler."""
    scheduler: Scheduler = request.app.state.scheduler
    return scheduler


app = FastAPI(lifespan=lifespan)
Tasks = Annotated[Scheduler, Depends(opened_scheduler)]


@app.post("/members/{name}", status_code=202)
async def sign_up(name: str, scheduler: Tasks) -> Accepted:
    """Answer at once; greet soon."""
    return Accepted(task_id=await scheduler.schedule("welcome", Welcome(name)))


@app.get("/tasks/{task_id}")
async def progress(task_id: UUID, scheduler: Tasks) -> Progress:
    """Tell how far a task is."""
    try:
        task = await scheduler.get(task_id)
    except TaskNotFound as error:
        raise HTTPException(404, str(error)) from None
    return Progress(status=task.status, attempt=task.attempt)
