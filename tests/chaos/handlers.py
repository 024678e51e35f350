"""What the workers under test run. Every handler writes down what it does, outside the database."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec

from taskscheduler import Context, Handlers, RetryPolicy
from tests.chaos.history import History

RETRY = RetryPolicy(
    max_attempts=20, base=timedelta(milliseconds=50), factor=1.2, cap=timedelta(seconds=1)
)

TIDYING_S = 0.6

handlers = Handlers()
history = History(Path(os.environ["CHAOS_HISTORY"]), "worker")


class Work(msgspec.Struct):
    """How long an attempt takes, and how many attempts fail before one succeeds."""

    seconds: float = 0.0
    failures: int = 0


@contextmanager
def recorded(context: Context) -> Generator[None]:
    """Write down how the attempt began and how it ended."""
    facts = {"id": str(context.id), "token": context.token}
    history.add(
        "started",
        **facts,
        attempt=context.attempt,
        max_attempts=context.max_attempts,
        process_at=context.process_at.timestamp(),
        worker_id=context.worker_id,
    )
    try:
        yield
    except asyncio.CancelledError:
        history.add("stopped", **facts)
        raise
    except BaseException as error:
        history.add("raised", **facts, error=repr(error))
        raise
    history.add("finished", **facts)


class Unlucky(Exception):
    """An attempt that was meant to fail."""


@handlers.register("steady", retry=RETRY)
async def steady(context: Context, work: Work) -> None:
    """Take a while, and fail as often as asked."""
    with recorded(context):
        await asyncio.sleep(work.seconds)
        if context.attempt <= work.failures:
            raise Unlucky


@handlers.register("stubborn", retry=RETRY)
async def stubborn(context: Context, work: Work) -> None:
    """Take a while, and when told to stop, take a while to tidy up."""
    with recorded(context):
        try:
            await asyncio.sleep(work.seconds * 3)
        except asyncio.CancelledError:
            await asyncio.sleep(TIDYING_S)
            raise


@handlers.register("threaded", retry=RETRY)
def threaded(context: Context, work: Work) -> None:
    """Take a while in a thread, asking now and then whether to go on."""
    with recorded(context):
        until = time.monotonic() + work.seconds
        while time.monotonic() < until and not context.cancelled:
            time.sleep(0.01)


@handlers.register("effect", retry=RETRY)
async def effect(context: Context, work: Work) -> None:
    """Write into the database in the very transaction that completes the task."""
    with recorded(context):
        await asyncio.sleep(work.seconds / 2)
        async with context.transaction() as connection:
            await connection.execute(
                "INSERT INTO public.chaos_effect VALUES (%s, %s)", [context.id, context.token]
            )
            await asyncio.sleep(work.seconds / 2)
