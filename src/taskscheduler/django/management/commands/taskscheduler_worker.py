"""``manage.py taskscheduler_worker``."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from taskscheduler.application.worker.worker import Worker
from taskscheduler.django.framework import tasks
from taskscheduler.django.worker import handlers_of
from taskscheduler.entrypoints.library import Scheduler

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from taskscheduler.django.backend import TaskSchedulerBackend


class Command(BaseCommand):
    """Runs the tasks of a backend until it is told to stop."""

    help = "Run tasks until SIGINT or SIGTERM; those that run are finished first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take which tasks, how many at once, and whether to stop when there are none."""
        parser.add_argument("--backend", default="default", help="Which one of TASKS.")
        parser.add_argument("--queue", action="append", help="Only this one; may be repeated.")
        parser.add_argument("--concurrency", type=int, default=10, help="So many at once.")
        parser.add_argument("--drain", action="store_true", help="Stop when nothing is due.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        del args
        asyncio.run(_work(**options))


async def _work(
    *, backend: str, queue: list[str] | None, concurrency: int, drain: bool, **_: Any
) -> None:
    found: TaskSchedulerBackend = tasks.task_backends[backend]
    queues = queue or sorted(found.queues) or ["default"]
    async with Scheduler.postgres(found.url, schema=found.schema) as scheduler:
        worker = Worker(scheduler, handlers_of(backend), queues=queues, concurrency=concurrency)
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # where loops know no signals, Ctrl-C raises
                loop.add_signal_handler(each, worker.stop)
        await worker.run(until_drained=drain)
