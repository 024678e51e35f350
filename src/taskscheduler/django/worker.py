"""What runs Django's tasks: one handler for all of them, in threads, as Django wants it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from taskscheduler.application.worker.handlers import Handlers
from taskscheduler.django.framework import base, database, signals, tasks
from taskscheduler.django.results import Stored  # noqa: TC001 - looked at when it is registered
from taskscheduler.domain.retry import RetryPolicy

if TYPE_CHECKING:
    from taskscheduler.application.worker.context import Context
    from taskscheduler.django.backend import TaskSchedulerBackend


def handlers_of(alias: str = "default") -> Handlers:
    """Return the handlers that run the tasks of a backend, for ``Worker``."""
    backend: TaskSchedulerBackend = tasks.task_backends[alias]
    handlers = Handlers()

    def run(context: Context, stored: Stored) -> Any:
        return _run(type(backend), context, stored)

    handlers.register(backend.kind, retry=RetryPolicy(max_attempts=backend.max_attempts))(run)
    return handlers


def _run(sender: type[object], context: Context, stored: Stored) -> Any:
    database.close_old_connections()
    try:
        task = stored.load()
        now = timezone.now()
        result = stored.result(
            str(context.id),
            task,
            status=base.TaskResultStatus.RUNNING,
            started_at=now,
            last_attempted_at=now,
            worker_ids=[str(context.worker_id)] * context.attempt,
        )
        signals.task_started.send(sender, task_result=result)
        try:
            given = (base.TaskContext(task_result=result),) if task.takes_context else ()
            returned = task.call(*given, *stored.args, **stored.kwargs)
            # As Django has it: what is returned is JSON, or the task has failed.
            returned = json.loads(json.dumps(returned))
        except BaseException:
            _finish(sender, result, base.TaskResultStatus.FAILED, None)
            raise
        _finish(sender, result, base.TaskResultStatus.SUCCESSFUL, returned)
        return returned
    finally:
        database.close_old_connections()


def _finish(sender: type[object], result: Any, status: Any, returned: Any) -> None:
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", timezone.now())
    object.__setattr__(result, "_return_value", returned)
    signals.task_finished.send(sender, task_result=result)
