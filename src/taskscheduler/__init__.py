"""A scheduler of tasks, durable in PostgreSQL.

Store a task (a kind, a payload, a time); any number of workers run it at or after that time, and
it is never lost.

Names are loaded when they are first used (PEP 562): a command that prints help, or a module that
only needs ``TaskStatus``, does not wait for asyncio and the worker.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taskscheduler.application.client.chains import chain, gather
    from taskscheduler.application.worker.context import Context
    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.application.worker.worker import Worker
    from taskscheduler.domain.batch import Batch
    from taskscheduler.domain.conflict import OnConflict
    from taskscheduler.domain.errors import (
        BatchNotFound,
        BatchSealed,
        IllegalTransition,
        InvalidConfiguration,
        InvalidHandler,
        InvalidLimit,
        InvalidProgress,
        InvalidResult,
        InvalidSchedule,
        InvalidStep,
        InvalidTask,
        LeaseLost,
        LimitChanged,
        LimitNotFound,
        NotAConnection,
        NotInTransaction,
        ScheduleExists,
        ScheduleNotFound,
        SchemaMismatch,
        SignalExists,
        StoreUnavailable,
        TaskCancelled,
        TaskExists,
        TaskFailed,
        TaskNotFound,
        TaskSchedulerError,
        UnknownKind,
    )
    from taskscheduler.domain.lease import Attempt, AttemptError
    from taskscheduler.domain.limit import Limit
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.query import TaskQuery
    from taskscheduler.domain.retry import RetryPolicy
    from taskscheduler.domain.rule import Fold, Gap
    from taskscheduler.domain.schedule import CatchUp, NewSchedule, Overlap, Schedule
    from taskscheduler.domain.status import TaskStatus
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.values import TaskId
    from taskscheduler.domain.verdicts import Cancel, Discard, Retry, Snooze, Wait
    from taskscheduler.entrypoints.http.plugin import TaskSchedulerPlugin
    from taskscheduler.entrypoints.library import Scheduler, SyncScheduler

__all__ = [
    "Attempt",
    "AttemptError",
    "Batch",
    "BatchNotFound",
    "BatchSealed",
    "Cancel",
    "CatchUp",
    "Context",
    "Discard",
    "Fold",
    "Gap",
    "Handlers",
    "IllegalTransition",
    "InvalidConfiguration",
    "InvalidHandler",
    "InvalidLimit",
    "InvalidProgress",
    "InvalidResult",
    "InvalidSchedule",
    "InvalidStep",
    "InvalidTask",
    "LeaseLost",
    "Limit",
    "LimitChanged",
    "LimitNotFound",
    "NewSchedule",
    "NewTask",
    "NotAConnection",
    "NotInTransaction",
    "OnConflict",
    "Overlap",
    "Retry",
    "RetryPolicy",
    "Schedule",
    "ScheduleExists",
    "ScheduleNotFound",
    "Scheduler",
    "SchemaMismatch",
    "SignalExists",
    "Snooze",
    "StoreUnavailable",
    "SyncScheduler",
    "Task",
    "TaskCancelled",
    "TaskExists",
    "TaskFailed",
    "TaskId",
    "TaskNotFound",
    "TaskQuery",
    "TaskSchedulerError",
    "TaskSchedulerPlugin",
    "TaskStatus",
    "UnknownKind",
    "Wait",
    "Worker",
    "chain",
    "gather",
]

_NAMES_BY_HOME: Final = {
    "application.client.chains": ("chain", "gather"),
    "application.worker.context": ("Context",),
    "application.worker.handlers": ("Handlers",),
    "application.worker.worker": ("Worker",),
    "domain.batch": ("Batch",),
    "domain.conflict": ("OnConflict",),
    "domain.errors": (
        "BatchNotFound",
        "BatchSealed",
        "IllegalTransition",
        "InvalidConfiguration",
        "InvalidHandler",
        "InvalidLimit",
        "InvalidProgress",
        "InvalidResult",
        "InvalidSchedule",
        "InvalidStep",
        "InvalidTask",
        "LeaseLost",
        "LimitChanged",
        "LimitNotFound",
        "ScheduleExists",
        "ScheduleNotFound",
        "NotAConnection",
        "NotInTransaction",
        "SchemaMismatch",
        "SignalExists",
        "StoreUnavailable",
        "TaskCancelled",
        "TaskExists",
        "TaskFailed",
        "TaskNotFound",
        "TaskSchedulerError",
        "UnknownKind",
    ),
    "domain.lease": ("Attempt", "AttemptError"),
    "domain.limit": ("Limit",),
    "domain.query": ("TaskQuery",),
    "domain.retry": ("RetryPolicy",),
    "domain.rule": ("Fold", "Gap"),
    "domain.schedule": ("CatchUp", "NewSchedule", "Overlap", "Schedule"),
    "domain.status": ("TaskStatus",),
    "domain.new_task": ("NewTask",),
    "domain.task": ("Task",),
    "domain.values": ("TaskId",),
    "domain.verdicts": ("Cancel", "Discard", "Retry", "Snooze", "Wait"),
    "entrypoints.http.plugin": ("TaskSchedulerPlugin",),
    "entrypoints.library": ("Scheduler", "SyncScheduler"),
}
_HOME: Final = {name: home for home, names in _NAMES_BY_HOME.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from the module that it lives in, once."""
    home = _HOME.get(name)
    if home is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__})
