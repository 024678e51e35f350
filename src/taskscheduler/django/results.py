"""Tasks of Django's as they are stored, and what has become of them in Django's words."""

from __future__ import annotations

import builtins
import json
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from django.conf import settings
from django.utils import timezone

from taskscheduler.django.framework import base, import_string
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from taskscheduler.domain.lease import Attempt, AttemptError
    from taskscheduler.domain.task import Task

BANDS: Final = 10
SPREAD: Final = 201
"""Django's priorities go from -100 to 100, and the highest is the most urgent."""
STATUSES: Final = {
    TaskStatus.PENDING: base.TaskResultStatus.READY,
    TaskStatus.IN_PROGRESS: base.TaskResultStatus.RUNNING,
    TaskStatus.COMPLETED: base.TaskResultStatus.SUCCESSFUL,
    TaskStatus.FAILED: base.TaskResultStatus.FAILED,
    TaskStatus.CANCELLED: base.TaskResultStatus.FAILED,
}
"""Django has no word for what was cancelled: it failed, and its error says how."""
CLASS: Final = re.compile(r"(?m)^([A-Za-z_][\w.]*)(?::|$)")


class Stored(msgspec.Struct, kw_only=True):
    """The payload: which function is called, with what, by which backend."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    backend: str
    priority: int = 0
    queue_name: str = "default"
    run_after: str | None = None

    @classmethod
    def of(cls, task: Any, args: Any, kwargs: Any, backend: str) -> Stored:
        """Return a task as it is stored. Raises TypeError: what it is given has no JSON form."""
        plain = json.loads(json.dumps([list(args), dict(kwargs)]))
        return cls(
            task=task.module_path,
            args=plain[0],
            kwargs=plain[1],
            backend=backend,
            priority=task.priority,
            queue_name=task.queue_name,
            run_after=None if task.run_after is None else task.run_after.isoformat(),
        )

    def load(self) -> Any:
        """Return the task. Raises ImportError."""
        found = import_string(self.task)
        if not isinstance(found, base.Task):
            message = f"{self.task} is no task: decorate it by @task"
            raise ImportError(message)  # noqa: TRY004 - as of a name that is not there
        return found.using(priority=self.priority, queue_name=self.queue_name)

    def result(self, task_id: str, task: Any, **facts: Any) -> Any:
        """Return the result of ``task``, of which ``facts`` are known."""
        given: dict[str, Any] = {
            "status": base.TaskResultStatus.READY,
            "enqueued_at": None,
            "started_at": None,
            "finished_at": None,
            "last_attempted_at": None,
            "errors": [],
            "worker_ids": [],
            **facts,
        }
        return base.TaskResult(
            task=task, id=task_id, args=self.args, kwargs=self.kwargs, backend=self.backend, **given
        )


def band_of(priority: int) -> int:
    """Return our priority for one of Django's: 0 is the most urgent, and 5 is that of 0."""
    return BANDS - 1 - (priority + 100) * BANDS // SPREAD


def result_of(task: Task, attempts: Sequence[Attempt], returned: bytes | None) -> Any:
    """Return what has become of ``task``."""
    stored = msgspec.json.decode(task.payload_json, type=Stored)
    started = [each.started_at for each in attempts if each.started_at is not None]
    result = stored.result(
        str(task.id),
        stored.load(),
        status=STATUSES[task.status],
        enqueued_at=_shown(task.created_at),
        started_at=_shown(started[0]) if started else None,
        last_attempted_at=_shown(started[-1]) if started else None,
        finished_at=_shown(task.finished_at),
        errors=[_error_of(each.error) for each in attempts if each.error is not None],
        worker_ids=[str(each.worker_id) for each in attempts if each.started_at is not None],
    )
    if task.status is TaskStatus.CANCELLED and not result.errors:
        cancelled = base.TaskError(
            exception_class_path="taskscheduler.TaskCancelled", traceback="it was cancelled"
        )
        result.errors.append(cancelled)
    if returned is not None:
        object.__setattr__(result, "_return_value", msgspec.json.decode(returned))
    return result


def _shown(moment: datetime | None) -> datetime | None:
    """Return a time as Django's settings have it: aware, or naive in its own zone."""
    if moment is None or settings.USE_TZ:
        return moment
    return timezone.make_naive(moment)


def _error_of(error: AttemptError) -> Any:
    """Return an error in Django's words: with the path of its class, as its traceback names it."""
    named = CLASS.findall(error.traceback or "")
    path = next((each for each in reversed(named) if each.endswith(error.type)), error.type)
    if hasattr(builtins, path):
        path = f"builtins.{path}"
    elif "." not in path:
        path = f"taskscheduler.{path}"
    told = error.traceback or f"{error.type}: {error.message}"
    return base.TaskError(exception_class_path=path, traceback=told)
