"""The backend: a task is stored through Django's own connection, as a part of its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from django.core import checks
from django.utils import timezone
from psycopg.conninfo import make_conninfo

from taskscheduler.django.framework import backends, database, exceptions, signals
from taskscheduler.django.results import Stored, band_of, result_of
from taskscheduler.domain.errors import TaskNotFound
from taskscheduler.entrypoints.library import SyncScheduler

if TYPE_CHECKING:
    from collections.abc import Iterable

KIND: Final = "django"
"""The kind of all tasks of Django's: which function it is, the payload says."""
OPTIONS: Final = frozenset({"schema", "database", "kind", "max_attempts"})
PARAMETERS: Final = frozenset(
    {"dbname", "user", "password", "host", "port", "sslmode", "service", "passfile", "options"}
)
"""Of Django's own, those that libpq knows; the others are of its way with the driver."""
Backend: Any = backends.BaseTaskBackend


class TaskSchedulerBackend(Backend):
    """Stores tasks in the database of Django's.

    ``OPTIONS`` may have ``schema`` (``"taskscheduler"``), ``database`` (the alias of Django's, by
    default ``"default"``), ``kind`` (``"django"``) and ``max_attempts`` (1: Django knows of no
    second attempt).
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        """Take what ``TASKS`` says."""
        super().__init__(alias, params)
        options: dict[str, Any] = params.get("OPTIONS", {})
        self._unknown = sorted(set(options) - OPTIONS)
        self.schema: str = options.get("schema", "taskscheduler")
        self.database: str = options.get("database", "default")
        self.kind: str = options.get("kind", KIND)
        self.max_attempts: int = options.get("max_attempts", 1)
        self._scheduler: SyncScheduler | None = None

    @property
    def url(self) -> str:
        """How Django's database is reached by others."""
        given = cast("dict[str, Any]", database.connections[self.database].get_connection_params())
        return make_conninfo(
            **{name: value for name, value in given.items() if name in PARAMETERS and value}
        )

    @property
    def scheduler(self) -> SyncScheduler:
        """What tasks are stored and looked at with; its own connections are for looking alone."""
        if self._scheduler is None:
            self._scheduler = SyncScheduler.postgres(self.url, schema=self.schema, pool_size=2)
        return self._scheduler

    def close(self) -> None:
        """Let go of the connections that results are looked at with."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.close()

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Store ``task`` as a part of Django's transaction; it exists once that commits."""
        self.validate_task(task)
        stored = Stored.of(task, args, kwargs, self.alias)
        execute_at = task.run_after
        if execute_at is not None and timezone.is_naive(execute_at):
            execute_at = timezone.make_aware(execute_at)
        with database.transaction.atomic(using=self.database):
            task_id = self.scheduler.schedule(
                self.kind,
                stored,
                execute_at=execute_at,
                queue=task.queue_name,
                priority=band_of(task.priority),
                max_attempts=self.max_attempts,
                connection=database.connections[self.database],
            )
        result = stored.result(str(task_id), task, enqueued_at=timezone.now())
        signals.task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """Return what has become of a task. Raises TaskResultDoesNotExist."""
        try:
            task_id = UUID(str(result_id))
            task = self.scheduler.get(task_id)
            if task.kind != self.kind:
                raise exceptions.TaskResultDoesNotExist(result_id)
            attempts = self.scheduler.attempts(task_id)
            notes = self.scheduler.notes(task_id)
        except (ValueError, TaskNotFound):
            raise exceptions.TaskResultDoesNotExist(result_id) from None
        return result_of(task, attempts, notes.result)

    def check(self, **kwargs: Any) -> Iterable[Any]:
        """Tell what is wrong with the settings."""
        del kwargs
        if self._unknown:
            yield checks.Error(
                f"TASKS[{self.alias!r}]: OPTIONS has no {', '.join(self._unknown)}",
                hint=f"There are {', '.join(sorted(OPTIONS))}.",
                id="taskscheduler.E001",
            )
        if self.database not in database.connections.settings:
            yield checks.Error(
                f"TASKS[{self.alias!r}]: there is no database {self.database!r}",
                id="taskscheduler.E002",
            )
        elif database.connections[self.database].vendor != "postgresql":
            yield checks.Error(
                f"TASKS[{self.alias!r}]: the database {self.database!r} is not PostgreSQL",
                id="taskscheduler.E003",
            )
