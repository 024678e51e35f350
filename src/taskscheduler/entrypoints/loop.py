"""The event loop: uvloop where there is one."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from taskscheduler.entrypoints.signals import are_heard

if TYPE_CHECKING:
    from collections.abc import Coroutine

Answer = TypeVar("Answer")

log = logging.getLogger("taskscheduler.worker")


def run(work: Coroutine[object, object, Answer]) -> Answer:
    """Run ``work`` to its end on a new loop; what it leaves behind in threads is not waited for."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - it exists on some platforms only
    except ImportError:
        new_event_loop = None
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        loop = runner.get_loop()
        threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
        loop.set_default_executor(threads)
        try:
            return _run(runner, loop.create_task(work))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            # The loop waits for the threads of the one that it has when it closes.
            loop.set_default_executor(ThreadPoolExecutor(1))


def _run(runner: asyncio.Runner, task: asyncio.Task[Answer]) -> Answer:
    """Run the loop until ``task`` has ended.

    An asyncio task that raises KeyboardInterrupt or SystemExit throws the loop out of its turn,
    whoever has begun it. Here signals come in another way, so that is a handler's slip: whoever
    waits for that task gets the exception, and the loop goes on.
    """
    while True:
        try:
            return runner.run(_result(task))
        except (KeyboardInterrupt, SystemExit) as error:
            if task.done() or not are_heard():
                raise
            log.warning("a task of a handler raised %s; others go on", type(error).__name__)


async def _result(task: asyncio.Task[Answer]) -> Answer:
    return await task
